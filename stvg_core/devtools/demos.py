"""Shipped clips with their true tubes, and a comparison to show (entry-point group `stvg.demos`).

An entry point names a callable without arguments that returns a Demo. The truth of clips is read here and goes to the
metrics and pictures alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import PluginError
from stvg_core.host.loading import open_plugin, plugin_names
from stvg_core.values import Tube, VideoInfo, as_boxes

DEMO_GROUP = "stvg.demos"
ROWS_FILE = "rows.toml"


@runtime_checkable
class Demo(Protocol):
    """What a distribution ships for `stvg demo`."""

    @property
    def clips(self) -> Path:
        """Folder with demos.json and the clips that it names."""
        ...

    @property
    def note(self) -> str:
        """What `stvg demo --compare` compares on what, one sentence."""
        ...

    def write_comparison(self, folder: Path) -> None:
        """Write a data set of kind "folder" with its videos, and rows.toml; a folder that has them is left unchanged.

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
    """Return the shipped clips.

    Raises:
        PluginError: none is installed, or one is damaged.
    """
    return tuple(case for name, demo in _demos().items() for case in _cases(name, demo.clips))


def find_comparison_demo() -> Demo:
    """Return the demo whose comparison is shown, the first where there are several.

    Raises:
        PluginError: none is installed, or it cannot be loaded.
    """
    return next(iter(_demos().values()))


def _demos() -> dict[str, Demo]:
    names = plugin_names(DEMO_GROUP)
    if not names:
        raise PluginError("no demo is installed and enabled; pip install stvg-tiny, or clear STVG_DISABLE_PLUGINS")
    # mypy takes a Protocol for abstract here; isinstance does not.
    return {name: open_plugin(DEMO_GROUP, "demo", Demo, name) for name in names}  # type: ignore[type-abstract]


def _cases(name: str, folder: Path) -> list[DemoCase]:
    try:
        cases = _Cases.model_validate(json.loads((folder / "demos.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise PluginError(
            f"demo {name!r} cannot be read: {one_line(str(error))}; reinstall the distribution that ships it"
        ) from error
    return [
        DemoCase(case.name, folder / case.video, case.query, case.model, case.note, case.truth) for case in cases.demos
    ]
