"""Frames cut into patches as Qwen's vision tower reads them; it knows pixels and sizes only."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


def merge_in_time(
    frame_count: int, frames_per_step: int, mode: Literal["duplicate", "merge"]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return which frame is shown at each place, and each frame's time step.

    Args:
        frame_count: frames in the order the model sees them.
        frames_per_step: frames that one token covers (2 in Qwen2-VL).
        mode: duplicate shows every frame that often, so that it has a step of its own (released
            research code); merge lets neighbours share one, the last frame filling up.

    >>> merge_in_time(3, 2, "duplicate")
    ((0, 0, 1, 1, 2, 2), (0, 1, 2))
    >>> merge_in_time(3, 2, "merge")
    ((0, 1, 2, 2), (0, 0, 1))
    """
    if mode == "duplicate":
        return tuple(frame for frame in range(frame_count) for _ in range(frames_per_step)), tuple(range(frame_count))
    steps = -(-frame_count // frames_per_step)
    shown = tuple(min(place, frame_count - 1) for place in range(steps * frames_per_step))
    return shown, tuple(frame // frames_per_step for frame in range(frame_count))


def cut_patches(
    pixels: Float[Tensor, "shown 3 height width"], frames_per_step: int, patch_pixels: int, merge_patches: int
) -> Float[Tensor, "patch value"]:
    """Return patches in the order that Qwen reads: blocks that become one token stand together.

    Order of patches: time step, block row, block column, row in the block, column in the block.
    Order of a patch's values: channel, frame within the step, row, column.
    """
    steps = pixels.shape[0] // frames_per_step
    block = merge_patches * patch_pixels
    rows, columns = pixels.shape[2] // block, pixels.shape[3] // block
    cut = pixels.reshape(
        steps, frames_per_step, 3, rows, merge_patches, patch_pixels, columns, merge_patches, patch_pixels
    )
    ordered = torch.permute(cut, (0, 3, 6, 4, 7, 2, 1, 5, 8))
    return ordered.reshape(steps * rows * columns * merge_patches**2, 3 * frames_per_step * patch_pixels * patch_pixels)
