"""What is exported, whatever the format: videos, tubes in source frames, key boxes, and file names."""

import itertools
import json
import ntpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core.errors import TubeError

Role = Literal["prediction", "truth"]

TOLERANCE_PIXELS: Final = 0.01
"""A corner may be this far from the line; results are written to a thousandth of a pixel."""

_LONGEST_NAME: Final = 80
# Windows opens a device for these, whatever the ending.
_DEVICES: Final = frozenset({"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))})


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
        """Check that there is an image and a clock."""
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
        boxes_xyxy: pixels of the video as displayed, inside the image; a box that lay outside of it is empty.
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

    @property
    def boxes(self) -> list[tuple[int, list[float]]]:
        """Every frame with its box."""
        return list(zip(self.frames.tolist(), self.boxes_xyxy.tolist(), strict=True))

    @property
    def key_boxes(self) -> list[tuple[int, list[float]]]:
        """The frames between which boxes lie on lines, and the last of the span, which keeps the last box."""
        boxes = self.boxes
        keys = [boxes[place] for place in key_places(self.frames, self.boxes_xyxy)]
        return keys if keys[-1][0] == self.end_frame else [*keys, (self.end_frame, boxes[-1][1])]

    @classmethod
    def within(
        cls,
        video: ExportedVideo,
        role: Role,
        span: tuple[int, int],
        frames: Int64[np.ndarray, " box"],
        boxes_xyxy: Float64[np.ndarray, "box 4"],
    ) -> "ExportedTube":
        """Return the part of a tube that the video has: its frames, and boxes cut at the image's edge.

        Raises:
            TubeError: nothing of it lies in the video.
        """
        start, end = span
        inside = frames < video.frame_count
        if not inside.any():
            raise TubeError(f"expected a tube within {video.frame_count} frames of {video.path}, got one behind them")
        boxes = np.clip(boxes_xyxy[inside], 0.0, np.array([video.width, video.height] * 2, dtype=np.float64))
        return cls(role, start, min(end, video.frame_count - 1), frames[inside], boxes)


@dataclass(frozen=True, eq=False)
class ExportedSample:
    """A query about a video, with its prediction and its ground truth.

    Attributes:
        sample_id: unique among what is exported; text.
        query: the sentence, on one line.
        video: the video.
        prediction: None where the sample failed or has no result yet.
        truth: None where none is known.
        frame_seconds: presentation times of the frames in the result; without a file, those of others follow
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


def key_places(frames: Int64[np.ndarray, " box"], boxes_xyxy: Float64[np.ndarray, "box 4"]) -> list[int]:
    """Return which boxes are needed so that linear interpolation gives the others; the first and last always are.

    Ramer, Douglas and Peucker's splitting, with the distance taken at the same frame.

    >>> frames = np.array([0, 1, 2, 3])
    >>> key_places(frames, np.array([[0.0, 0, 1, 1], [1.0, 0, 2, 1], [2.0, 0, 3, 1], [9.0, 0, 10, 1]]))
    [0, 2, 3]
    """
    keys = {0, len(frames) - 1}
    waiting = [(0, len(frames) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:  # noqa: PLR2004  # neighbours have nothing between them
            continue
        inner = slice(first + 1, last)
        share = (frames[inner] - frames[first]) / (frames[last] - frames[first])
        line = boxes_xyxy[first] + share[:, None] * (boxes_xyxy[last] - boxes_xyxy[first])
        distance = np.abs(boxes_xyxy[inner] - line).max(axis=1)
        worst = int(distance.argmax())
        if distance[worst] > TOLERANCE_PIXELS:
            middle = first + 1 + worst
            keys.add(middle)
            waiting += [(first, middle), (middle, last)]
    return sorted(keys)


class FileNames:
    """Gives each text a file name of its own; the same text gets the same name."""

    def __init__(self) -> None:
        """Start with no name taken."""
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, text: str) -> str:
        """Return the name of a text: letters, digits, "-" and "_".

        >>> names = FileNames()
        >>> names.of("clips/a b.mp4"), names.of("clips/a_b.mp4"), names.of("clips/a b.mp4"), names.of("../..")
        ('clips_a_b_mp4', 'clips_a_b_mp4-2', 'clips_a_b_mp4', 'unnamed')
        """
        if text not in self._names:
            plain = re.sub(r"[^\w-]", "_", unicodedata.normalize("NFC", text))
            name = plain.strip("_-")[:_LONGEST_NAME].rstrip("_-") or "unnamed"
            name = f"_{name}" if name.casefold() in _DEVICES else name
            candidates = itertools.chain([name], (f"{name}-{count}" for count in itertools.count(2)))
            # Some file systems ignore case.
            free = next(candidate for candidate in candidates if candidate.casefold() not in self._taken)
            self._taken.add(free.casefold())
            self._names[text] = free
        return self._names[text]

    def of_video(self, video: ExportedVideo) -> str:
        """Return the name of a video, without the ending of its file.

        >>> FileNames().of_video(ExportedVideo("clips.d/a.b.mp4", 64, 48, 10, 25.0))
        'clips_d_a_b'
        >>> FileNames().of_video(ExportedVideo("clips.d/a", 64, 48, 10, 25.0))
        'clips_d_a'
        """
        return self.of(ntpath.splitext(video.path)[0])


def dump_rows(rows: Iterable[object]) -> Iterator[str]:
    """Yield the text of a JSON array, an element per line.

    >>> print("".join(dump_rows([1, 2])))
    [
    1,
    2
    ]
    """
    yield "["
    for number, row in enumerate(rows):
        yield (",\n" if number else "\n") + json.dumps(row, allow_nan=False)
    yield "\n]"
