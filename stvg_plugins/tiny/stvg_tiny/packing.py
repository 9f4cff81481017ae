"""Many questions about one video in one forward pass.

All questions about a video share the prompt's head (with the visual tokens); each sees the head
and itself, never another question, and keeps the positions it would have alone. The result equals
one ordinary forward pass per question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl import modeling_qwen2_vl

from stvg_tiny.architectures import VideoGrid
from stvg_tiny.pixels import patch_grid, rotary_positions
from stvg_tiny.tokenizer import VIDEO_PAD, prompt_head, token_id

NO_LABEL: Final = -100
_PADDING_SEGMENT: Final = -1


@dataclass(frozen=True)
class PackedQuestions:
    """The tokens behind the shared head, for a batch of videos.

    Attributes:
        token_ids: Questions with their answers, one after another, padded at the end.
        labels: The token itself where it belongs to an answer, else `NO_LABEL`.
        segments: Number of the question (from 1) that a token belongs to; -1 at padding.
        offsets: Place of a token within its own question and answer, from 0.
    """

    token_ids: Int[Tensor, "video token"]
    labels: Int[Tensor, "video token"]
    segments: Int[Tensor, "video token"]
    offsets: Int[Tensor, "video token"]


Exchange = tuple[Sequence[int], Sequence[int]]
"""Token ids of a question (with the template's tail) and of its answer."""


def pack(exchanges: Sequence[Sequence[Exchange]]) -> PackedQuestions:
    """Lay the questions of each video behind one another."""
    length = max(sum(len(ask) + len(reply) for ask, reply in row) for row in exchanges)
    shape = (len(exchanges), length)
    token_ids, offsets = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels, segments = torch.full(shape, NO_LABEL), torch.full(shape, _PADDING_SEGMENT)
    for video, row in enumerate(exchanges):
        start = 0
        for number, (ask, reply) in enumerate(row, start=1):
            answer_start, end = start + len(ask), start + len(ask) + len(reply)
            token_ids[video, start:end] = torch.tensor([*ask, *reply])
            labels[video, answer_start:end] = token_ids[video, answer_start:end]
            segments[video, start:end] = number
            offsets[video, start:end] = torch.arange(end - start)
            start = end
    return PackedQuestions(token_ids, labels, segments, offsets)


@dataclass(frozen=True)
class SharedHead:
    """The prompt up to the question: its tokens and every position behind them.

    Attributes:
        token_ids: The head's tokens.
        visual: Which of them are visual tokens.
        positions: Positions of the head and of as many tokens behind it as any question has.
    """

    token_ids: Int[Tensor, " token"]
    visual: Bool[Tensor, " token"]
    positions: Int[Tensor, "thw=3 position"]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, grid: VideoGrid) -> SharedHead:
        """Build the head of a tokenizer's prompts for videos of one size."""
        text = prompt_head(grid.visual_tokens)
        ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        visual = ids.eq(token_id(tokenizer, VIDEO_PAD))
        before = int(visual.nonzero()[0, 0])
        longest_question = 256
        after = len(ids) - before - grid.visual_tokens + longest_question
        return cls(ids, visual, rotary_positions(before, grid, after))


@dataclass(frozen=True)
class PackedStates:
    """Hidden states of the language model for a packed batch.

    Attributes:
        visual: The visual tokens as the last layer leaves them.
        visual_middle: The visual tokens after half of the layers.
        predicting: For every packed token, the state that predicts it.
    """

    visual: Float[Tensor, "video visual_token hidden"]
    visual_middle: Float[Tensor, "video visual_token hidden"]
    predicting: Float[Tensor, "video token hidden"]


def encode_videos(
    model: Qwen2VLForConditionalGeneration, patches: Float[Tensor, "patch value"], grid: VideoGrid
) -> Float[Tensor, "video visual_token hidden"]:
    """Return the visual tokens of a batch of equally long videos."""
    videos = len(patches) // (grid.steps * grid.patches**2)
    encoded = model.model.visual(patches, grid_thw=patch_grid(videos, grid)).pooler_output
    return torch.as_tensor(encoded).view(videos, grid.visual_tokens, -1)


def packed_forward(
    model: Qwen2VLForConditionalGeneration,
    visual_tokens: Float[Tensor, "video visual_token hidden"],
    packed: PackedQuestions,
    head: SharedHead,
) -> PackedStates:
    """Run the language model once over the head and all packed questions.

    Questions see the head and themselves only. The first token of a question is "predicted" by
    whatever lies before it; that state has no meaning and no label.
    """
    videos, length = packed.token_ids.shape
    head_length = len(head.token_ids)
    embed = model.get_input_embeddings()
    head_embeddings = embed(head.token_ids).expand(videos, -1, -1)
    visual_index = head.visual.nonzero()[:, 0]
    first, last = int(visual_index[0]), int(visual_index[-1]) + 1
    embeddings = torch.cat(
        [
            head_embeddings[:, :first],
            visual_tokens,
            head_embeddings[:, last:],
            embed(packed.token_ids),
        ],
        dim=1,
    )
    segments = functional.pad(packed.segments, (head_length, 0), value=0)
    causal = torch.ones(head_length + length, head_length + length, dtype=torch.bool).tril()
    own = segments[:, None, :] == segments[:, :, None]
    seen = causal & (own | (segments[:, None, :] == 0))
    # As numbers rather than truth values, or every layer would convert it again.
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]
    head_positions = head.positions[:, None, :head_length].expand(-1, videos, -1)
    positions = torch.cat([head_positions, head.positions[:, head_length + packed.offsets]], dim=2)
    output = model.model.language_model(
        inputs_embeds=embeddings,
        position_ids=positions,
        attention_mask={"full_attention": mask},
        use_cache=False,
        output_hidden_states=True,
    )
    states = output.hidden_states
    middle = states[(len(states) - 1) // 2]
    return PackedStates(
        visual=output.last_hidden_state[:, first:last],
        visual_middle=middle[:, first:last],
        predicting=output.last_hidden_state[:, head_length - 1 : -1],
    )


@contextmanager
def batched_vision(model: Qwen2VLForConditionalGeneration) -> Iterator[None]:
    """Attend within all frames of a batch at once, instead of one frame after another.

    The mathematics is the same, but only holds while all frames have equally many patches.
    """
    tower: Any = model.model.visual
    attentions: list[nn.Module] = [block.attn for block in tower.blocks]
    for attention in attentions:
        attention.forward = MethodType(_batched_attention, attention)
    tower.patch_embed.forward = MethodType(_linear_patch_embedding, tower.patch_embed)
    try:
        yield
    finally:
        for module in (*attentions, tower.patch_embed):
            del module.forward


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
