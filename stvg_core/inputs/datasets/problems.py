"""What can be wrong with a sample: a closed list of kinds, each with its cure, and what is known of published files."""

import itertools
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from stvg_core._internal.plain_text import DIRECTION_CONTROLS, one_line

Severity = Literal["error", "warning"]

_LONGEST_VALUE: Final = 60
_MOST_PROBLEMS: Final = 5
"""Of one record: a list of ten thousand wrong boxes is reported by its first ones."""


@dataclass(frozen=True)
class ProblemKind:
    """A kind of defect: what it means, and what to do.

    Attributes:
        severity: a sample with an error is not used; one with warnings alone is.
    """

    severity: Severity
    meaning: str
    cure: str


_DOWNLOAD: Final = "download the annotation file again, or fix the record"
_FIX: Final = "fix the record, or leave the sample out"

KINDS: Final[dict[str, ProblemKind]] = {
    "syntax": ProblemKind("error", "no JSON that can be read", _DOWNLOAD),
    "too-deep": ProblemKind("error", "JSON nested deeper than any format here", _DOWNLOAD),
    "too-large": ProblemKind("error", "a record larger than any of these formats", _DOWNLOAD),
    "duplicate-key": ProblemKind("error", "a JSON key that occurs twice in one object", _FIX),
    "duplicate-id": ProblemKind("error", "a sample id that another sample has; the first one is used", _FIX),
    "missing-field": ProblemKind("error", "a field of the format is not there", "is it the right data set? " + _FIX),
    "unknown-field": ProblemKind("error", "a field that the format does not have", "check its spelling"),
    "wrong-type": ProblemKind("error", "a value of another type than the format's", _FIX),
    "out-of-range": ProblemKind("error", "a number or text that cannot be right", _FIX),
    "not-a-number": ProblemKind("error", "nan or infinity", _FIX),
    "control-characters": ProblemKind("error", "characters that steer a terminal, or no text at all", _FIX),
    "unsafe-path": ProblemKind(
        "error", "a path that leaves the root", "use relative paths; for videos elsewhere name --video-root"
    ),
    "reversed-box": ProblemKind("error", "a box of negative width or height", _FIX),
    "box-outside-picture": ProblemKind("error", "a box without any part in the picture", _FIX),
    "span-beyond-video": ProblemKind("error", "a tube that ends after the video", _FIX),
    "span-outside-segment": ProblemKind("error", "a tube outside the segment that the query is about", _FIX),
    "missing-boxes": ProblemKind("error", "no box for a frame of the span", "get the VidOR boxes of the same release"),
    "missing-video": ProblemKind("error", "no such video file", "download it, or name its folder with --video-root"),
    "unreadable-video": ProblemKind("error", "a video that does not open", "download it again"),
    "empty-box": ProblemKind("warning", "a box without area; no prediction can overlap it", "none needed"),
    "box-over-edge": ProblemKind("warning", "a box that reaches over the picture's edge", "leave corrections on"),
    "times-reversed": ProblemKind("warning", "ed_time before st_time; frames count, times are not used", "none needed"),
    "frame-count-differs": ProblemKind("warning", "the video has another number of frames than stated", "none needed"),
    "size-differs": ProblemKind("warning", "the video has another size than stated", "is it the right video?"),
}
"""Every kind of defect, by name."""


@dataclass(frozen=True)
class Problem:
    """One defect of one sample.

    Attributes:
        kind: a key of KINDS.
        field: place inside the record, such as `bbox.3.2`; may be empty.
        message: what was expected and what came, on one line.
    """

    kind: str
    field: str
    message: str

    @property
    def severity(self) -> Severity:
        """Whether it keeps the sample from being used."""
        return KINDS[self.kind].severity


class RecordError(Exception):
    """A record, or the boxes it points to, cannot be used; `problems` says why."""

    def __init__(self, *problems: Problem) -> None:
        """Keep what is wrong."""
        super().__init__(problems[0].message)
        self.problems = problems


def problem(kind: str, field: str, message: str) -> Problem:
    """Return a problem whose text is harmless to a terminal."""
    return Problem(kind, one_line(field, 200), one_line(message, 500))


def shown(value: object) -> str:
    """Return a foreign value as it may stand in a message: short, on one line.

    >>> shown([1, 2, 3]), shown(True), shown("a" * 99)[-8:]
    ('a list of 3', 'True', "aaaa'...")
    """
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        return f"{value[:_LONGEST_VALUE]!r}..."
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def problems_of(error: ValidationError) -> tuple[Problem, ...]:
    """Return the first few validation errors of pydantic as problems."""
    return tuple(
        _from_details(details["type"], details["loc"], details["msg"], details["input"])
        for details in itertools.islice(error.errors(include_url=False, include_context=False), _MOST_PROBLEMS)
    )


def _from_details(code: str, place: Sequence[int | str], text: str, value: Any) -> Problem:  # noqa: ANN401  # any JSON
    field = ".".join(map(str, place))
    if code == "missing":
        return problem("missing-field", field, f"expected the field {field}, got none")
    if code == "extra_forbidden":
        return problem("unknown-field", field, f"expected a field of the format, got {field} = {shown(value)}")
    expected = text.removeprefix("Input should be ").removeprefix("Value error, ")
    message = f"expected {field} to be {expected}, got {shown(value)}"
    if code == "finite_number":
        return problem("not-a-number", field, message)
    if code == "string_unicode":
        # Half of a character that takes two: JSON can write it, no encoding can.
        return problem("control-characters", field, message)
    kind = "wrong-type" if code.endswith(("_type", "_parsing", "_attributes_type")) else "out-of-range"
    return problem(kind, field, message)


def unsafe_text(text: str, *, white_space: bool = False) -> bool:
    r"""Return whether text holds control characters, controls of direction, or half characters.

    Args:
        text: what a file says.
        white_space: let tabs and line ends pass.

    >>> unsafe_text("a man"), unsafe_text("\x1b[31m"), unsafe_text("a\n", white_space=True)
    (False, True, False)
    """
    if text.isascii() and text.isprintable():
        return False
    allowed = "\t\n\r" if white_space else ""
    controls = (unicodedata.category(character) in {"Cc", "Cs"} for character in text if character not in allowed)
    return any(controls) or DIRECTION_CONTROLS.search(text) is not None


class KnownDefect(BaseModel):
    """A defect that is known of a published file.

    Attributes:
        dataset: name of the data set.
        key: key of the sample; `*` stands for any text.
        what: what is wrong.
        action: "drop" leaves the sample out; "note" only reports it.
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
