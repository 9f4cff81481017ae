"""Settings of each tracker, and how they are parsed from NAME:setting=value."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from stvg_core.plugin import UsageError, check_settings

EXECUTION_SETTINGS: Final = frozenset({"cache", "device", "state_device"})
"""Settings that do not change the tracks."""
_Settings = TypeVar("_Settings", bound="SharedSettings")


class SharedSettings(BaseModel):
    """What all trackers of this distribution have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    track_every_frames: int = Field(10, ge=1, description="source frames from one looked-at frame to the next")
    most_objects: int = Field(40, ge=1, description="at most this many tracks; memory grows with them")
    merge_overlap: float = Field(
        0.7, gt=0, le=1, description="tracks whose boxes overlap more on common frames are one"
    )
    oracle_categories: bool = Field(False, description="the classes were read off the ground truth: marked in results")
    cache: str | None = Field(None, description="folder of finished tracks; off: none; default: the user's cache")


class TextSettings(SharedSettings):
    """What the trackers that are told in words what to look for have in common."""

    classes: tuple[str, ...] = Field((), description="what to look for, joined by +; default: the query's head noun")
    segmenter: str = Field(description="folder or hub id")
    longest_side_pixels: int = Field(1333, ge=16, description="larger pictures are shrunk when they are read")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1")
    dtype: str = Field("auto", description="auto, float32, bfloat16, float16")
    state_device: str = Field("cpu", description="where what a segmenter remembers is kept between frames")

    @field_validator("classes", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        names = value.split("+") if isinstance(value, str) else value
        return tuple(name.strip().lower() for name in names) if isinstance(names, list | tuple) else names

    @field_validator("classes")
    @classmethod
    def _filled(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not name or "." in name for name in value):
            raise ValueError("expected classes such as person+dog, without full stops")
        return value


class GroundingDinoSam2Settings(TextSettings):
    """Grounding DINO finds boxes in key frames, SAM 2 carries them through the video. Thresholds: the paper's."""

    detector: str = Field("IDEA-Research/grounding-dino-base", description="folder or hub id")
    segmenter: str = Field("facebook/sam2.1-hiera-large", description="folder or hub id")
    box_threshold: float = Field(0.4, ge=0, le=1, description="least score of a box (paper: 0.4)")
    text_threshold: float = Field(0.4, ge=0, le=1, description="least score of a word for a box (paper: 0.4)")
    detect_every_frames: int = Field(10, ge=1, description="source frames from one detection to the next (paper: 10)")
    match_overlap: float = Field(0.5, gt=0, le=1, description="a box that overlaps a known object more is that object")


class Sam3Settings(TextSettings):
    """SAM 3 finds and follows everything that a noun names; thresholds are in its own configuration."""

    segmenter: str = Field("facebook/sam3", description="folder or hub id")


class DetectionsSettings(SharedSettings):
    """Boxes of any detector, linked over time."""

    file: str | None = Field(None, description="boxes per frame, as MOT Challenge's det.txt")
    method: str = Field("bytetrack", pattern="^(bytetrack|ocsort|sort)$", description="bytetrack, ocsort or sort")
    least_score: float = Field(0.25, ge=0, le=1, description="boxes below are left out")
    least_overlap: float = Field(0.1, ge=0, le=1, description="least overlap of a box with its track's prediction")
    longest_gap_seconds: float = Field(2.0, ge=0, description="an object may go unseen for so long")
    least_boxes: int = Field(2, ge=1, description="tracks of fewer boxes are left out")


def read_settings(kind: type[_Settings], tracker: str, given: Mapping[str, Any]) -> _Settings:
    """Return a tracker's settings from what the user typed.

    Raises:
        UsageError: a setting is unknown or out of range.

    >>> read_settings(Sam3Settings, "sam3", {"classes": "a dog+cat"}).classes
    ('a dog', 'cat')
    """
    check_settings(tracker, dict(given), tuple(kind.model_fields))
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "settings"
        shown = repr(first["input"])[:60]
        raise UsageError(f"expected another {name} of tracker {tracker}, got {shown}: {first['msg']}") from error
