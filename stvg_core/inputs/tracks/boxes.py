"""Arithmetic on boxes: overlap, centres, and keeping the best of those that coincide.

This module knows no picture and no time. Boxes are (x0, y0, x1, y1), in any one unit.
"""

import numpy as np
from jaxtyping import Float64, Int64


def intersection_over_union(
    first: Float64[np.ndarray, "first 4"], second: Float64[np.ndarray, "second 4"]
) -> Float64[np.ndarray, "first second"]:
    """Return the overlap of every box of one set with every box of the other, 0..1.

    >>> intersection_over_union(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [5.0, 5, 6, 6]])).round(2)
    array([[0.33, 0.  ]])
    """
    return _overlap(first[:, None], second[None])


def overlap_in_pairs(
    boxes_xyxy: Float64[np.ndarray, "frame 4"], others_xyxy: Float64[np.ndarray, "other frame 4"]
) -> Float64[np.ndarray, "other frame"]:
    """Return how one box per frame overlaps each of several others in the same frame, 0..1."""
    return _overlap(boxes_xyxy[None], others_xyxy)


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return intersection over union of boxes whose leading axes broadcast."""
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.clip(sides, 0.0, None).prod(axis=-1)
    both = (first[..., 2:] - first[..., :2]).prod(axis=-1) + (second[..., 2:] - second[..., :2]).prod(axis=-1)
    return np.asarray(shared / np.maximum(both - shared, np.finfo(np.float64).tiny), dtype=np.float64)


def areas(boxes_xyxy: Float64[np.ndarray, "box 4"]) -> Float64[np.ndarray, " box"]:
    """Return width times height of each box."""
    return np.asarray((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=-1), dtype=np.float64)


def centers(boxes_xyxy: Float64[np.ndarray, "box 4"]) -> Float64[np.ndarray, "box 2"]:
    """Return the middle (x, y) of each box."""
    return np.asarray((boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2, dtype=np.float64)


def diagonals(boxes_xyxy: Float64[np.ndarray, "box 4"]) -> Float64[np.ndarray, " box"]:
    """Return the length of each box's diagonal."""
    return np.asarray(np.linalg.norm(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=-1), dtype=np.float64)


def keep_best(
    boxes_xyxy: Float64[np.ndarray, "box 4"],
    scores: Float64[np.ndarray, " box"],
    overlap: float,
) -> Int64[np.ndarray, " kept"]:
    """Return which boxes stay, best first, when each removes the worse ones that overlap it more.

    Equal scores keep their order, so that the outcome is the same on every machine.

    >>> keep_best(np.array([[0.0, 0, 4, 4], [0.0, 0, 4, 5], [9.0, 9, 10, 10]]), np.array([1.0, 2.0, 0.5]), 0.5)
    array([1, 2])
    """
    order = np.argsort(-scores, kind="stable")
    close = intersection_over_union(boxes_xyxy, boxes_xyxy) > overlap
    kept: list[int] = []
    for candidate in order:
        if not close[candidate, kept].any():
            kept.append(int(candidate))
    return np.asarray(kept, dtype=np.int64)
