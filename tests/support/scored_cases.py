"""Cases with one true and one predicted tube, scored by the metrics."""

import numpy as np

from stvg_core.metrics import Rules, SampleTruth, SampleTube, score_sample
from tests.support.plain_scores import Box, Case

TRUE_BOX: Box = (10.0, 20.0, 50.0, 100.0)
NEAR_BOX: Box = (20.0, 20.0, 60.0, 100.0)
"""Its IoU with TRUE_BOX is 0.6."""


def tube(start: int, end: int, boxes: dict[int, Box]) -> SampleTube:
    frames = np.array(sorted(boxes), dtype=np.int64)
    return SampleTube(start, end, frames, np.array([boxes[int(frame)] for frame in frames], float).reshape(-1, 4))


def truth(case: Case) -> SampleTruth:
    return SampleTruth(tube(case.true_start, case.true_end, case.true_boxes), case.frame_count)


def score(case: Case, rules: Rules) -> tuple[float, float, float]:
    scores = score_sample(tube(case.start, case.end, case.boxes), truth(case), rules)
    return scores.temporal_iou, scores.video_iou, scores.truth_video_iou


def same_box(true: tuple[int, int], found: tuple[int, int], around: int = 1000, frame_count: int = 100) -> Case:
    """One true and one predicted box all along; boxes are predicted up to `around` frames outside the span."""
    true_boxes = dict.fromkeys(range(true[0], true[1] + 1), TRUE_BOX)
    boxes = dict.fromkeys(range(max(0, found[0] - around), min(frame_count, found[1] + 1 + around)), NEAR_BOX)
    return Case(frame_count, *true, true_boxes, *found, boxes)
