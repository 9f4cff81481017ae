"""Tokens of a frame pooled into fewer; it knows grids, not models."""

import math
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def pool_frames(
    tokens: Float[Tensor, "frame patch width"], stride: int, mode: Literal["average", "max"]
) -> Float[Tensor, "frame cell width"]:
    """Return each frame's square grid of tokens, pooled over blocks of stride x stride.

    >>> import torch
    >>> pool_frames(torch.arange(16.0).reshape(1, 16, 1), 2, "average").flatten().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """
    frames, patches, width = tokens.shape
    side = math.isqrt(patches)
    grid = tokens.reshape(frames, side, side, width).permute(0, 3, 1, 2)
    pool = functional.avg_pool2d if mode == "average" else functional.max_pool2d
    return pool(grid, stride).flatten(2).transpose(1, 2)
