"""Regions of one picture that stand out in colour or brightness, whatever they are.

Every level set of the Lab channels and of chroma is cut into connected components (the idea of
MSER, Matas et al. 2002, at a fixed number of levels); each component is then redrawn at half its
contrast to its own surroundings, which makes the levels that show one object agree on its box.
This module knows neither time nor the query.
"""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from stvg_core.inputs.tracks.boxes import keep_best
from stvg_core.inputs.tracks.linking import Detections

_LEVELS: Final = 6
_LEAST_SPREAD: Final = 6.0
"""A channel whose values span less than this (Lab units) shows nothing but noise."""
_SMALLEST_SHARE: Final = 0.0015
_LARGEST_SHARE: Final = 0.35
_SMALLEST_PIXELS: Final = 16
_SURROUNDINGS: Final = 0.35
"""How far a component's surroundings reach beyond its box, in box sides."""
_LEAST_CONTRAST: Final = 8.0
"""Lab distance under which a region is not told from its surroundings."""
_COARSE_OVERLAP: Final = 0.8
_FINE_OVERLAP: Final = 0.55
_MOST_COMPONENTS: Final = 400
_MOST_REGIONS: Final = 40
_MEDIAN_PIXELS: Final = 400
_HALF_WAY: Final = 0.5
"""From the surroundings' colour (0) to the region's (1): where a soft edge has its true place."""
_MOST_REDRAWN_GROWTH: Final = 2.0
"""A redrawn box that gains more area than this has leaked into the ground; the component's own is kept."""

_Corners = tuple[int, int, int, int]
_Region = tuple[np.ndarray, np.ndarray, float]


def smooth_lab(picture: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
    """Return the picture in CIE Lab, freed of pixel noise in proportion to its size."""
    sigma_pixels = max(0.8, max(picture.shape[:2]) * 0.009)
    blurred = cv2.GaussianBlur(picture, (0, 0), sigma_pixels)
    return np.asarray(cv2.cvtColor(blurred.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB), dtype=np.float32)


def find_regions(lab: Float32[np.ndarray, "height width 3"]) -> Detections:
    """Return the regions that stand out most, best first.

    Args:
        lab: one picture as `smooth_lab` returns it.

    Returns:
        At most 40 boxes in pixels of the picture; appearance is the region's mean Lab colour, score its
        Lab distance from its surroundings.
    """
    found = [region for corners, mask in _components(lab) if (region := _redraw(lab, corners, mask)) is not None]
    if not found:
        return Detections(np.zeros((0, 4)), np.zeros((0, 3)), np.zeros(0))
    boxes = np.array([box for box, _, _ in found], dtype=np.float64)
    colors = np.array([color for _, color, _ in found], dtype=np.float64)
    scores = np.array([score for _, _, score in found], dtype=np.float64)
    kept = keep_best(boxes, scores, _FINE_OVERLAP)[:_MOST_REGIONS]
    return Detections(boxes[kept], colors[kept], scores[kept])


def _components(lab: np.ndarray) -> list[tuple[_Corners, np.ndarray]]:
    """Return corners and mask (of the size of its box) of each distinct component of any level set."""
    pixel_count = lab.shape[0] * lab.shape[1]
    smallest = max(_SMALLEST_PIXELS, pixel_count * _SMALLEST_SHARE)
    rows, owners = [np.zeros((0, 6), dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    label_maps: list[np.ndarray] = []
    for side in _level_sets(lab):
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(side, connectivity=4)
        fits = (statistics[:, 4] >= smallest) & (statistics[:, 2] * statistics[:, 3] <= _LARGEST_SHARE * pixel_count)
        fits[0] = False
        which = np.flatnonzero(fits)
        rows.append(np.column_stack([statistics[which], which]).astype(np.int64))
        owners.append(np.full(len(which), len(label_maps)))
        label_maps.append(labels)
    found, owner = np.concatenate(rows), np.concatenate(owners)
    # Texture has thousands of components; those that matter are not the smallest.
    largest = np.argsort(-found[:, 4], kind="stable")[:_MOST_COMPONENTS]
    found, owner = found[largest], owner[largest]
    found[:, 2:4] += found[:, :2]
    kept = keep_best(found[:, :4].astype(np.float64), found[:, 4].astype(np.float64), _COARSE_OVERLAP)
    components = []
    for index in kept:
        left, top, right, bottom, _, label = (int(value) for value in found[index])
        mask = label_maps[int(owner[index])][top:bottom, left:right] == label
        components.append(((left, top, right, bottom), mask))
    return components


def _level_sets(lab: np.ndarray) -> Iterator[np.ndarray]:
    """Yield, as masks, what lies above and what lies below each level of each channel."""
    for channel in (lab[..., 0], lab[..., 1], lab[..., 2], np.hypot(lab[..., 1], lab[..., 2])):
        low, high = np.percentile(channel, (0.5, 99.5))
        if high - low < _LEAST_SPREAD:
            continue
        for level in np.linspace(low, high, _LEVELS + 2)[1:-1]:
            above = (channel > level).astype(np.uint8)
            yield above
            yield 1 - above


def _redraw(lab: np.ndarray, corners: _Corners, mask: np.ndarray) -> _Region | None:
    """Return corners, median colour and contrast of a component redrawn at half its contrast; None if it is faint."""
    x0, y0, x1, y1 = corners
    margin = max(2, round(_SURROUNDINGS * max(x1 - x0, y1 - y0)))
    left, top = max(0, x0 - margin), max(0, y0 - margin)
    crop = lab[top : y1 + margin, left : x1 + margin]
    inside = np.zeros(crop.shape[:2], dtype=bool)
    inside[y0 - top : y1 - top, x0 - left : x1 - left] = mask
    outside = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    if not outside.any():
        return None
    color, around = _typical(crop[inside]), _typical(crop[outside])
    contrast = float(np.linalg.norm(color - around))
    if contrast < _LEAST_CONTRAST:
        return None
    share = (crop - around) @ ((color - around) / contrast**2)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats((share > _HALF_WAY).astype(np.uint8), connectivity=4)
    votes = np.bincount(labels[inside], minlength=len(statistics))
    votes[0] = 0
    if not votes.any():
        return None
    x, y, width, height = (int(value) for value in statistics[int(votes.argmax()), :4])
    columns, rows = share[y : y + height].max(axis=0), share[:, x : x + width].max(axis=1)
    redrawn = np.array(
        [
            left + _low_edge(columns, x),
            top + _low_edge(rows, y),
            left + len(columns) - _low_edge(columns[::-1], len(columns) - x - width),
            top + len(rows) - _low_edge(rows[::-1], len(rows) - y - height),
        ]
    )
    leaked = width * height > _MOST_REDRAWN_GROWTH * (x1 - x0) * (y1 - y0)
    return (np.array(corners, dtype=np.float64) if leaked else redrawn), color, contrast


def _low_edge(profile: np.ndarray, first: int) -> float:
    """Return where a profile rises through half-way, between pixels; `first` is the first pixel above.

    Without it a box would jump by a whole pixel of the search size, which may be many of the video.

    >>> _low_edge(np.array([0.0, 0.0, 1.0, 1.0]), 2), _low_edge(np.array([0.0, 0.4, 0.9, 1.0]), 2)
    (2.0, 1.7)
    """
    if first == 0 or profile[first - 1] > _HALF_WAY:
        return float(first)
    below, above = float(profile[first - 1]), float(profile[first])
    return first - 0.5 + (_HALF_WAY - below) / (above - below)


def _typical(pixels: np.ndarray) -> np.ndarray:
    """Return the median colour of evenly chosen pixels; more of them cost time and change nothing."""
    return np.asarray(np.median(pixels[:: 1 + len(pixels) // _MEDIAN_PIXELS], axis=0))
