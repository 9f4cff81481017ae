"""The records of each annotation format, as their owners write them; every value is checked here.

Fields that no format here uses are not read. Numbers are bounded: no video has ten million frames.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

MAXIMUM_FRAMES: Final = 10_000_000
MAXIMUM_SIDE_PIXELS: Final = 65_536
_MAXIMUM_COORDINATE: Final = 1e6


def _whole(value: Any) -> Any:  # noqa: ANN401  # any JSON
    """Let 81.0 pass for 81: some writers know no whole numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Whole = Annotated[int, BeforeValidator(_whole), Field(strict=True)]
FrameNumber = Annotated[_Whole, Field(ge=0, le=MAXIMUM_FRAMES)]
FrameCount = Annotated[_Whole, Field(ge=1, le=MAXIMUM_FRAMES)]
SidePixels = Annotated[_Whole, Field(ge=1, le=MAXIMUM_SIDE_PIXELS)]
ObjectNumber = Annotated[_Whole, Field(ge=0, le=MAXIMUM_FRAMES)]
FramesPerSecond = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1000)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1e6)]
Coordinate = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-_MAXIMUM_COORDINATE, le=_MAXIMUM_COORDINATE)]
Box = Annotated[list[Coordinate], Field(strict=True, min_length=4, max_length=4)]
Boxes = Annotated[list[Box], Field(strict=True, min_length=1, max_length=MAXIMUM_FRAMES)]
Text = Annotated[str, Field(strict=True, min_length=1, max_length=4000)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class HcstvgRecord(_Record):
    """What both versions of HC-STVG say of a clip.

    Attributes:
        bbox: (x, y, width, height) in pixels per consecutive frame from st_frame on.
        st_time: seconds; not used, frames count.
        ed_time: seconds; not used.
        st_frame: number of the first frame with a box, from 1.
        img_num: frames of the clip.
    """

    bbox: Boxes
    st_time: Seconds
    ed_time: Seconds
    st_frame: FrameCount
    img_num: FrameCount


class HcstvgV1Record(HcstvgRecord):
    """A clip of HC-STVG version 1."""

    caption: Text
    width: SidePixels
    height: SidePixels


class HcstvgV2Record(HcstvgRecord):
    """A clip of HC-STVG version 2; `img_size` is (height, width)."""

    English: Text
    img_size: Annotated[list[SidePixels], Field(strict=True, min_length=2, max_length=2)]


class ThinnedRecord(HcstvgV2Record):
    """A clip of the authors' `val_proc.json`: every tenth frame, `st_frame` from 0."""

    st_frame: FrameNumber


class _FrameRange(_Record):
    begin_fid: FrameNumber
    end_fid: FrameNumber


class _Relation(_FrameRange):
    subject_tid: ObjectNumber
    object_tid: ObjectNumber
    predicate: Text


class _Object(_Record):
    tid: ObjectNumber
    category: Text


class VidstgSentence(_Record):
    """One sentence about one object."""

    description: Text
    type: Text
    target_id: ObjectNumber


class VidstgRecord(_Record):
    """A relation of VidSTG and the sentences about it.

    Attributes:
        used_segment: frames that are looked at; both ends belong to it.
        temporal_gt: frames of the answer; its end is the frame after the last one.
    """

    vid: Text
    fps: FramesPerSecond
    frame_count: FrameCount
    width: SidePixels
    height: SidePixels
    objects: Annotated[list[_Object], Field(strict=True, alias="subject/objects")]
    used_segment: _FrameRange
    used_relation: _Relation
    temporal_gt: _FrameRange
    captions: Annotated[list[VidstgSentence], Field(strict=True)]
    questions: Annotated[list[VidstgSentence], Field(strict=True)]


class _Corners(_Record):
    xmin: Coordinate
    ymin: Coordinate
    xmax: Coordinate
    ymax: Coordinate


class VidorBox(_Record):
    """One object in one frame of VidOR; corners in pixels."""

    tid: ObjectNumber
    bbox: _Corners


BOXES: Final[TypeAdapter[list[list[float]]]] = TypeAdapter(Boxes)
"""Boxes alone, four numbers each: there are millions in VidOR."""


class _SimpleTube(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    start_frame: FrameNumber
    end_frame: FrameNumber
    boxes: Annotated[dict[str, Box], Field(strict=True, min_length=1, max_length=MAXIMUM_FRAMES)]


class SimpleRecord(BaseModel):
    """A sample of our own format; see docs/datasets.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Text
    video: Text
    query: Text
    query_type: Literal["declarative", "interrogative"] | None = None
    frame_count: FrameCount | None = None
    fps: FramesPerSecond | None = None
    width: SidePixels | None = None
    height: SidePixels | None = None
    tube: _SimpleTube | None = None
