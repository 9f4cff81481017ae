"""Tubes of one grounding: a folder of `stvg ground` or its tube.json. The file may come from anywhere.

Fields that a later version may add are passed over.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import TubeError, UsageError
from stvg_core.evaluation.exports.samples import ExportedSample, ExportedTube, ExportedVideo
from stvg_core.inputs.video import probe_video
from stvg_core.outputs.report.folder import TUBE_FILE
from stvg_core.outputs.report.text import clean_text
from stvg_core.values import as_boxes

MOST_BYTES: Final = 2**28
"""Of a tube.json: a video of some days still fits in."""
_ATTENTION_FILE: Final = "attention.npz"
_LONGEST_TEXT: Final = 10_000
_LARGEST: Final = 10**9
_Count = Annotated[int, Field(ge=1, le=_LARGEST)]
_Frame = Annotated[int, Field(ge=0, le=_LARGEST)]
_Corner = Annotated[FiniteFloat, Field(ge=-1e9, le=1e9)]


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Video(_Read):
    path: str = ""
    width: _Count
    height: _Count
    frame_count: _Count
    fps: Annotated[FiniteFloat, Field(gt=0)]


class _Box(_Read):
    frame: _Frame
    seconds: FiniteFloat
    xyxy: tuple[_Corner, _Corner, _Corner, _Corner]


class _Tube(_Read):
    start_frame: _Frame
    end_frame: _Frame
    boxes: Annotated[list[_Box], Field(min_length=1)]


class _Query(_Read):
    text: str


class _Model(_Read):
    id: str


class _FrameScore(_Read):
    frame: _Frame
    score: FiniteFloat


class _Scores(_Read):
    frames: list[_FrameScore] = []


class _Document(_Read):
    video: _Video
    query: _Query
    tube: _Tube
    model: _Model = _Model(id="")
    scores: _Scores = _Scores()


class GroundingSource:
    """One grounding.

    Attributes:
        model: which model made it.
        left_out: nothing: a file that cannot be exported is an error.
    """

    def __init__(self, path: Path, videos: Path | None = None) -> None:
        """Read the document.

        Args:
            path: a folder with tube.json, or such a file by any name.
            videos: folder of the video, or the video itself; None: it is not looked at.

        Raises:
            UsageError: there is no such file, or it holds no grounding.
            TubeError: its tube does not fit its video.
        """
        file = path / TUBE_FILE if path.is_dir() else path
        document = parse_document(_load(file), str(file))
        self.model = clean_text(document.model.id, _LONGEST_TEXT)
        self.left_out: dict[str, str] = {}
        attention = file.parent / _ATTENTION_FILE
        # Where it lay on the machine that made the result is nobody else's business.
        name = PurePosixPath(document.video.path.replace("\\", "/")).name or "video"
        video = exported_video(document, name)
        if videos is not None:
            video = checked_file(video, videos / name if videos.is_dir() else videos)
        self._sample = exported_sample(
            document, video.path, video, attention_file=attention if attention.is_file() else None
        )

    def samples(self) -> Iterator[ExportedSample]:
        """Yield the one sample."""
        yield self._sample


def parse_document(raw: object, where: str) -> _Document:
    """Return what an export needs of a grounding document.

    Raises:
        UsageError: it is none.
    """
    if isinstance(raw, dict) and raw.get("status") == "error":
        raise UsageError(f"expected a grounding in {where}, got the report of an error; there is no tube to export")
    try:
        return _Document.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"expected a grounding of stvg in {where}, but {one_line(place, 80)}: {first['msg']}"
        ) from error


def exported_video(document: _Document, path: str) -> ExportedVideo:
    """Return a document's video under a path."""
    video = document.video
    return ExportedVideo(
        clean_text(path, _LONGEST_TEXT), video.width, video.height, video.frame_count, float(video.fps)
    )


def exported_sample(
    document: _Document,
    sample_id: str,
    video: ExportedVideo,
    truth: ExportedTube | None = None,
    attention_file: Path | None = None,
) -> ExportedSample:
    """Return a document's tube as a sample of a video.

    Raises:
        TubeError: the tube does not fit the video.
    """
    tube = document.tube
    frames = np.array([box.frame for box in tube.boxes], dtype=np.int64)
    if not tube.start_frame <= tube.end_frame < video.frame_count:
        raise TubeError(
            f"expected a tube within {video.frame_count} frames of {video.path}, got {tube.start_frame} to "
            f"{tube.end_frame}; is it the video of this result?"
        )
    prediction = ExportedTube.within(
        video, "prediction", (tube.start_frame, tube.end_frame), frames, as_boxes([box.xyxy for box in tube.boxes])
    )
    return ExportedSample(
        sample_id,
        clean_text(document.query.text, _LONGEST_TEXT),
        video,
        prediction,
        truth,
        {box.frame: float(box.seconds) for box in tube.boxes},
        {score.frame: float(score.score) for score in document.scores.frames},
        attention_file,
    )


def _load(file: Path) -> Any:  # noqa: ANN401  # whatever a foreign file holds
    try:
        if file.stat().st_size > MOST_BYTES:
            raise UsageError(f"expected a grounding of at most {MOST_BYTES // 2**20} MiB, got more in {file}")
        return json.loads(file.read_bytes())
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UsageError(f"expected a grounding at {file}: {reason}; name a folder of stvg ground or a run") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"expected a grounding as JSON in {file}, got none: {one_line(str(error), 200)}") from error


def checked_file(video: ExportedVideo, file: Path) -> ExportedVideo:
    """Return a video with the file that it is in.

    Raises:
        VideoError: the file is missing or no video.
        UsageError: it is another video.
    """
    info = probe_video(file)
    actual, expected = (info.width, info.height, info.frame_count), (video.width, video.height, video.frame_count)
    if actual != expected:
        raise UsageError(
            f"expected {expected[0]}x{expected[1]} pixels and {expected[2]} frames in {file}, got "
            f"{actual[0]}x{actual[1]} and {actual[2]}; is it the video of this result?"
        )
    return ExportedVideo(video.path, *expected, video.fps, file, info.frame_seconds)
