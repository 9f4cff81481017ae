"""One packed pass through a decoder, as a pure function of tensors.

Nothing else decides what it computes, so a pass can be recorded and replayed with other tensors of the same shapes
(`stvg_huggingface.acceleration.replay`).
"""

from contextlib import nullcontext, suppress
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from stvg_huggingface.acceleration.recompute import Recompute, lean_layers
from stvg_huggingface.acceleration.trimming import last_layer_of_rows
from stvg_huggingface.capture import AttentionCapture, LastLayerReached, PackedPass
from stvg_huggingface.family import as_position_ids
from stvg_huggingface.questions import PackedQuestions


@dataclass(frozen=True, eq=False)
class QuestionTensors:
    """Inputs of a pass beside the clip.

    Attributes:
        ids: tokens of the packed sequence.
        places: indices of the clip's tokens in it.
        positions: rotary positions of the packed sequence.
        mask: which keys each token after the prefix attends to.
        last_tokens: index of each prompt's last token.
        rows: indices of the tokens whose attention may be requested.
        columns: indices of the clip's cells, in raster order.
    """

    ids: Int[Tensor, " token"]
    places: Int[Tensor, " clip_token"]
    positions: Int[Tensor, "axis token"]
    mask: Bool[Tensor, "1 1 suffix_token token"]
    last_tokens: Int[Tensor, " question"]
    rows: Int[Tensor, " row"]
    columns: Int[Tensor, " cell"]

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return every tensor's shape: passes of equal shapes run the same operations."""
        return tuple(tuple(tensor.shape) for tensor in self.all())

    def all(self) -> tuple[Tensor, ...]:
        """Return the tensors, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def clone(self) -> "QuestionTensors":
        """Return a deep copy."""
        return QuestionTensors(*(tensor.clone() for tensor in self.all()))

    def copy_(self, other: "QuestionTensors") -> None:
        """Copy another set's values; the shapes must be equal."""
        for target, source in zip(self.all(), other.all(), strict=True):
            target.copy_(source)


@dataclass(frozen=True)
class PassKind:
    """What a pass does, beside its tensors.

    Attributes:
        prefix_length: tokens that all questions share, and that no mask is made for.
        recompute: what a backward pass computes again.
        exact: plain matrix products instead of the fastest attention kernel.
        layers: 0-based layers whose attention is averaged, or None for what leaves the decoder.
        answers: with layers: what leaves the decoder as well.
    """

    prefix_length: int
    recompute: Recompute
    exact: bool
    layers: tuple[int, ...] | None = None
    answers: bool = False


def run_pass(
    model: Any,  # noqa: ANN401 - models of transformers have no common type
    decoder: nn.Module,
    shown: Float[Tensor, "clip_token width"],
    tensors: QuestionTensors,
    kind: PassKind,
) -> Float[Tensor, "..."]:
    """Return what leaves the decoder at each question's last token, attention shares (row, cell), or both.

    Both come as one flat tensor, for a recording has one result: `split_result` takes it apart.

    Args:
        model: whose embeddings the text's tokens get.
        decoder: its language model without the head.
        shown: what the language model receives for the clip, in the embeddings' dtype.
        tensors: the questions.
        kind: what to compute; a pass for attention has no gradients, and one for attention alone ends inside its
            last layer.
    """
    text = model.get_input_embeddings()(tensors.ids)
    embeddings = text.index_put((tensors.places,), shown)
    capture = None if kind.layers is None else AttentionCapture(kind.layers, tensors.rows, tensors.columns)
    whole = capture is None or kind.answers
    run = PackedPass(kind.prefix_length, tensors.mask, capture, kind.exact, ends_early=not whole)
    limited = last_layer_of_rows(decoder, tensors.last_tokens) if whole else nullcontext()
    graded = nullcontext() if capture is None else torch.no_grad()
    lean = lean_layers(decoder, kind.recompute) if embeddings.requires_grad else nullcontext()
    with graded, limited, lean:
        with suppress(LastLayerReached):
            # A mask of four axes is handed through unread; without it transformers would guess packed
            # sequences from the positions and build a square mask.
            output = decoder(
                inputs_embeds=embeddings[None],
                position_ids=as_position_ids(tensors.positions),
                attention_mask=tensors.mask,
                use_cache=False,
                stvg=run,
            )
        if capture is not None and not whole:
            return capture.mean()
    hidden: Tensor = output.last_hidden_state[0]
    # A decoder whose last layer could not be limited returns every token, which is more than the questions.
    if hidden.shape[0] != tensors.last_tokens.numel():
        hidden = hidden.index_select(0, tensors.last_tokens.to(hidden.device))
    if capture is None:
        return hidden
    shares = capture.mean().flatten()
    return torch.cat([shares, hidden.flatten().to(shares)])


def split_result(
    result: Float[Tensor, " value"], tensors: QuestionTensors
) -> tuple[Float[Tensor, "row cell"], Float[Tensor, "question width"]]:
    """Return attention shares and what leaves the decoder, of a pass for both."""
    rows, cells = tensors.rows.numel(), tensors.columns.numel()
    shares, hidden = result[: rows * cells], result[rows * cells :]
    return shares.reshape(rows, cells), hidden.reshape(tensors.last_tokens.numel(), -1)


@dataclass(frozen=True, eq=False)
class PreparedQuestions:
    """What every pass with the same questions has in common.

    Attributes:
        packed: the prompts behind their shared prefix.
        tensors: inputs of a pass beside the clip, on the clip's device.
        kind: of a pass that answers them.
        row_counts: how many rows are each question's, question after question.
    """

    packed: PackedQuestions
    tensors: QuestionTensors
    kind: PassKind
    row_counts: list[int]
