"""A tube as the files of `stvg score` give it: a span, and boxes at some frames."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from stvg_core.errors import ScoreError

LARGEST_CORNER = 1e6
"""Pixels; a corner further away is no place in a video (and its square still has all its digits)."""
MOST_FRAMES = 10_000_000
"""Frames of one video, some days of it; what is worked out per frame of a video stays small."""


@dataclass(frozen=True, eq=False)
class SampleTube:
    """A span of frames and boxes at frames in it, before it or after it.

    Attributes:
        start_frame: first frame, 0-based.
        end_frame: last frame, in the tube.
        frames: frame numbers with a box, strictly increasing.
        boxes_xyxy: pixels; x0 <= x1 and y0 <= y1, so a box may be empty.
        stated_frame_count: frames of the video as the one who wrote the tube counted them; None where unsaid.

    Raises:
        ScoreError: a frame is negative, the span or a box is reversed, a corner is no number.
    """

    start_frame: int
    end_frame: int
    frames: Int64[np.ndarray, " box"]
    boxes_xyxy: Float64[np.ndarray, "box 4"]
    stated_frame_count: int | None = None

    def __post_init__(self) -> None:
        """Check span, order and corners."""
        if self.start_frame < 0:
            raise ScoreError(f"start_frame: expected a frame number of at least 0, got {self.start_frame}")
        if self.end_frame < self.start_frame:
            raise ScoreError(f"end_frame: expected at least start_frame {self.start_frame}, got {self.end_frame}")
        if self.frames.size and (self.frames[0] < 0 or (np.diff(self.frames) <= 0).any()):
            raise ScoreError("boxes: expected frame numbers of at least 0, strictly increasing")
        # Written so that nan is refused as well.
        self._refuse(~(np.abs(self.boxes_xyxy) <= LARGEST_CORNER), f"finite corners within {LARGEST_CORNER:g} pixels")
        self._refuse(self.boxes_xyxy[:, 2:] < self.boxes_xyxy[:, :2], "[x0, y0, x1, y1] with x0 <= x1 and y0 <= y1")
        for name in ("frames", "boxes_xyxy"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def _refuse(self, wrong: Bool[np.ndarray, "box corner"], expected: str) -> None:
        if wrong.any():
            place = int(np.argmax(wrong.any(axis=1)))
            raise ScoreError(f"boxes.{self.frames[place]}: expected {expected}, got {self.boxes_xyxy[place].tolist()}")


@dataclass(frozen=True, eq=False)
class SampleTruth:
    """The annotated tube of one sample.

    Attributes:
        tube: span and boxes, no box outside the span, at least one inside.
        frame_count: frames of the video.
        query_type: kind of query, such as `declarative`; None where the annotations do not say.

    Raises:
        ScoreError: the tube does not fit the video, or has a box outside its span, or none.
    """

    tube: SampleTube
    frame_count: int
    query_type: str | None = None

    def __post_init__(self) -> None:
        """Check that the tube lies in the video and the boxes in the span."""
        if not 1 <= self.frame_count <= MOST_FRAMES:
            raise ScoreError(f"num_frames: expected 1 to {MOST_FRAMES}, got {self.frame_count}")
        check_fits(self.tube, self.frame_count)
        frames = self.tube.frames
        if frames.size == 0:
            raise ScoreError("boxes: expected at least one box in the truth, got none")
        for frame in (int(frames[0]), int(frames[-1])):
            if not self.tube.start_frame <= frame <= self.tube.end_frame:
                raise ScoreError(
                    f"boxes.{frame}: expected boxes of the truth inside its span "
                    f"{self.tube.start_frame}..{self.tube.end_frame}, got one at frame {frame}"
                )

    @property
    def length_share(self) -> float:
        """Share of the video that the truth lasts, in 0..1."""
        return (self.tube.end_frame - self.tube.start_frame + 1) / self.frame_count

    @property
    def mean_area(self) -> float:
        """Mean area of the truth's boxes, in square pixels."""
        sides = self.tube.boxes_xyxy[:, 2:] - self.tube.boxes_xyxy[:, :2]
        return float(sides.prod(axis=1).mean())


def check_fits(tube: SampleTube, frame_count: int) -> None:
    """Check that span and boxes lie in a video.

    Raises:
        ScoreError: a frame number is not below `frame_count`.
    """
    if tube.end_frame >= frame_count:
        raise ScoreError(f"end_frame: expected below num_frames {frame_count}, got {tube.end_frame}")
    if tube.frames.size and tube.frames[-1] >= frame_count:
        last = int(tube.frames[-1])
        raise ScoreError(f"boxes.{last}: expected a frame below num_frames {frame_count}, got {last}")
