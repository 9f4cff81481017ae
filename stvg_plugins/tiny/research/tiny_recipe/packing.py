"""Many questions about one video in one forward pass.

All questions about a video share the prompt's head (with the visual tokens); each sees the head
and itself, never another question, and keeps the positions it would have alone. The result equals
one ordinary forward pass per question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from stvg_huggingface.chat import PromptFrame, render_frame
from stvg_huggingface.loading import language_model_of
from tiny_recipe.architectures import Architecture

NO_LABEL: Final = -100
ROLE_TOKENS: Final = 6
"""The last tokens of a prompt: the question's final punctuation and the template's five."""
_PADDING_SEGMENT: Final = -1
_LONGEST_QUESTION: Final = 256
_READING: Final = "stvg_tiny_reading"


@dataclass(frozen=True)
class PackedQuestions:
    """The tokens behind the shared head, for a batch of videos.

    Attributes:
        token_ids: Questions with their answers, one after another, padded at the end.
        labels: The token itself where it belongs to an answer, else `NO_LABEL`.
        segments: Number of the question (from 1) that a token belongs to; -1 at padding.
        offsets: Place of a token within its own question and answer, from 0.
        role_places: Where the last `ROLE_TOKENS` tokens of each question lie; -1 where a video has fewer questions.
    """

    token_ids: Int[Tensor, "video token"]
    labels: Int[Tensor, "video token"]
    segments: Int[Tensor, "video token"]
    offsets: Int[Tensor, "video token"]
    role_places: Int[Tensor, "video question role"]

    @property
    def own_question(self) -> Int[Tensor, "video token"]:
        """Place of the question that a token belongs to, from 0; of padding, any."""
        return (self.segments - 1).clamp_min(0)

    @property
    def words(self) -> Bool[Tensor, "video token"]:
        """Tokens of a question's own words, before its role tokens."""
        places = torch.arange(self.token_ids.shape[1], device=self.token_ids.device)
        ends = self.role_places[..., 0].gather(1, self.own_question)
        return (self.segments != _PADDING_SEGMENT) & (places < ends)

    @property
    def roles(self) -> Bool[Tensor, "video token"]:
        """Role tokens."""
        places = torch.arange(self.token_ids.shape[1], device=self.token_ids.device)
        at_own_place = self.role_places.gather(1, self.own_question[..., None].expand(-1, -1, ROLE_TOKENS))
        return (self.segments != _PADDING_SEGMENT) & (at_own_place == places[:, None]).any(dim=-1)

    def to(self, device: torch.device) -> PackedQuestions:
        """Return the same on a device."""
        return PackedQuestions(*(getattr(self, field.name).to(device) for field in fields(self)))


Exchange = tuple[Sequence[int], Sequence[int]]
"""Token ids of a question (with the template's tail) and of its answer."""


def pack(exchanges: Sequence[Sequence[Exchange]]) -> PackedQuestions:
    """Lay the questions of each video behind one another."""
    length = max(sum(len(ask) + len(reply) for ask, reply in row) for row in exchanges)
    shape = (len(exchanges), length)
    token_ids, offsets = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels, segments = torch.full(shape, NO_LABEL), torch.full(shape, _PADDING_SEGMENT)
    role_places = torch.full((len(exchanges), max(map(len, exchanges)), ROLE_TOKENS), -1)
    for video, row in enumerate(exchanges):
        start = 0
        for number, (ask, reply) in enumerate(row, start=1):
            answer_start, end = start + len(ask), start + len(ask) + len(reply)
            token_ids[video, start:end] = torch.tensor([*ask, *reply])
            labels[video, answer_start:end] = token_ids[video, answer_start:end]
            segments[video, start:end] = number
            offsets[video, start:end] = torch.arange(end - start)
            role_places[video, number - 1] = torch.arange(answer_start - ROLE_TOKENS, answer_start)
            start = end
    return PackedQuestions(token_ids, labels, segments, offsets, role_places)


@dataclass(frozen=True)
class SharedHead:
    """The prompt up to the question: its tokens and every position behind them.

    Attributes:
        frame: What the chat template puts around a question, with one marker per visual token.
        token_ids: The head's tokens.
        visual: Which of them are visual tokens.
        positions: Positions of the head and of as many tokens behind it as any question has, one row
            per rotary axis.
    """

    frame: PromptFrame
    token_ids: Int[Tensor, " token"]
    visual: Bool[Tensor, " token"]
    positions: Int[Tensor, "axis position"]

    @classmethod
    def of(cls, architecture: Architecture, tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig) -> SharedHead:
        """Build the head of an architecture's prompts, by the framework's own tables."""
        family, grid, inputs = architecture.family, architecture.grid, architecture.inputs
        layout = family.layout(config, grid.frame_count, grid.size_pixels, inputs)
        frame = render_frame(tokenizer, None, video=True).with_clip(
            family.placeholder(config, tokenizer), family.clip_text(config, tokenizer, layout)
        )
        ids = torch.tensor(tokenizer(frame.head, add_special_tokens=False)["input_ids"])
        visual = ids == family.visual_token_id(config)
        rule = family.positions(config, layout, np.arange(grid.frame_count, dtype=np.float64), inputs)
        return cls(frame, ids, visual, rule(functional.pad(visual, (0, _LONGEST_QUESTION))))

    def to(self, device: torch.device) -> SharedHead:
        """Return the same on a device."""
        return replace(
            self,
            token_ids=self.token_ids.to(device),
            visual=self.visual.to(device),
            positions=self.positions.to(device),
        )


@dataclass(frozen=True)
class PackedStates:
    """Hidden states of the language model for a packed batch.

    Attributes:
        visual: The visual tokens as the last layer leaves them.
        visual_middle: The visual tokens after half of the layers.
        predicting: For every packed token, the state that predicts it.
        role_attention: How much each question's role tokens attend to each visual token, in each layer, the
            mean over its heads; without meaning where `role_places` is -1.
        role_reading: How much they attend to each packed token in the first layer, likewise.
        following: How much visual tokens attend to each other in the first layer, the mean over the first
            half of its heads; without rows if it was not asked for.
    """

    visual: Float[Tensor, "video visual_token hidden"]
    visual_middle: Float[Tensor, "video visual_token hidden"]
    predicting: Float[Tensor, "video token hidden"]
    role_attention: Float[Tensor, "layer video question role visual_token"]
    role_reading: Float[Tensor, "video question role token"]
    following: Float[Tensor, "video head_row visual_token"]


def encode_videos(
    architecture: Architecture, model: PreTrainedModel, tensors: Mapping[str, Tensor]
) -> Float[Tensor, "video visual_token hidden"]:
    """Return the visual tokens of a batch of equally long videos, with gradients."""
    encoded = architecture.encode(model, tensors)
    return encoded.reshape(-1, architecture.grid.visual_tokens, encoded.shape[-1])


def packed_forward(
    model: PreTrainedModel,
    visual_tokens: Float[Tensor, "video visual_token hidden"],
    packed: PackedQuestions,
    head: SharedHead,
    *,
    blind: Bool[Tensor, "video token"] | None = None,
    follow: bool = False,
) -> PackedStates:
    """Run the language model once over the head and all packed questions.

    Questions see the head and themselves only. The first token of a question is "predicted" by
    whatever lies before it; that state has no meaning and no label. `blind` names packed tokens that
    see neither a visual token nor what the template puts behind the first of them. `follow` asks for
    the visual tokens' attention to each other.
    """
    videos, length = packed.token_ids.shape
    head_length = len(head.token_ids)
    places = head.visual.nonzero()[:, 0]
    embed: Any = model.get_input_embeddings()
    shown = embed(head.token_ids).expand(videos, -1, -1).index_copy(1, places, visual_tokens)
    embeddings = torch.cat([shown, embed(packed.token_ids)], dim=1)
    segments = functional.pad(packed.segments, (head_length, 0), value=0)
    size = head_length + length
    causal = torch.ones(size, size, dtype=torch.bool, device=segments.device).tril()
    same_segment = segments[:, None, :] == segments[:, :, None]
    visible = causal & (same_segment | (segments[:, None, :] == 0))
    if blind is not None:
        visible[:, head_length:, places[0] : head_length] &= ~blind[..., None]
    # As numbers rather than truth values, or every layer would convert it again.
    mask = torch.zeros(visible.shape, device=visible.device)
    mask = mask.masked_fill(~visible, torch.finfo(torch.float32).min)[:, None]
    head_positions = head.positions[:, None, :head_length].expand(-1, videos, -1)
    positions = torch.cat([head_positions, head.positions[:, head_length + packed.offsets]], dim=2)
    rows = head_length + packed.role_places.clamp_min(0).flatten(1)
    language_model = language_model_of(model)
    with _read_attention(language_model, rows, places if follow else places[:0], head_length) as read:
        output = language_model(
            inputs_embeds=embeddings,
            position_ids=positions[0] if len(positions) == 1 else positions,
            attention_mask=mask,
            use_cache=False,
            output_hidden_states=True,
        )
    states = output.hidden_states
    middle = states[(len(states) - 1) // 2]
    looking = torch.stack([shares[..., places] for shares in read.layers])
    by_role = packed.role_places.shape
    return PackedStates(
        visual=output.last_hidden_state[:, places],
        visual_middle=middle[:, places],
        predicting=output.last_hidden_state[:, head_length - 1 : -1],
        role_attention=looking.view(len(read.layers), *by_role, -1),
        role_reading=read.layers[0][..., head_length:].reshape(*by_role, -1),
        following=read.following[0][..., places],
    )


@dataclass(frozen=True)
class _Read:
    """What is collected while a pass runs: rows per layer, and of the head in the first layer alone."""

    layers: list[Float[Tensor, "video row column"]]
    following: list[Float[Tensor, "video head_row head_column"]]


@contextmanager
def _read_attention(
    language_model: nn.Module, rows: Int[Tensor, "video row"], head_rows: Int[Tensor, " head_row"], head_length: int
) -> Iterator[_Read]:
    """Collect some rows of a language model's attention, one mean over heads per layer.

    The fused kernel gives no attention; all of it would be several times dearer than these rows.
    The shared head attends for itself, causally: half of the work, for it sees no question.
    """
    read = _Read([], [])

    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor,
        *,
        scaling: float,
        **other: Any,  # noqa: ANN401 - transformers hands over what its models know
    ) -> tuple[Tensor, None]:
        heads, width = query.shape[1], query.shape[3]
        selected = query.gather(2, rows[:, None, :, None].expand(-1, heads, -1, width))
        hidden = mask.gather(2, rows[:, None, :, None].expand(-1, 1, -1, mask.shape[3]))
        keys = key.repeat_interleave(heads // key.shape[1], dim=1)
        shares = (scaling * selected @ keys.transpose(2, 3) + hidden).softmax(dim=-1)
        read.layers.append(shares.mean(dim=1))
        shared, behind = query[:, :, :head_length], query[:, :, head_length:]
        own_key, own_value = key[:, :, :head_length], value[:, :, :head_length]
        head, _ = sdpa_attention_forward(
            module, shared, own_key, own_value, None, scaling=scaling, is_causal=True, **other
        )
        if not read.following:
            half = heads // 2
            scores = scaling * shared[:, :half, head_rows] @ keys[:, :half, :head_length].transpose(2, 3)
            own_past = mask[:1, :, head_rows, :head_length]
            read.following.append((scores + own_past).softmax(dim=-1).mean(dim=1))
        masked = mask[:, :, head_length:]
        rest, _ = sdpa_attention_forward(module, behind, key, value, masked, scaling=scaling, is_causal=False, **other)
        return torch.cat([head, rest], dim=1), None

    config: Any = language_model.config
    before = config._attn_implementation
    AttentionInterface.register(_READING, attend)
    config._attn_implementation = _READING
    try:
        yield read
    finally:
        config._attn_implementation = before
