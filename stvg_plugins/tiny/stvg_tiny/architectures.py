"""The architectures that can be trained: one row of the table each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from stvg_tiny.tokenizer import IMAGE_PAD, PAD, TURN_END, TURN_START, VIDEO_PAD, VISION_END, VISION_START, token_id


@dataclass(frozen=True)
class VideoGrid:
    """The size of a training video, in frames and pixels, and of its visual tokens.

    Attributes:
        frame_count: Frames per video.
        size_pixels: Side of the square frames.
        patch_pixels: Side of one patch of the vision tower.
        merge_patches: Patches per side that make one visual token.
        token_frames: Frames that make one visual token.
    """

    frame_count: int = 16
    size_pixels: int = 96
    patch_pixels: int = 8
    merge_patches: int = 2
    token_frames: int = 2

    @property
    def steps(self) -> int:
        """Visual tokens along time."""
        return self.frame_count // self.token_frames

    @property
    def cells(self) -> int:
        """Visual tokens along each side of the frame."""
        return self.size_pixels // (self.patch_pixels * self.merge_patches)

    @property
    def patches(self) -> int:
        """Patches along each side of the frame."""
        return self.size_pixels // self.patch_pixels

    @property
    def visual_tokens(self) -> int:
        """Visual tokens per video."""
        return self.steps * self.cells**2


@dataclass(frozen=True)
class Architecture:
    """One trainable architecture.

    Attributes:
        name: What it is called on the command line; also its checkpoint folder.
        grid: Its video size and visual tokens.
        build: Makes the model, with random weights from the given seed.
    """

    name: str
    grid: VideoGrid
    build: Callable[[VideoGrid, PreTrainedTokenizerFast, int], Qwen2VLForConditionalGeneration]


def _qwen2_vl(grid: VideoGrid, tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2VLForConditionalGeneration:
    hidden_size, head_count = 128, 4
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden_size,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": head_count,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "initializer_range": 0.06,
            # The three sections must add up to half of a head's width.
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100.0,
                "mrope_section": [4, 6, 6],
            },
            "bos_token_id": token_id(tokenizer, TURN_START),
            "eos_token_id": token_id(tokenizer, TURN_END),
            "pad_token_id": token_id(tokenizer, PAD),
        },
        vision_config={
            # The fused gelu trains several times faster on a CPU than the usual quick_gelu.
            "hidden_act": "gelu",
            "depth": 2,
            "embed_dim": 64,
            "hidden_size": hidden_size,
            "mlp_ratio": 4,
            "num_heads": 4,
            "patch_size": grid.patch_pixels,
            "spatial_merge_size": grid.merge_patches,
            "temporal_patch_size": grid.token_frames,
            "initializer_range": 0.06,
            "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
        },
        image_token_id=token_id(tokenizer, IMAGE_PAD),
        video_token_id=token_id(tokenizer, VIDEO_PAD),
        vision_start_token_id=token_id(tokenizer, VISION_START),
        vision_end_token_id=token_id(tokenizer, VISION_END),
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    return Qwen2VLForConditionalGeneration(config)


ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {"qwen2-vl": Architecture("qwen2-vl", VideoGrid(), _qwen2_vl)}
)
"""Every trainable architecture by name."""
