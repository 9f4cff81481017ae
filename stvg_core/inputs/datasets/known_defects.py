"""The published data sets' known defects, from the data file beside this module."""

import tomllib
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict


class KnownDefect(BaseModel):
    """A defect that is known of a published file.

    Attributes:
        dataset: name of the data set.
        key: key of the sample; `*` stands for any text.
        what: what is wrong.
        action: "drop" leaves the sample out; "note" only tells of it.
        source: who says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    key: str
    what: str
    action: Literal["drop", "note"]
    source: str


@lru_cache(maxsize=1)
def known_defects() -> tuple[KnownDefect, ...]:
    """Return all known defects, in the order of the data file."""
    text = files("stvg_core.inputs.datasets").joinpath("known_defects.toml").read_text(encoding="utf-8")
    return tuple(KnownDefect.model_validate(row) for row in tomllib.loads(text)["defect"])


def find_known_defect(dataset: str, key: str) -> KnownDefect | None:
    """Return what is known of a sample, or None.

    >>> find_known_defect("hcstvg-v1", "1_aMYcLyh9OhU.mkv").action
    'drop'
    """
    return next((row for row in known_defects() if row.dataset == dataset and fnmatchcase(key, row.key)), None)
