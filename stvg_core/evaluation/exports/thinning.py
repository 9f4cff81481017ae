"""Fewer boxes that say the same: those that lie on a line between others are left out."""

from typing import Final

import numpy as np
from jaxtyping import Float64, Int64

TOLERANCE_PIXELS: Final = 0.01
"""A corner may be this far from the line; results are written to a thousandth of a pixel."""


def key_places(
    frames: Int64[np.ndarray, " box"],
    boxes_xyxy: Float64[np.ndarray, "box 4"],
    tolerance_pixels: float = TOLERANCE_PIXELS,
) -> list[int]:
    """Return which boxes to keep so that linear interpolation gives the others; the first and last always are.

    Ramer, Douglas and Peucker's splitting, with the distance taken at the same frame.

    >>> frames = np.array([0, 1, 2, 3])
    >>> key_places(frames, np.array([[0.0, 0, 1, 1], [1.0, 0, 2, 1], [2.0, 0, 3, 1], [9.0, 0, 10, 1]]))
    [0, 2, 3]
    """
    kept = {0, len(frames) - 1}
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
        if distance[worst] > tolerance_pixels:
            middle = first + 1 + worst
            kept.add(middle)
            waiting += [(first, middle), (middle, last)]
    return sorted(kept)
