"""What is measured of a grounding beside its score: where attention points, and how the two views agree."""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from stvg_core.metrics import SampleTruth
from stvg_core.values import FrameMaps, Track

COVERED: Final = 0.25
"""A cell belongs to the true object where its box covers this share of it."""


def true_track(truth: SampleTruth, frame_step: int) -> Track:
    """Return the annotated boxes as a track, in source frames."""
    return Track(truth.tube.frames * frame_step, truth.tube.boxes_xyxy)


def pointing(maps: FrameMaps, true_cells: Float64[np.ndarray, "frame row column"]) -> float | None:
    """Return 1 where the peak of attention lies on the true object, else 0; None where no sampled frame shows it.

    Only the frames of the true span are looked at, as in the paper's hit ratio (section 3.2): outside it there is
    no annotated box.

    Args:
        maps: attention, one map per sampled frame.
        true_cells: share of each cell that the true box covers; 0 outside the true span.

    >>> maps = FrameMaps(np.array([[[0.1, 0.9]], [[5.0, 0.0]]]))
    >>> pointing(maps, np.array([[[0.0, 1.0]], [[0.0, 0.0]]]))
    1.0
    """
    shown: Bool[np.ndarray, " frame"] = true_cells.max(axis=(1, 2)) >= COVERED
    if not shown.any():
        return None
    peak = maps.values[shown].argmax()
    return float(true_cells[shown].reshape(-1)[peak] >= COVERED)


def consistency(forward: FrameMaps, backward: FrameMaps) -> float:
    """Return the correlation of both views' maps, already in the same order: ours for the paper's S_cons.

    The paper's formula (Eq. 5) is an image in every copy at hand. 0 where a map is constant.

    >>> maps = FrameMaps(np.array([[[1.0, 2.0]], [[3.0, 5.0]]]))
    >>> round(consistency(maps, FrameMaps(2 * maps.values + 1)), 6)
    1.0
    """
    first, second = (maps.values - maps.values.mean() for maps in (forward, backward))
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / norm if norm > 0 else 0.0
