"""State of an encoded clip that later questions need: prompt frame, positions, and separator tokens."""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stvg_core.errors import TokenLayoutError, UsageError
from stvg_core.plugin.adapter import EncodedClip
from stvg_huggingface.answers import AnswerTokens
from stvg_huggingface.chat import PromptFrame
from stvg_huggingface.devices import send
from stvg_huggingface.family import PositionRule

STATE: Final = "huggingface"
"""The key in `EncodedClip.state`."""


@dataclass(frozen=True, eq=False)
class ClipPrompt:
    """What later questions about a clip need.

    Attributes:
        frame: the chat template with one marker per clip token.
        positions: rotary positions of a prompt with the clip.
        cells: which of the clip's tokens are cells, on the CPU; the others are separators.
        separators: what the language model receives at the others, in order.
        answers: tokens that answer a question about the clip.
    """

    frame: PromptFrame
    positions: PositionRule
    cells: Bool[Tensor, " clip_token"]
    separators: Float[Tensor, "separator width"]
    answers: AnswerTokens


def split_clip_tokens(
    tokens: Float[Tensor, "... width"], cells: Bool[Tensor, " clip_token"]
) -> tuple[Float[Tensor, "cell width"], Float[Tensor, "separator width"]]:
    """Return a clip's cells, and its separators.

    Raises:
        TokenLayoutError: there are more tokens or fewer than the family says.
    """
    if tokens.shape[0] != cells.numel():
        raise TokenLayoutError(
            f"expected {cells.numel()} tokens of the clip, got {tokens.shape[0]}; "
            "the family's visual_tokens and its layout (and cells_of_clip) disagree"
        )
    if bool(cells.all()):
        return tokens, tokens[:0]
    return _selected(tokens, cells), _selected(tokens, ~cells)


def clip_embeddings(clip: EncodedClip, prompt: Float[Tensor, "cell width"] | None) -> Float[Tensor, "clip_token width"]:
    """Return what the language model receives for a clip: cells with their prompt, separators as they are.

    Raises:
        UsageError: another backend encoded the clip.
        TokenLayoutError: the prompt's shape is not the visual tokens'.
    """
    tokens, state = clip.visual_tokens, clip_prompt(clip)
    if prompt is not None and prompt.shape != tokens.shape:
        raise TokenLayoutError(f"expected a prompt of shape {tuple(tokens.shape)}, got {tuple(prompt.shape)}")
    shown = tokens if prompt is None else tokens + prompt
    if not state.separators.numel():
        return shown
    whole = shown.new_zeros(state.cells.numel(), shown.shape[1])
    for mask, part in ((state.cells, shown), (~state.cells, state.separators.to(shown))):
        whole = whole.index_put((_places(mask, shown.device),), part)
    return whole


def clip_prompt(clip: EncodedClip) -> ClipPrompt:
    """Return what a clip carries.

    Raises:
        UsageError: another backend encoded the clip.
    """
    state = clip.state.get(STATE)
    if not isinstance(state, ClipPrompt):
        raise UsageError("expected a clip that this adapter encoded, got another backend's; encode the frames again")
    return state


def _selected(
    tokens: Float[Tensor, "clip_token width"], mask: Bool[Tensor, " clip_token"]
) -> Float[Tensor, "selected width"]:
    return tokens.index_select(0, _places(mask, tokens.device))


def _places(mask: Bool[Tensor, " clip_token"], device: torch.device) -> Int[Tensor, " selected"]:
    return send(mask.nonzero()[:, 0], device)
