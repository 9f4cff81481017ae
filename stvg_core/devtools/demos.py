"""Shipped clips with their true tubes (entry-point group `stvg.demos`), and comparisons (`stvg.comparison_demos`).

An entry point of the first names a callable without arguments that returns a folder with demos.json and
the clips it names, one of the second a callable without arguments that returns a ComparisonDemo. The truth of clips
is read here and goes to the metrics and pictures alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import PluginError
from stvg_core.host.loading import call_entry_point, open_plugin, plugin_names
from stvg_core.host.registry.metadata import InstalledEntry
from stvg_core.host.registry.selection import find_entries
from stvg_core.values import Tube, VideoInfo, as_boxes

DEMO_GROUP = "stvg.demos"
COMPARISON_GROUP = "stvg.comparison_demos"
ROWS_FILE = "rows.toml"


@runtime_checkable
class ComparisonDemo(Protocol):
    """Samples and rows to compare, written where they are wanted."""

    @property
    def note(self) -> str:
        """What is compared on what, one sentence."""
        ...

    def write(self, folder: Path) -> None:
        """Write a data set of our own format with its videos, and rows.toml; a folder that has them stays as it is.

        Raises:
            OutputError: the folder cannot be written to; nothing is left behind.
        """
        ...


class _Truth(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    start_frame: int = Field(ge=0)
    boxes_xyxy: list[tuple[float, float, float, float]] = Field(min_length=1)


class _Case(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    video: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    query: str
    model: str
    note: str
    truth: _Truth


class _Cases(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    demos: list[_Case]


@dataclass(frozen=True)
class DemoCase:
    """One clip with its query.

    Attributes:
        name: also the name of its output folder.
        note: what to look at, one sentence.
    """

    name: str
    video: Path
    query: str
    model: str
    note: str
    _truth: _Truth

    def truth(self, info: VideoInfo) -> Tube:
        """Return the true tube, with the times of the clip as decoded."""
        start, count = self._truth.start_frame, len(self._truth.boxes_xyxy)
        if start + count > info.frame_count:
            raise PluginError(f"the truth of demo {self.name!r} ends after frame {info.frame_count - 1}; reinstall it")
        return Tube(
            start,
            as_boxes(self._truth.boxes_xyxy),
            np.array(info.frame_seconds[start : start + count]),
            info.frame_end_seconds(start + count - 1),
        )


def find_demos() -> tuple[DemoCase, ...]:
    """Return the shipped demos.

    Raises:
        PluginError: none is installed, or one is damaged.
    """
    found = find_entries(DEMO_GROUP)
    cases = [case for entry, disabled in found if not disabled for case in _read(entry)]
    if not cases:
        disabled_ones = "".join(f"; {entry.distribution.name} is disabled: {why}" for entry, why in found if why)
        raise PluginError(f"no demo is installed; pip install stvg-tiny{disabled_ones}")
    return tuple(cases)


def find_comparison_demo() -> ComparisonDemo:
    """Return the shipped comparison, the first where there are several.

    Raises:
        PluginError: none is installed, or it cannot be loaded.
    """
    names = plugin_names(COMPARISON_GROUP)
    if not names:
        raise PluginError("no comparison is installed to be shown; pip install stvg-tiny")
    # mypy takes a Protocol for abstract here; isinstance does not.
    return open_plugin(COMPARISON_GROUP, "comparison demo", ComparisonDemo, names[0])  # type: ignore[type-abstract]


def _read(entry: InstalledEntry) -> list[DemoCase]:
    title, owner = f"demo {entry.point.name!r}", entry.distribution.name
    reinstall = f"pip install --force-reinstall {owner}"
    folder = call_entry_point(entry.point, f"{title} of {owner}", reinstall)
    if not isinstance(folder, Path):
        raise PluginError(f"expected {title} of {owner} to be a folder, got {type(folder).__name__}; {reinstall}")
    try:
        cases = _Cases.model_validate(json.loads((folder / "demos.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise PluginError(f"{title} of {owner} cannot be read: {one_line(str(error))}; {reinstall}") from error
    return [
        DemoCase(case.name, folder / case.video, case.query, case.model, case.note, case.truth) for case in cases.demos
    ]
