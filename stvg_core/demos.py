"""Shipped clips with their true tubes (entry-point group `stvg.demos`).

An entry point names a callable without arguments that returns a folder with demos.json and
the clips it names. The truth is read here and goes to the metrics and pictures alone.
"""

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stvg_core.errors import PluginError
from stvg_core.values import Tube, VideoInfo, as_boxes

DEMO_GROUP = "stvg.demos"


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
    cases = [case for entry in importlib.metadata.entry_points(group=DEMO_GROUP) for case in _read(entry)]
    if not cases:
        raise PluginError("no demo is installed; pip install stvg-tiny")
    return tuple(cases)


def _read(entry: importlib.metadata.EntryPoint) -> list[DemoCase]:
    try:
        folder: Path = entry.load()()
        cases = _Cases.model_validate(json.loads((folder / "demos.json").read_text(encoding="utf-8")))
    except (ImportError, AttributeError, OSError, ValueError, ValidationError) as error:
        raise PluginError(f"demo {entry.name!r} cannot be read: {error}; reinstall its distribution") from error
    return [
        DemoCase(case.name, folder / case.video, case.query, case.model, case.note, case.truth) for case in cases.demos
    ]
