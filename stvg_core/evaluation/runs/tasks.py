"""Tasks for workers and their outcomes: plain values that can be sent between processes.

A task contains no ground truth: what runs the method cannot see it.
"""

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import RunError, StvgError
from stvg_core.inputs.datasets.samples import GroundingSample
from stvg_core.values import Track, as_boxes

CONTROLS_KEY = "controls"
"""Under which a sample's kept maps have every proposed track, and choices of controls that need no truth."""
ATTRIBUTE_ONLY = "attribute only"
ACTION_ONLY = "action only"
RANDOM = "random track and span"
_PIXEL_DIGITS = 3
_LONGEST_ERROR = 2000
_LONGEST_TRACEBACK = 20_000


@dataclass(frozen=True)
class Task:
    """One query about one video.

    Attributes:
        sample_id: its key in the store.
        video: path relative to the data set's video root.
        query: the sentence.
        segment: first and last frame (0-based, inclusive) that the query is about; None: the whole video.
        frame_step: frame n of segment and prediction is source frame n * frame_step.
        frame_count: annotated number of frames, in steps of `frame_step`; None if it is not annotated.
    """

    sample_id: str
    video: str
    query: str
    segment: tuple[int, int] | None = None
    frame_step: int = 1
    frame_count: int | None = None

    @property
    def group(self) -> str:
        """Key of the tasks that share video and segment, which are decoded and encoded once."""
        first, last = self.source_segment or ("", "")
        return f"{self.video}\t{first}\t{last}"

    @property
    def source_segment(self) -> tuple[int, int] | None:
        """First and last source frame of the segment, inclusive; None: the whole video."""
        if self.segment is None:
            return None
        first, last = self.segment
        return first * self.frame_step, last * self.frame_step

    def dumps(self) -> str:
        """Return the task as JSON text.

        >>> Task("a", "a.mp4", "a man", (0, 9)) == read_task(Task("a", "a.mp4", "a man", (0, 9)).dumps())
        True
        """
        return _TASK.dump_json(self).decode()


_TASK: Final = TypeAdapter(Task)


@dataclass(frozen=True)
class Failure:
    """Why a sample has no tube.

    Attributes:
        kind: name of the error's type.
        message: what was expected, what was got and the cure, on one line.
        traceback: of internal errors; empty for a StvgError.
    """

    kind: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Return the failure that an error stands for."""
        if isinstance(error, StvgError):
            return cls(type(error).__name__, one_line(str(error), _LONGEST_ERROR))
        lines = "".join(traceback.format_exception(error))
        return cls(
            type(error).__name__,
            one_line(f"internal error, {type(error).__name__}: {error}; report it with the traceback", _LONGEST_ERROR),
            lines[-_LONGEST_TRACEBACK:],
        )


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task: a document, or a failure.

    Attributes:
        sample_id: of the task.
        document: JSON text of the grounding document (docs/output.md); None if the sample failed.
        track: JSON text of the chosen track's key boxes: some protocols look at boxes outside the tube's span.
        failure: why it failed; None if it did not.
        seconds: wall clock of this sample, including its share of the work for its group.
        maps: JSON text of the attention maps (`stvg_core.outputs.report.kept_maps`), if they are stored; else None.
    """

    sample_id: str
    document: str | None
    track: str | None
    failure: Failure | None
    seconds: float
    maps: str | None = None

    def __post_init__(self) -> None:
        """Check that it is exactly one of the two."""
        if (self.document is None) == (self.failure is None) or (self.track is None) != (self.document is None):
            raise RunError("expected a document with its track, or a failure; report it to the authors of the engine")


def task_of(sample: GroundingSample) -> Task:
    """Return the task of a sample: everything but its ground truth."""
    return Task(sample.sample_id, sample.video, sample.query, sample.segment, sample.frame_step, sample.frame_count)


def read_task(text: str) -> Task:
    """Return a task from the JSON text that `dumps` returned."""
    return _TASK.validate_json(text)


def dump_track(track: Track) -> str:
    """Return a track's key boxes as JSON text."""
    return json.dumps({"frames": track.frames.tolist(), "boxes_xyxy": track.boxes_xyxy.tolist()})


def prediction_of(
    document: Mapping[str, Any], track: Mapping[str, Any], task: Task, *, outside_span: bool
) -> dict[str, Any]:
    """Return a grounding as a prediction for `stvg score`, in the frames of the task.

    A tube that ends after the annotated number of frames is cut there: decoders and annotators may differ by some
    frames. A tube that starts after it is an error.

    Args:
        document: JSON of the grounding.
        track: key boxes of the chosen track.
        task: of the sample.
        outside_span: return boxes at all frames of the segment (of the video, if there is none), as published
            models do; else only those of the tube.

    Raises:
        RunError: the tube starts after the annotated frames.
    """
    step, tube, video = task.frame_step, document["tube"], document["video"]
    frame_count = -(-video["frame_count"] // step) if task.frame_count is None else task.frame_count
    # A tube shorter than a step is placed at the frame before it.
    start = min(-(-tube["start_frame"] // step), tube["end_frame"] // step)
    end = min(tube["end_frame"] // step, frame_count - 1)
    if start > end:
        raise RunError(
            f"expected a tube within the {frame_count} annotated frames, got one from frame {start} on: the video has "
            f"{video['frame_count']}; is it the annotated one?"
        )
    first, last = task.segment if outside_span and task.segment else (0, frame_count - 1)
    if not outside_span:
        first, last = start, end
    numbers = np.arange(min(first, start), max(min(last, frame_count - 1), end) + 1)
    key_boxes = Track(np.array(track["frames"], dtype=np.int64), as_boxes(track["boxes_xyxy"]))
    boxes, _ = key_boxes.boxes_at(numbers * step)
    boxes = np.clip(boxes, 0.0, np.array([video["width"], video["height"]] * 2, dtype=np.float64))
    return {
        "num_frames": frame_count,
        "start_frame": start,
        "end_frame": end,
        "boxes": dict(zip(map(str, numbers.tolist()), boxes.round(_PIXEL_DIGITS).tolist(), strict=True)),
    }
