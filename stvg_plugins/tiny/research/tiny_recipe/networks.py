"""The models themselves, small enough to train on a CPU: plain transformers classes, random weights.

What departs from published checkpoints: the fused gelu, which trains several times faster on a CPU
than the families' own activations; InternVL's residual branches, which start at full strength;
LLaVA's pooling by a convolution; and rotary frequencies that fit the length of a tiny video.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from tiny_recipe.grid import VideoGrid
from tiny_recipe.tokenizer import (
    FRAME_PAD,
    IMAGE,
    IMAGE_PAD,
    PAD,
    VIDEO,
    VIDEO_PAD,
    VISION_END,
    VISION_START,
    token_id,
)

_HIDDEN_SIZE: Final = 128
_HEADS: Final = 4
_POSITIONS: Final = 4096
_VISION_SIZE: Final = 64
_INITIAL_DEVIATION: Final = 0.06
_POSITION_DEVIATION: Final = 0.5
_WORDS_PER_FRAME: Final = 5
"""Tokens of text from one frame to the next in an InternVL prompt: a line break, its number, a colon, two markers."""


def qwen2_vl(grid: VideoGrid, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """Return a Qwen2-VL: two-axis rotary vision, tokens of 2 frames and 2x2 patches, three-axis rotary text."""
    config = Qwen2VLConfig(
        text_config={
            **_text(tokenizer),
            # The three sections must add up to half of a head's width.
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [4, 6, 6]},
        },
        vision_config={
            "hidden_act": "gelu",
            "depth": 2,
            "embed_dim": _VISION_SIZE,
            "hidden_size": _HIDDEN_SIZE,
            "mlp_ratio": 4,
            "num_heads": 4,
            "patch_size": grid.patch_pixels,
            "spatial_merge_size": grid.merge_patches,
            "temporal_patch_size": grid.token_frames,
            "initializer_range": _INITIAL_DEVIATION,
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


def llava_next_video(grid: VideoGrid, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """Return a LLaVA-NeXT-Video: CLIP, pooling of 2x2 patches by a trained convolution, LLaMA."""
    vision = CLIPVisionConfig(
        **_vision(), image_size=grid.size_pixels, patch_size=grid.patch_pixels, projection_dim=_VISION_SIZE
    )
    config = LlavaNextVideoConfig(
        vision_config=vision,
        text_config=LlamaConfig(**_text(tokenizer), rope_parameters=_rotary(grid.cells**2)),
        image_token_index=token_id(tokenizer, IMAGE),
        video_token_index=token_id(tokenizer, VIDEO),
        vision_feature_layer=-1,
        # The mean of a cell's patches would hide which of them holds an edge.
        spatial_pool_mode="conv",
        spatial_pool_stride=grid.merge_patches,
        image_grid_pinpoints=[[grid.size_pixels, 2 * grid.size_pixels]],
        image_seq_length=grid.patches**2,
        video_seq_length=grid.cells**2,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = LlavaNextVideoForConditionalGeneration(config)
    positions: Any = model.model.vision_tower
    _embeddings(positions).position_embedding.weight.data.copy_(_positions(grid))
    return model


def internvl(grid: VideoGrid, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """Return an InternVL: its own vision tower, 2x2 patches folded into a token, Qwen2."""
    vision = InternVLVisionConfig(
        **_vision(),
        image_size=[grid.size_pixels, grid.size_pixels],
        patch_size=[grid.patch_pixels, grid.patch_pixels],
        layer_scale_init_value=1.0,
    )
    config = InternVLConfig(
        vision_config=vision,
        text_config=Qwen2Config(**_text(tokenizer), rope_parameters=_rotary(grid.cells**2 + _WORDS_PER_FRAME)),
        image_token_id=token_id(tokenizer, FRAME_PAD),
        downsample_ratio=1 / grid.merge_patches,
        image_seq_length=grid.cells**2,
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = InternVLForConditionalGeneration(config)
    embeddings: Any = model.model.vision_tower.embeddings
    embeddings.position_embeddings.data.copy_(_positions(grid)[None])
    return model


def _embeddings(tower: Any) -> Any:  # noqa: ANN401 - transformers moved CLIP's embeddings between versions
    return getattr(tower, "vision_model", tower).embeddings


def _text(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": _HIDDEN_SIZE,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS // 2,
        "max_position_embeddings": _POSITIONS,
        "initializer_range": _INITIAL_DEVIATION,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": token_id(tokenizer, PAD),
    }


def _rotary(frame_tokens: int) -> dict[str, Any]:
    """Return rotary positions whose frequencies halve from 16 turns a frame.

    Families without a time axis count tokens in one row. So the first five frequencies tell the place
    within a frame, whichever frame it is, the next ones the frame; the same cell a frame earlier is
    then as easy to attend to as the neighbouring word, and movement can be learned in minutes.
    """
    fastest_turns, halving = 16.0, 2.0
    frequencies = _HIDDEN_SIZE // _HEADS // 2
    stretch = [frame_tokens / (2.0 * math.pi * fastest_turns)] * frequencies
    # Of the kinds of rotary positions that transformers knows, this one takes frequencies above one without a warning.
    return {
        "rope_type": "longrope",
        "rope_theta": halving**frequencies,
        "short_factor": stretch,
        "long_factor": stretch,
        "factor": 1.0,
        "attention_factor": 1.0,
        "original_max_position_embeddings": _POSITIONS,
    }


def _vision() -> dict[str, Any]:
    return {
        "hidden_act": "gelu",
        "hidden_size": _VISION_SIZE,
        "intermediate_size": 4 * _VISION_SIZE,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "initializer_range": _INITIAL_DEVIATION,
    }


def _positions(grid: VideoGrid) -> Float[Tensor, "position width"]:
    """Return sines and cosines of each patch's row and column, and none for the class token before them.

    From random positions, or InternVL's zeros, finding out which patches are neighbours takes a small
    tower most of its training.
    """
    frequencies = math.pi * torch.logspace(0, math.log2(grid.patches / 2), _VISION_SIZE // 4, base=2.0) / grid.patches
    angles = torch.arange(grid.patches)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = axis[:, None].expand(-1, grid.patches, -1)
    table = torch.cat([rows, rows.transpose(0, 1)], dim=2).flatten(0, 1)
    return torch.cat([torch.zeros(1, _VISION_SIZE), math.sqrt(2) * _POSITION_DEVIATION * table])
