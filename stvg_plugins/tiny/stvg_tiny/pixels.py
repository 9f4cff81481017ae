"""Frames -> the pixel patches and positions that a Qwen2-VL model takes."""

from __future__ import annotations

from typing import Any, Final

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from stvg_tiny.architectures import VideoGrid

PIXEL_MEAN: Final = (0.5, 0.5, 0.5)
PIXEL_STD: Final = (0.5, 0.5, 0.5)
"""Mean and standard deviation of each channel, for pixel values scaled to 0..1."""


def normalized_patches(
    frames: UInt8[Tensor, "video frame height width rgb"], grid: VideoGrid
) -> Float[Tensor, "patch value"]:
    """Cut frames into flat patches, in the order the model's processor uses.

    Patches run over videos, token times and token cells, and within a cell over its patches; the
    values of one patch run over channels, frames, rows and columns.
    """
    mean = torch.tensor(PIXEL_MEAN).view(3, 1, 1)
    std = torch.tensor(PIXEL_STD).view(3, 1, 1)
    scaled = (frames.permute(0, 1, 4, 2, 3).float() / 255.0 - mean) / std
    side = (grid.cells, grid.merge_patches, grid.patch_pixels)
    blocks = scaled.reshape(len(frames), grid.steps, grid.token_frames, 3, *side, *side)
    ordered = blocks.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9)
    return ordered.reshape(len(frames) * grid.steps * grid.patches**2, -1)


def patch_grid(videos: int, grid: VideoGrid) -> Int[Tensor, "video thw=3"]:
    """Return each video's number of patches along time, height and width."""
    return torch.tensor([[grid.steps, grid.patches, grid.patches]] * videos)


def rotary_positions(head_tokens: int, grid: VideoGrid, tail_tokens: int) -> Int[Tensor, "thw=3 token"]:
    """Return the (time, height, width) position of each token of a prompt with one video.

    This is the rule that Qwen2-VL was published with: text after a video resumes one past the
    largest position of any visual token on any axis. (Newer transformers versions look only at
    height and width, so a long video's times would overlap the text behind it.)

    Args:
        head_tokens: Text tokens before the video.
        grid: The video's size.
        tail_tokens: Text tokens after the video.
    """
    head = torch.arange(head_tokens).expand(3, -1)
    axes = [torch.arange(length) for length in (grid.steps, grid.cells, grid.cells)]
    visual = torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")])
    resume = head_tokens + max(grid.steps, grid.cells)
    tail = resume + torch.arange(tail_tokens).expand(3, -1)
    return torch.cat([head, head_tokens + visual, tail], dim=1)


def preprocessor_config(grid: VideoGrid) -> dict[str, Any]:
    """Return the preprocessing parameters that are saved beside a checkpoint.

    The pixel limits keep a frame at its training size.
    """
    area = grid.size_pixels**2
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(PIXEL_MEAN),
        "image_std": list(PIXEL_STD),
        "patch_size": grid.patch_pixels,
        "merge_size": grid.merge_patches,
        "temporal_patch_size": grid.token_frames,
        "min_pixels": area,
        "max_pixels": area,
        "size": {"shortest_edge": area, "longest_edge": area},
    }
