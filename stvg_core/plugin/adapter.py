"""What a backend provides besides its hooks: a typed adapter around one multimodal LLM.

The method calls nothing else of a model. Tensors live on the adapter's device; visual
tokens are in raster order (time step, row, column). Axis words: docs/shapes.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stvg_core.errors import TokenLayoutError
from stvg_core.plugin.model_reference import HOOK_API, LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, TokenLayout

__all__ = [
    "HOOK_API",
    "AnswerLogits",
    "AttentionRequest",
    "EncodedClip",
    "LoadOptions",
    "MLLMAdapter",
    "ModelDescription",
    "ModelReference",
    "PromptToken",
    "QuestionAttention",
    "TokenDecoder",
]


@dataclass(frozen=True)
class ModelDescription:
    """What the method needs to know of a loaded model.

    Attributes:
        layer_count: decoder layers of the language model.
        yes_id: token id of "yes" as the first answer token.
        no_id: token id of "no".
        checkpoint: folder of the checkpoint, where it is on disk.
        device: where the model runs, for the record.
        dtype: precision of its visual tokens, for the record.
    """

    id: str
    layer_count: int
    yes_id: int
    no_id: int
    checkpoint: Path | None = None
    device: str = ""
    dtype: str = ""


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """A clip as the language model sees it.

    Attributes:
        visual_tokens: after the projector, in raster order.
        layout: where each token lies.
        frame_order: which sampled frame stands at each position; (0, 1, ...) or reversed.
        state: the backend's own; nobody else reads it.
    """

    visual_tokens: Float[Tensor, "cell width"]
    layout: TokenLayout
    frame_order: tuple[int, ...]
    state: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check tokens against the grid, and that every sampled frame is shown once."""
        if self.visual_tokens.shape[0] != self.layout.cell_count:
            raise TokenLayoutError(
                f"a grid of {self.layout.shape} needs {self.layout.cell_count} visual tokens, got "
                f"{self.visual_tokens.shape[0]}; check the backend's frames per token"
            )
        if sorted(self.frame_order) != list(range(self.layout.frame_count)):
            raise TokenLayoutError(
                f"expected each of {self.layout.frame_count} frames once in frame_order, got {self.frame_order}"
            )


@dataclass(frozen=True)
class PromptToken:
    """One token of the prompt after the visual tokens.

    Attributes:
        text: as the tokenizer writes it.
        kind: word of the question, its final punctuation, the template after it, or a think block that the template
            leaves empty for the answer; such a block is no part of any rule for grounding tokens.
        id: in the tokenizer's vocabulary, for the record; None where the backend does not tell.
    """

    text: str
    kind: Literal["word", "punctuation", "role", "thinking"]
    id: int | None = None


@dataclass(frozen=True, eq=False)
class AnswerLogits:
    """Logits of "yes" and "no" at the first generated position, one per question.

    Attributes:
        yes: logit of yes; over several spellings, the log of the sum of their exponentials.
        no: the same of no.
        first_ids: token with the largest logit of the whole vocabulary; None where the backend does not compute it.
        first_probabilities: softmax probability of that token.
    """

    yes: Float[Tensor, " question"]
    no: Float[Tensor, " question"]
    first_ids: Int[Tensor, " question"] | None = None
    first_probabilities: Float[Tensor, " question"] | None = None

    @property
    def margins(self) -> Float[Tensor, " question"]:
        """Logit of yes minus logit of no."""
        return self.yes - self.no

    def select(self, questions: Sequence[int]) -> "AnswerLogits":
        """Return the answers to some of the questions.

        >>> AnswerLogits(yes=torch.tensor([1.0, 2.0]), no=torch.tensor([0.0, 0.5])).select([1]).margins.tolist()
        [1.5]
        """

        def stack(values: Tensor) -> Tensor:
            # One at a time: a list of indices would be copied to the device first, which waits for it.
            return torch.stack([values[question] for question in questions])

        return AnswerLogits(
            stack(self.yes),
            stack(self.no),
            None if self.first_ids is None else stack(self.first_ids),
            None if self.first_probabilities is None else stack(self.first_probabilities),
        )


@dataclass(frozen=True, eq=False)
class QuestionAttention:
    """Attention from one question's tokens to the visual tokens.

    Attributes:
        tokens: from the question's first token to the prompt's last, in order.
        rows: softmax shares, averaged over the requested layers and all heads.
        answer: the question's answer in the same pass, where `AttentionRequest.answers` asks for it.
    """

    question: str
    tokens: tuple[PromptToken, ...]
    rows: Float[Tensor, "token cell"]
    answer: AnswerLogits | None = None

    def __post_init__(self) -> None:
        """Check that every token has its row."""
        if len(self.tokens) != self.rows.shape[0]:
            raise TokenLayoutError(f"expected {len(self.tokens)} attention rows, got {self.rows.shape[0]}")


@dataclass(frozen=True, eq=False)
class AttentionRequest:
    """Which attention to compute: questions about one clip, under one visual prompt.

    Attributes:
        prompt: added to the visual tokens, or None for none.
        layers: 0-based decoder layers to average.
        answers: return each question's answer as well, from the same pass. A backend may leave them out.
    """

    clip: EncodedClip
    questions: tuple[str, ...]
    prompt: Float[Tensor, "cell width"] | None
    layers: tuple[int, ...]
    answers: bool = False


@runtime_checkable
class TokenDecoder(Protocol):
    """What an adapter may implement besides: text of the tokens that `AnswerLogits.first_ids` names."""

    def token_text(self, token_id: int) -> str:
        """Return how the tokenizer writes one token as text, such as "Yes"."""
        ...


@runtime_checkable
class MLLMAdapter(Protocol):
    """One loaded multimodal LLM.

    `answer_logits` must be differentiable in the prompt; parameters stay frozen.
    All questions of a call share the clip, so an adapter can encode the prefix once.
    """

    @property
    def description(self) -> ModelDescription:
        """What was loaded."""
        ...

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        """Return the visual tokens of frames, shown to the model in the given order.

        Args:
            frames: sampled frames, in source order.
            settings: frame size and temporal merging.
            frame_order: position to sampled frame; a permutation of range(len(frames)).
        """
        ...

    def answer_logits(
        self, clip: EncodedClip, questions: Sequence[str], prompt: Float[Tensor, "cell width"] | None
    ) -> AnswerLogits:
        """Return yes and no logits of each question, with gradients to the prompt."""
        ...

    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        """Return attention rows of each question; no gradients."""
        ...

    def generate_text(self, instruction: str, maximum_tokens: int) -> str:
        """Return the model's greedy answer to an instruction, without any video."""
        ...
