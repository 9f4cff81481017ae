"""Frames to normalised pixels, in torch alone: no torchvision, no video processors.

Frames are squashed to a square, as the released research code does. Resizing equals
torchvision's antialiased bicubic on uint8. Independent of patches and of families.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from stvg_core.errors import ModelError

_CHANNELS: Final = 3


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation per colour channel, of pixels in 0..1 (CLIP's by default)."""

    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    deviation: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)


def read_statistics(configurations: Sequence[Mapping[str, object]]) -> PixelStatistics:
    """Return the first statistics that a checkpoint's preprocessor files give, else CLIP's.

    Args:
        configurations: the files' contents, the most specific first.

    Raises:
        ModelError: a file gives statistics that are not three numbers each.

    >>> read_statistics([{}, {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}]).mean
    (0.5, 0.5, 0.5)
    """
    for configuration in configurations:
        if "image_mean" in configuration and "image_std" in configuration:
            mean, deviation = _triple(configuration, "image_mean"), _triple(configuration, "image_std")
            if min(deviation) <= 0:
                raise ModelError(f"expected image_std above 0, got {deviation}; the preprocessor file is damaged")
            return PixelStatistics(mean, deviation)
    return PixelStatistics()


def _triple(configuration: Mapping[str, object], name: str) -> tuple[float, ...]:
    value = configuration[name]
    if isinstance(value, list) and len(value) == _CHANNELS:
        numbers = tuple(float(item) for item in value if isinstance(item, int | float) and math.isfinite(item))
        if len(numbers) == _CHANNELS:
            return numbers
    raise ModelError(f"expected three numbers for {name}, got {value!r}; the preprocessor file is damaged")


def square_frames(
    pixels: UInt8[np.ndarray, "frame height width 3"], size_pixels: int
) -> UInt8[Tensor, "frame 3 size_pixels size_pixels"]:
    """Return frames squashed to a square, frame by frame to bound memory."""
    squares = torch.empty(len(pixels), _CHANNELS, size_pixels, size_pixels, dtype=torch.uint8)
    for number, frame in enumerate(pixels):
        channels_first = torch.tensor(frame).permute(2, 0, 1)[None]
        if channels_first.shape[-2:] == (size_pixels, size_pixels):
            squares[number] = channels_first[0]
        else:
            squares[number] = functional.interpolate(
                channels_first, size=(size_pixels, size_pixels), mode="bicubic", antialias=True, align_corners=False
            )[0]
    return squares


def normalize(
    frames: UInt8[Tensor, "frame 3 height width"], statistics: PixelStatistics
) -> Float[Tensor, "frame 3 height width"]:
    """Return pixels minus mean over deviation, float32; the scale by 255 is folded in, as transformers does."""
    mean = torch.tensor(statistics.mean)[:, None, None] * 255
    deviation = torch.tensor(statistics.deviation)[:, None, None] * 255
    return (frames.float() - mean) / deviation
