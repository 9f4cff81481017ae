"""Overlap of two tubes, and of boxes.

Frames are 0-based and ends inclusive. tIoU and vIoU are those of Zhang et al., CVPR 2020
(VidSTG), over sets of frames: vIoU sums box IoU over the common frames and divides by the
number of frames in either tube.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from stvg_core.values import Tube


@dataclass(frozen=True)
class TubeOverlap:
    """Overlap of two tubes, each in 0..1.

    Attributes:
        temporal_iou: tIoU, common frames over frames in either.
        video_iou: vIoU, box IoU summed over common frames, over frames in either.
    """

    temporal_iou: float
    video_iou: float


def tube_overlap(predicted: Tube, truth: Tube) -> TubeOverlap:
    """Return tIoU and vIoU of two tubes of one video.

    >>> box = np.tile([0.0, 0.0, 4.0, 4.0], (10, 1))
    >>> tube = lambda start: Tube(start, box, np.arange(10.0), 10.0)
    >>> overlap = tube_overlap(tube(0), tube(5))
    >>> round(overlap.temporal_iou, 4), round(overlap.video_iou, 4)
    (0.3333, 0.3333)
    """
    first = max(predicted.start_frame, truth.start_frame)
    last = min(predicted.end_frame, truth.end_frame)
    common = max(0, last - first + 1)
    either = len(predicted.boxes_xyxy) + len(truth.boxes_xyxy) - common
    if common == 0:
        return TubeOverlap(0.0, 0.0)
    ious = box_iou(
        predicted.boxes_xyxy[first - predicted.start_frame :][:common],
        truth.boxes_xyxy[first - truth.start_frame :][:common],
    )
    return TubeOverlap(common / either, float(ious.sum()) / either)


def box_iou(
    first_xyxy: Float64[np.ndarray, "box 4"], second_xyxy: Float64[np.ndarray, "box 4"]
) -> Float64[np.ndarray, " box"]:
    """Return intersection over union of boxes, pair by pair; 0 where both are empty."""
    corner_low = np.maximum(first_xyxy[:, :2], second_xyxy[:, :2])
    corner_high = np.minimum(first_xyxy[:, 2:], second_xyxy[:, 2:])
    common = np.clip(corner_high - corner_low, 0.0, None).prod(axis=1)
    areas = (first_xyxy[:, 2:] - first_xyxy[:, :2]).prod(axis=1) + (second_xyxy[:, 2:] - second_xyxy[:, :2]).prod(
        axis=1
    )
    union = areas - common
    ious: Float64[np.ndarray, " box"] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ious
