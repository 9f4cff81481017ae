"""Frames -> the tensors that a family's vision tower reads, by the framework's own tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from jaxtyping import UInt8
from torch import Tensor
from transformers import PreTrainedConfig

from stvg_huggingface.pixels import PixelStatistics, normalize
from tiny_recipe.architectures import Architecture

PIXEL_STATISTICS: Final = PixelStatistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def pixel_tensors(
    architecture: Architecture,
    config: PreTrainedConfig,
    frames: UInt8[Tensor, "video frame height width rgb"],
) -> Mapping[str, Tensor]:
    """Return the vision tower's keyword arguments for equally long videos, one behind the other."""
    videos = [
        architecture.family.pixel_tensors(
            config, normalize(video.permute(0, 3, 1, 2), PIXEL_STATISTICS), architecture.inputs
        )
        for video in frames
    ]
    return {name: torch.cat([video[name] for video in videos]) for name in videos[0]}


def preprocessor_config(architecture: Architecture) -> dict[str, Any]:
    """Return the preprocessing parameters that are saved beside a checkpoint.

    The pixel limits keep a frame at its training size.
    """
    grid = architecture.grid
    area = grid.size_pixels**2
    common = {
        **architecture.processor,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(PIXEL_STATISTICS.mean),
        "image_std": list(PIXEL_STATISTICS.deviation),
    }
    if grid.token_frames == 1:
        return {**common, "size": {"height": grid.size_pixels, "width": grid.size_pixels}}
    return {
        **common,
        "patch_size": grid.patch_pixels,
        "merge_size": grid.merge_patches,
        "temporal_patch_size": grid.token_frames,
        "min_pixels": area,
        "max_pixels": area,
        "size": {"shortest_edge": area, "longest_edge": area},
    }
