"""Visual tokens with gradients: each family's own vision modules, called one after another.

The families' feature functions change with every version of transformers; their modules do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.qwen2_vl import modeling_qwen2_vl

Encoder = Callable[[PreTrainedModel, Mapping[str, Tensor]], Tensor]
"""From a model and the pixel tensors of equally long videos to their visual tokens, [..., hidden] in video order."""


def encode_qwen2_vl(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> Float[Tensor, "token hidden"]:
    """Return what the tower and its merger make of patches."""
    inner: Any = model.model
    encoded = inner.visual(tensors["pixel_values_videos"], grid_thw=tensors["video_grid_thw"]).pooler_output
    return torch.as_tensor(encoded)


def encode_llava_next_video(
    model: PreTrainedModel, tensors: Mapping[str, Tensor]
) -> Float[Tensor, "frame cell hidden"]:
    """Return what the tower, the pooling and the projector make of frames."""
    inner: Any = model.model
    frames = tensors["pixel_values_videos"].flatten(0, 1)
    layer = model.config.vision_feature_layer
    patches = inner.vision_tower(frames, output_hidden_states=True).hidden_states[layer][:, 1:]
    return torch.as_tensor(inner.multi_modal_projector(inner.vision_resampler(patches)))


def encode_internvl(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> Float[Tensor, "frame cell hidden"]:
    """Return what the tower, the folding of patches and the projector make of frames."""
    inner: Any = model.model
    patches = inner.vision_tower(tensors["pixel_values"]).last_hidden_state[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    folded = inner.pixel_shuffle(patches.unflatten(1, (side, side)), scale_factor=model.config.downsample_ratio)
    return torch.as_tensor(inner.multi_modal_projector(folded.flatten(1, 2)))


def batch_qwen2_vl(model: PreTrainedModel) -> None:
    """Let a Qwen2-VL attend within all frames of a batch at once, instead of one frame after another.

    The mathematics is the same, but only holds while all frames have equally many patches. It is for
    training; the weights, and so the saved model, know nothing of it.
    """
    tower: Any = model.model.visual
    for block in tower.blocks:
        block.attn.forward = MethodType(_batched_attention, block.attn)
    tower.patch_embed.forward = MethodType(_linear_patch_embedding, tower.patch_embed)


def _batched_attention(
    self: modeling_qwen2_vl.VisionAttention,
    hidden_states: Tensor,
    cu_seqlens: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    **_: object,
) -> Tensor:
    patches = int(cu_seqlens[1])
    projected = self.qkv(hidden_states).reshape(len(hidden_states), 3, self.num_heads, -1)
    query, key, value = projected.unbind(1)
    query, key = modeling_qwen2_vl.apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    query, key, value = (
        part.view(-1, patches, self.num_heads, self.head_dim).transpose(1, 2) for part in (query, key, value)
    )
    attended = functional.scaled_dot_product_attention(query, key, value)
    return torch.as_tensor(self.proj(attended.transpose(1, 2).reshape(len(hidden_states), -1)))


def _linear_patch_embedding(self: modeling_qwen2_vl.PatchEmbed, hidden_states: Tensor) -> Tensor:
    weight = self.proj.weight.view(self.embed_dim, -1)
    return functional.linear(hidden_states.view(len(hidden_states), -1), weight)
