"""The paper's implementation of the four hooks, which `Backend` uses unless a backend overrides them.

Grounding-token selection is section 3.2 of the paper, the margin loss section 3.3 and Algorithm 1, the
reversed view section 3.4.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from stvg_core.errors import SettingsError, TokenLayoutError
from stvg_core.plugin.adapter import AnswerLogits, EncodedClip, MLLMAdapter, QuestionAttention
from stvg_core.settings import InputSettings, PromptSettings, TokenSettings
from stvg_core.values import Frames, TokenLayout

DEFAULT_TOKEN_POSITION = -5
"""Position from the prompt's end under the rule `fixed`: the released research code's for LLaVA-NeXT-Video."""


def select_tokens(
    attention: QuestionAttention,
    relative: Float[Tensor, "token cell"],
    settings: TokenSettings,
    family_position: int = DEFAULT_TOKEN_POSITION,
) -> tuple[int, ...]:
    """Return the positions of the grounding tokens; reference for `stvg_select_grounding_tokens`.

    The paper's rule is the candidate with the highest visual activation, the maximum of its
    relative attention over all cells of all frames (section 3.2; the released research code
    computes it on relative attention).

    Every rule ignores an empty think block at the prompt's end: positions are counted without it.

    Args:
        attention: rows of the question's tokens.
        relative: the same rows against a neutral question.
        settings: which tokens are candidates, and the rule.
        family_position: position from the prompt's end that the rule `fixed` uses where the settings set none.

    Raises:
        SettingsError: the fixed position lies outside the prompt.
        TokenLayoutError: the backend marked no token as a candidate.
    """
    if settings.rule == "fixed":
        offset = family_position if settings.fixed_position is None else settings.fixed_position
        positions = [position for position, token in enumerate(attention.tokens) if token.kind != "thinking"]
        if len(positions) + offset < 0:
            raise SettingsError(f"expected tokens.fixed_position within the last {len(positions)} tokens, got {offset}")
        return (positions[offset],)
    candidates = candidate_tokens(attention, settings)
    if settings.rule == "mean":
        return tuple(candidates)
    if settings.rule == "min_entropy":
        shares = attention.rows[candidates]
        shares = shares / shares.sum(dim=1, keepdim=True).clamp_min(torch.finfo(shares.dtype).tiny)
        merits = -torch.special.entr(shares).sum(dim=1)
    else:
        merits = relative[candidates].amax(dim=1)
    # Stable, so that the earlier of two equal candidates is the better one.
    best = merits.argsort(descending=True, stable=True)[: settings.count].tolist()
    return tuple(candidates[index] for index in best)


def candidate_tokens(attention: QuestionAttention, settings: TokenSettings) -> list[int]:
    """Return the positions of the tokens that may ground a query.

    Raises:
        TokenLayoutError: the backend marked no token as a candidate.
    """
    excluded = ("thinking",) if settings.candidates == "question" else ("word", "thinking")
    candidates = [position for position, token in enumerate(attention.tokens) if token.kind not in excluded]
    if not candidates:
        raise TokenLayoutError(
            f"expected template tokens after {attention.question!r}, got none; check the backend's chat template"
        )
    return candidates


def margin_loss(logits: AnswerLogits, settings: PromptSettings) -> Float[Tensor, ""]:
    """Return the loss of one optimization step; reference for `stvg_regularize_logits`.

    Exponential: -exp(yes - no), Algorithm 1. Linear: 1 - (yes - no), the released code. Entropy: of the answer
    restricted to yes and no, in nats, for the comparison of the paper's Table 3. With a neutral question, its
    margin is subtracted first.

    >>> logits = AnswerLogits(yes=torch.tensor([2.0, 1.0]), no=torch.tensor([0.0, 0.5]))
    >>> linear = PromptSettings(objective="linear", contrast_neutral=True)
    >>> margin_loss(logits, linear).item()
    -0.5
    """
    margin = logits.margins[0]
    if settings.contrast_neutral:
        margin = margin - logits.margins[1]
    if settings.objective == "exponential":
        return -torch.exp(margin)
    if settings.objective == "entropy":
        # The same on either side of 0, and on this one the slope of a large margin is small instead of rounded to 0.
        negative = -margin.abs()
        entropy: Tensor = torch.nn.functional.softplus(negative) - negative * torch.sigmoid(negative)
        return entropy
    return 1.0 - margin


def reverse_by_encoding(
    adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
) -> EncodedClip:
    """Return the clip encoded again with its frames in reversed order."""
    return adapter.encode(frames, settings, tuple(reversed(clip.frame_order)))


def reverse_by_flipping(clip: EncodedClip) -> EncodedClip:
    """Return the clip with its token grids in reversed time.

    Raises:
        TokenLayoutError: a grid covers several frames, so flipping is not the reversed clip.
    """
    if clip.layout.time_steps != clip.layout.frame_count:
        raise TokenLayoutError(
            f"expected one token grid per frame to flip, got {clip.layout.time_steps} grids for "
            f"{clip.layout.frame_count} frames; use reverse_by_encoding"
        )
    return replace(
        clip,
        visual_tokens=flip_time(clip.visual_tokens, clip.layout),
        frame_order=tuple(reversed(clip.frame_order)),
    )


def flip_time(tokens: Float[Tensor, "cell width"], layout: TokenLayout) -> Float[Tensor, "cell width"]:
    """Return visual tokens, or a prompt for them, with time steps in reversed order."""
    return tokens.reshape(*layout.shape, -1).flip(0).reshape(tokens.shape)
