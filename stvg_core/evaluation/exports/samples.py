"""What is exported, whatever the format: videos, and predicted and true tubes in source frames."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core.errors import TubeError

Role = Literal["prediction", "truth"]


@dataclass(frozen=True, eq=False)
class ExportedVideo:
    """A video, as displayed.

    Attributes:
        path: as the results name it; text for people and data, never a place to write to.
        width: pixels.
        height: pixels.
        frame_count: source frames.
        fps: mean frames per second.
        file: where it lies, if the user said where the videos are; None otherwise.
        file_seconds: presentation time of each of its frames, read from the file; None without one.
    """

    path: str
    width: int
    height: int
    frame_count: int
    fps: float
    file: Path | None = None
    file_seconds: Float64[np.ndarray, " source_frame"] | None = None

    def __post_init__(self) -> None:
        """Check that there is a picture and a clock."""
        if min(self.width, self.height, self.frame_count) < 1 or not self.fps > 0:
            raise TubeError(
                f"expected a video with a size, frames and a frame rate, got {self.width}x{self.height}, "
                f"{self.frame_count} frames at {self.fps} per second for {self.path}"
            )


@dataclass(frozen=True, eq=False)
class ExportedTube:
    """A span with boxes, in source frames.

    Attributes:
        role: predicted, or annotated.
        start_frame: first frame, 0-based.
        end_frame: last frame, inclusive.
        frames: those with a box, strictly increasing, inside the span; of thinned annotations every n-th.
        boxes_xyxy: pixels of the video as displayed, inside the picture; a box that lay outside of it is empty.
    """

    role: Role
    start_frame: int
    end_frame: int
    frames: Int64[np.ndarray, " box"]
    boxes_xyxy: Float64[np.ndarray, "box 4"]

    def __post_init__(self) -> None:
        """Check that frames ascend within the span, and that boxes are finite and no corner is past the other."""
        if not self.frames.size or len(self.frames) != len(self.boxes_xyxy) or (np.diff(self.frames) <= 0).any():
            raise TubeError(f"expected a box for each of ascending frames, got {len(self.boxes_xyxy)} boxes")
        if not 0 <= self.start_frame <= self.frames[0] or not self.frames[-1] <= self.end_frame:
            raise TubeError(
                f"expected frames within {self.start_frame}..{self.end_frame}, got {self.frames[0]}..{self.frames[-1]}"
            )
        if not np.isfinite(self.boxes_xyxy).all() or (self.boxes_xyxy[:, 2:] < self.boxes_xyxy[:, :2]).any():
            raise TubeError("expected finite boxes as (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1")

    @classmethod
    def within(
        cls,
        video: ExportedVideo,
        role: Role,
        span: tuple[int, int],
        frames: Int64[np.ndarray, " box"],
        boxes_xyxy: Float64[np.ndarray, "box 4"],
    ) -> "ExportedTube":
        """Return the part of a tube that the video has: its frames, and boxes cut at the picture's edge.

        Raises:
            TubeError: nothing of it lies in the video.
        """
        start, end = span
        inside = frames < video.frame_count
        if not inside.any():
            raise TubeError(f"expected a tube within {video.frame_count} frames of {video.path}, got one behind them")
        limits = np.array([video.width, video.height, video.width, video.height], dtype=np.float64)
        return cls(
            role,
            start,
            min(end, video.frame_count - 1),
            frames[inside],
            np.clip(boxes_xyxy[inside], 0.0, limits),
        )


@dataclass(frozen=True, eq=False)
class ExportedSample:
    """A query about a video, with what was found and what is true.

    Attributes:
        sample_id: unique among what is exported; text.
        query: the sentence, on one line.
        video: the video.
        prediction: None where the sample failed or has no result yet.
        truth: None where none is known.
        frame_seconds: presentation times of the frames that the result tells; without a file, those of others follow
            from the frame rate.
        frame_scores: how well sampled frames fit the action, by source frame.
        attention_file: attention.npz of `stvg attend`, where it lies beside the result.
    """

    sample_id: str
    query: str
    video: ExportedVideo
    prediction: ExportedTube | None = None
    truth: ExportedTube | None = None
    frame_seconds: dict[int, float] = field(default_factory=dict)
    frame_scores: dict[int, float] = field(default_factory=dict)
    attention_file: Path | None = None

    @property
    def tubes(self) -> tuple[ExportedTube, ...]:
        """What there is of prediction and truth, in this order."""
        return tuple(tube for tube in (self.prediction, self.truth) if tube is not None)

    def seconds(self, frame: int) -> float:
        """Return a frame's presentation time, or where it would be at the mean frame rate."""
        if self.video.file_seconds is not None:
            return float(self.video.file_seconds[frame])
        return self.frame_seconds.get(frame, frame / self.video.fps)


@runtime_checkable
class ExportSource(Protocol):
    """Where tubes come from; can be gone through several times, one sample is held at a time.

    Attributes:
        model: which model made the predictions; text.
        left_out: samples that are not exported, with the reason; complete once `samples` has ended.
    """

    model: str
    left_out: dict[str, str]

    def samples(self) -> Iterator[ExportedSample]:
        """Yield every sample that can be exported."""
        ...
