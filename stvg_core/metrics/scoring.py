"""tIoU, vIoU and gt_vIoU of one sample under given rules."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from stvg_core.errors import ScoreError
from stvg_core.metrics.overlap import box_iou
from stvg_core.metrics.rules import Rules
from stvg_core.metrics.sample_tube import SampleTruth, SampleTube

_CLIP_SECONDS, _SAMPLED_FPS = 20, 5


@dataclass(frozen=True)
class SampleScores:
    """Scores of one sample, each in 0..1.

    Attributes:
        temporal_iou: tIoU.
        video_iou: vIoU.
        truth_video_iou: gt_vIoU, the mean box IoU over the frames of the truth, whatever span is predicted.
    """

    temporal_iou: float
    video_iou: float
    truth_video_iou: float


ZERO = SampleScores(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class _Numbers:
    """A span as a code holds it: the end is what the rule for ends makes of it."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


def score_sample(predicted: SampleTube, truth: SampleTruth, rules: Rules) -> SampleScores:
    """Return the scores of a prediction.

    Raises:
        ScoreError: the code whose rules these are stops at such a sample; the caller counts it as failed.

    >>> box = np.tile([10.0, 20.0, 50.0, 100.0], (10, 1))
    >>> tube = SampleTube(10, 19, np.arange(10, 20), box)
    >>> score_sample(tube, SampleTruth(tube, 100), Rules())
    SampleScores(temporal_iou=1.0, video_iou=1.0, truth_video_iou=1.0)
    >>> score_sample(tube, SampleTruth(tube, 100), Rules(truth_end="last-frame")).temporal_iou
    0.9
    """
    true_span = _Numbers(truth.tube.start_frame, truth.tube.end_frame + (rules.truth_end == "one-past"))
    predicted_span = _Numbers(predicted.start_frame, predicted.end_frame + (rules.predicted_end == "one-past"))
    sampled = sampled_frames(truth.frame_count) if rules.frame_sampling == "hcstvg-5fps" else None

    frames, true_boxes = _truth_frames(truth.tube, sampled)
    ious, has_box = _box_ious(predicted, frames, true_boxes, rules)
    latest_start = max(true_span.start, predicted_span.start)
    earliest_end = min(true_span.end, predicted_span.end)
    closed = rules.video_range == "closed"
    if rules.common_frames == "boxes":
        in_both = has_box
        common = int(in_both.sum())
    else:
        in_both = (frames >= latest_start) & (frames < earliest_end + closed)
        common = _count(latest_start, earliest_end + closed, sampled)
    either = _count(
        min(true_span.start, predicted_span.start), max(true_span.end, predicted_span.end) + closed, sampled
    )
    if rules.video_union == "union":
        spans = (true_span, predicted_span)
        either = sum(_count(span.start, span.end + closed, sampled) for span in spans) - common
    # Codes divide by at least one frame: spans of no length, or between two sampled frames, score 0.
    either = max(either, 1)
    if rules.temporal_measure == "frames":
        temporal = common / either
    else:
        overlap = earliest_end - latest_start
        temporal = overlap / (true_span.length + predicted_span.length - overlap) if overlap > 0 else 0.0
    return SampleScores(temporal, float(ious[in_both].sum()) / either, float(ious.sum()) / max(frames.size, 1))


def sampled_frames(frame_count: int) -> Int64[np.ndarray, " frame"]:
    """Return the frames that TubeDETR scores of an HC-STVG clip (datasets/hcstvg_eval.py, __init__).

    A clip lasts 20 s, so its frame rate is frame_count / 20. Of the frames but the last, the first one of
    each fifth of a second is taken: some 100 frames, so the code's limit of 200 is never met.

    >>> sampled_frames(500)[:3].tolist(), len(sampled_frames(500)), sampled_frames(500)[-1]
    ([0, 5, 10], 100, np.int64(495))
    """
    rate = min(1.0, _SAMPLED_FPS / (frame_count / _CLIP_SECONDS))
    fifth = (np.arange(max(frame_count - 1, 1)) * rate).astype(np.int64)
    return np.unique(fifth, return_index=True)[1].astype(np.int64)


def _count(start: int, end: int, sampled: Int64[np.ndarray, " frame"] | None) -> int:
    """Return the number of frames, or of sampled frames, from start up to end, without end."""
    if sampled is None:
        return max(0, end - start)
    return max(0, int(np.searchsorted(sampled, end) - np.searchsorted(sampled, start)))


def _truth_frames(
    truth: SampleTube, sampled: Int64[np.ndarray, " frame"] | None
) -> tuple[Int64[np.ndarray, " box"], Float64[np.ndarray, "box 4"]]:
    """Return the frames of the truth that take part, with their boxes."""
    if sampled is None:
        return truth.frames, truth.boxes_xyxy
    frames = sampled[(sampled >= truth.start_frame) & (sampled <= truth.end_frame)]
    places, present = _places(frames, truth.frames)
    if not present.all():
        raise ScoreError(
            f"boxes: expected a box of the truth at frame {frames[~present][0]}, got none; "
            "this protocol needs one at every frame of the truth that it samples"
        )
    return frames, truth.boxes_xyxy[places]


def _box_ious(
    predicted: SampleTube, frames: Int64[np.ndarray, " box"], true_boxes: Float64[np.ndarray, "box 4"], rules: Rules
) -> tuple[Float64[np.ndarray, " box"], Bool[np.ndarray, " box"]]:
    """Return IoU at each frame, 0 where no box is predicted, and where one is."""
    places, present = _places(frames, predicted.frames)
    if rules.missing_frame == "fail" and not present.all():
        raise ScoreError(
            f"boxes: expected a predicted box at every frame of the truth, got none at frame {frames[~present][0]} and "
            f"{int((~present).sum()) - 1} more; predict boxes outside the span too, or choose a protocol that allows it"
        )
    ious = np.zeros(frames.size)
    first, second = predicted.boxes_xyxy[places[present]], true_boxes[present]
    ious[present] = box_iou(first, second)
    if rules.empty_boxes == "fail":
        areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
        empty = (areas[0] + areas[1]) == 0
        if empty.any():
            raise ScoreError(
                f"boxes.{frames[present][empty][0]}: expected an area in the truth or the prediction, got two boxes "
                "without; IoU is no number there"
            )
    return ious, present


def _places(
    targets: Int64[np.ndarray, " box"], frames: Int64[np.ndarray, " other"]
) -> tuple[Int64[np.ndarray, " box"], Bool[np.ndarray, " box"]]:
    """Return the positions of frames among sorted ones (0 where missing), and whether they are present."""
    if frames.size == 0:
        return np.zeros(targets.size, dtype=np.int64), np.zeros(targets.size, dtype=bool)
    places = np.searchsorted(frames, targets).clip(max=frames.size - 1).astype(np.int64)
    return places, frames[places] == targets
