"""Scene -> pixels, at any size and for any moments in time.

Edges are soft, so that a large rendering that is made smaller looks like a small rendering. The
noise is drawn at a fixed resolution and enlarged with the picture for the same reason.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8

from stvg_tiny.errors import SceneError
from stvg_tiny.scenes import COLORS, SHAPE_NAMES, Scene, SceneObject, Times

_NOISE_PIXELS: Final = 96
_NOISE_FIELDS: Final = 48
_NOISE_SEED: Final = 123
_TRIANGLE_SLOPE: Final = 1.0 / 1.95
_TRIANGLE_SIDE: Final = math.sqrt(1.0 + _TRIANGLE_SLOPE**2)
_RING_HOLE: Final = 0.55
_CROSS_ARM: Final = 0.33


def render(scene: Scene, times: Times, size_pixels: int) -> UInt8[np.ndarray, "frame height width rgb=3"]:
    """Render the scene at the given times (fractions of the video) as square RGB frames."""
    generator = np.random.default_rng(scene.texture.seed)
    background = _background(generator, scene.texture.grid_cells, size_pixels)
    frames = np.repeat(background[None].astype(np.float32), len(times), axis=0)
    softness_pixels = max(1.0, scene.texture.edge_softness * size_pixels)
    for item in scene.objects:
        _paint(frames, item, times, softness_pixels)
    fields = _noise(size_pixels)[generator.integers(_NOISE_FIELDS, size=len(times))]
    frames += scene.texture.noise_level * fields
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _paint(frames: np.ndarray, item: SceneObject, times: Times, softness_pixels: float) -> None:
    """Blend one object into the frames, in place."""
    size_pixels = frames.shape[1]
    color = np.asarray(COLORS[item.color], np.float32) + np.asarray(item.tint, np.float32)
    centers = item.centers(times) * size_pixels
    radii = item.radii(times) * size_pixels
    reach = int(np.ceil(radii.max() + softness_pixels)) + 1
    corners = np.floor(centers).astype(int) - reach
    for frame in np.flatnonzero(item.visible(times)):
        columns = slice(max(corners[frame, 0], 0), corners[frame, 0] + 2 * reach + 1)
        rows = slice(max(corners[frame, 1], 0), corners[frame, 1] + 2 * reach + 1)
        patch = frames[frame, rows, columns]
        x = np.arange(columns.start, columns.start + patch.shape[1], dtype=np.float32) + 0.5
        y = np.arange(rows.start, rows.start + patch.shape[0], dtype=np.float32) + 0.5
        outside = _signed_distance(
            item.shape,
            (x - np.float32(centers[frame, 0]))[None, :],
            (y - np.float32(centers[frame, 1]))[:, None],
            radii[frame : frame + 1, None].astype(np.float32),
        )
        cover = np.clip(0.5 - outside / np.float32(softness_pixels), 0.0, 1.0)[..., None]
        patch += cover * (color - patch)


def _signed_distance(
    shape: str, x: np.ndarray, y: np.ndarray, radius: Float[np.ndarray, "1 1"]
) -> Float[np.ndarray, "height width"]:
    """Return the distance in pixels to the shape's edge, negative inside.

    `x` (one row) and `y` (one column) are pixel offsets from the centre. Beyond a corner the value
    is a lower bound of the distance, which is all that a soft edge needs. The radius is an array, for
    numpy 1 and 2 round a product with a float32 scalar differently.
    """
    across, along = np.abs(x), np.abs(y)
    outside: np.ndarray
    match shape:
        case "circle":
            outside = np.sqrt(x * x + y * y) - radius
        case "ring":
            distance = np.sqrt(x * x + y * y)
            outside = np.maximum(distance - radius, _RING_HOLE * radius - distance)
        case "square":
            outside = np.maximum(across, along) - 0.9 * radius
        case "triangle":
            side = (across - (y + radius) * _TRIANGLE_SLOPE) / _TRIANGLE_SIDE
            outside = np.maximum(side, y - 0.95 * radius)
        case "cross":
            upright = np.maximum(across - _CROSS_ARM * radius, along - radius)
            level = np.maximum(along - _CROSS_ARM * radius, across - radius)
            outside = np.minimum(upright, level)
        case _:
            raise SceneError(f"expected a shape among {', '.join(SHAPE_NAMES)}, got {shape!r}")
    return outside


def _background(
    generator: np.random.Generator, grid_cells: int, size_pixels: int
) -> Float[np.ndarray, "height width rgb=3"]:
    """Draw a smooth field of mostly grey values."""
    brightness = generator.uniform(50, 140, (grid_cells, grid_cells, 1))
    tint = generator.uniform(-22, 22, (grid_cells, grid_cells, 3))
    return _enlarge(_enlarge(brightness + tint, 0, size_pixels), 1, size_pixels)


def _enlarge(values: np.ndarray, axis: int, size_pixels: int) -> np.ndarray:
    """Interpolate an axis linearly onto `size_pixels` pixels.

    Written element by element: a matrix product rounds differently from processor to processor, and the
    benchmark's frames are the same everywhere.
    """
    cells = values.shape[axis]
    places = (np.arange(size_pixels) + 0.5) / size_pixels * (cells - 1)
    left = np.minimum(places.astype(int), cells - 2)
    share = (places - left).astype(values.dtype)
    share = share.reshape([-1 if index == axis else 1 for index in range(values.ndim)])
    return np.asarray(np.take(values, left, axis) * (1 - share) + np.take(values, left + 1, axis) * share)


@lru_cache(maxsize=2)
def _noise(size_pixels: int) -> Float[np.ndarray, "field height width rgb=3"]:
    """Return the bank of noise fields, with standard deviation 1 at the nominal size."""
    generator = np.random.default_rng(_NOISE_SEED)
    shape = (_NOISE_FIELDS, _NOISE_PIXELS, _NOISE_PIXELS, 3)
    fields = generator.standard_normal(shape, dtype=np.float32)
    if size_pixels == _NOISE_PIXELS:
        return fields
    return _enlarge(_enlarge(fields, 1, size_pixels), 2, size_pixels)
