"""Regions of one picture that stand out in colour or brightness, whatever they are.

Every level set of the Lab channels and of chroma is cut into connected components (the idea of
MSER, Matas et al. 2002, at a fixed number of levels); each component is then redrawn at half its
contrast to its own surroundings, which makes the levels that show one object agree on its box.
This module knows neither time nor the query.
"""

from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from stvg_core.tracks.boxes import keep_best
from stvg_core.tracks.linking import Detections

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
    found = [region for box, mask in _components(lab) if (region := _redraw(lab, box, mask)) is not None]
    if not found:
        return Detections(np.zeros((0, 4)), np.zeros((0, 3)), np.zeros(0))
    boxes = np.array([box for box, _, _ in found], dtype=np.float64)
    colors = np.array([color for _, color, _ in found], dtype=np.float64)
    scores = np.array([score for _, _, score in found], dtype=np.float64)
    kept = keep_best(boxes, scores, _FINE_OVERLAP)[:_MOST_REGIONS]
    return Detections(boxes[kept], colors[kept], scores[kept])


def _components(lab: np.ndarray) -> list[tuple[tuple[int, int, int, int], np.ndarray]]:
    """Return box (x, y, width, height) and mask inside it of each distinct component of any level set."""
    pixel_count = lab.shape[0] * lab.shape[1]
    smallest = max(_SMALLEST_PIXELS, pixel_count * _SMALLEST_SHARE)
    rows: list[tuple[int, int, int, int]] = []
    masks: list[np.ndarray] = []
    for channel in (lab[..., 0], lab[..., 1], lab[..., 2], np.hypot(lab[..., 1], lab[..., 2])):
        low, high = np.percentile(channel, (0.5, 99.5))
        if high - low < _LEAST_SPREAD:
            continue
        for level in np.linspace(low, high, _LEVELS + 2)[1:-1]:
            above = (channel > level).astype(np.uint8)
            for side in (above, 1 - above):
                _, labels, statistics, _ = cv2.connectedComponentsWithStats(side, connectivity=4)
                for label in range(1, len(statistics)):
                    x, y, width, height, area = (int(value) for value in statistics[label])
                    if smallest <= area and width * height <= _LARGEST_SHARE * pixel_count:
                        rows.append((x, y, width, height))
                        masks.append(labels[y : y + height, x : x + width] == label)
    if not rows:
        return []
    boxes = np.array(rows, dtype=np.float64)
    boxes[:, 2:] += boxes[:, :2]
    filled = np.array([mask.sum() for mask in masks], dtype=np.float64)
    return [(rows[index], masks[index]) for index in keep_best(boxes, filled, _COARSE_OVERLAP)]


def _redraw(lab: np.ndarray, box: tuple[int, int, int, int], mask: np.ndarray) -> _Region | None:
    """Return corners, median colour and contrast of a component redrawn at half its contrast; None if it is faint."""
    x, y, width, height = box
    margin = max(2, round(_SURROUNDINGS * max(width, height)))
    left, top = max(0, x - margin), max(0, y - margin)
    crop = lab[top : y + height + margin, left : x + width + margin]
    inside = np.zeros(crop.shape[:2], dtype=bool)
    inside[y - top : y - top + height, x - left : x - left + width] = mask
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
    winner = int(votes.argmax())
    corners = _corners(statistics[winner])
    if statistics[winner, 2] * statistics[winner, 3] > _MOST_REDRAWN_GROWTH * width * height:
        corners = (x - left, y - top, x - left + width, y - top + height)
    shift = np.array([left, top, left, top], dtype=np.float64)
    return corners + shift, color, contrast


def _corners(statistics: np.ndarray) -> _Corners:
    """Return (x0, y0, x1, y1) of a row of component statistics."""
    x, y, width, height = (int(value) for value in statistics[:4])
    return x, y, x + width, y + height


def _typical(pixels: np.ndarray) -> np.ndarray:
    """Return the median colour of evenly chosen pixels; more of them cost time and change nothing."""
    return np.asarray(np.median(pixels[:: 1 + len(pixels) // _MEDIAN_PIXELS], axis=0))
