"""From attention rows to one map per frame: relative attention and grounding tokens.

Paper sections 3.2 and 3.3. This module knows no model: rows come from a backend, maps go to the scores.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stvg_core.errors import SettingsError, TokenLayoutError
from stvg_core.plugin.adapter import EncodedClip, QuestionAttention
from stvg_core.settings import RelativeSettings, TokenSettings
from stvg_core.values import FrameMaps


def relative_rows(
    query: QuestionAttention, neutral: QuestionAttention, settings: RelativeSettings
) -> Float[Tensor, "token cell"]:
    """Return how much more each cell is attended for the query than for a neutral question.

    Paper Algorithm 1: A_g = A_g(query) / (A_g(neutral) + epsilon), for the same token g in
    both. Punctuation and template tokens are matched by their position from the prompt's
    end; the words of the question have no counterpart and are compared with the mean of
    the neutral question's words.
    """
    if settings.mode == "raw":
        return query.rows
    epsilon = 1.0 / query.rows.shape[1] if settings.epsilon == "uniform" else settings.epsilon
    return query.rows / (_neutral_rows(query, neutral) + epsilon)


def _neutral_rows(query: QuestionAttention, neutral: QuestionAttention) -> Float[Tensor, "token cell"]:
    words = [row for token, row in zip(neutral.tokens, neutral.rows, strict=True) if token.kind == "word"]
    word_mean = torch.stack(words).mean(dim=0) if words else neutral.rows.mean(dim=0)
    matched = []
    for from_end, token in zip(range(len(query.tokens), 0, -1), query.tokens, strict=True):
        has_counterpart = token.kind != "word" and from_end <= len(neutral.tokens)
        matched.append(neutral.rows[-from_end] if has_counterpart else word_mean)
    return torch.stack(matched)


def select_tokens(
    attention: QuestionAttention,
    relative: Float[Tensor, "token cell"],
    settings: TokenSettings,
    family_position: int = -5,
) -> tuple[int, ...]:
    """Return the positions of the grounding tokens; reference for `stvg_select_grounding_tokens`.

    The paper's rule is the candidate with the highest visual activation, the maximum of its
    relative attention over all cells of all frames (section 3.2; the released research code
    computes it on relative attention).

    Every rule skips an empty think block at the prompt's end: positions are counted without it.

    Args:
        attention: rows of the question's tokens.
        relative: the same rows against a neutral question.
        settings: which tokens are candidates, and the rule.
        family_position: position from the prompt's end for the rule `fixed` if the settings give none; -5 is that of
            the released research code for its main model, LLaVA-NeXT-Video.

    Raises:
        SettingsError: the fixed position lies outside the prompt.
        TokenLayoutError: the backend marked no token as a candidate.
    """
    if settings.rule == "fixed":
        from_end = family_position if settings.fixed_position is None else settings.fixed_position
        places = [position for position, token in enumerate(attention.tokens) if token.kind != "thinking"]
        if len(places) + from_end < 0:
            raise SettingsError(f"expected tokens.fixed_position within the last {len(places)} tokens, got {from_end}")
        return (places[from_end],)
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
    return tuple(candidates[place] for place in best)


def candidate_tokens(attention: QuestionAttention, settings: TokenSettings) -> list[int]:
    """Return the positions of the tokens that may be grounding tokens.

    Raises:
        TokenLayoutError: the backend marked no token as a candidate.
    """
    skipped = ("thinking",) if settings.candidates == "question" else ("word", "thinking")
    candidates = [position for position, token in enumerate(attention.tokens) if token.kind not in skipped]
    if not candidates:
        raise TokenLayoutError(
            f"expected template tokens after {attention.question!r}, got none; check the backend's chat template"
        )
    return candidates


def weigh_layers(
    query_layers: Sequence[QuestionAttention],
    neutral_layers: Sequence[QuestionAttention],
    relative: RelativeSettings,
    tokens: TokenSettings,
) -> tuple[QuestionAttention, QuestionAttention]:
    """Return the attention of a query and of the neutral question, with layers weighted by their visual activation.

    The weight of a layer is the largest relative attention of any candidate token to any cell: the criterion that
    selects tokens in the paper (section 3.2), applied to layers. Both questions get the weights of the query.

    Args:
        query_layers: the query's attention, one layer each.
        neutral_layers: the neutral question's, in the same order.
        relative: how relative attention is computed.
        tokens: which tokens are candidates.

    Raises:
        TokenLayoutError: the backend marked no token as a candidate.
    """
    candidates = candidate_tokens(query_layers[0], tokens)
    # The layers of a model may be on several devices.
    device = query_layers[0].rows.device
    activations = torch.stack(
        [
            relative_rows(query, neutral, relative)[candidates].amax().to(device)
            for query, neutral in zip(query_layers, neutral_layers, strict=True)
        ]
    )
    weights = activations / activations.sum().clamp_min(torch.finfo(activations.dtype).tiny)
    return _weighted(query_layers, weights), _weighted(neutral_layers, weights)


def _weighted(layers: Sequence[QuestionAttention], weights: Float[Tensor, " layer"]) -> QuestionAttention:
    rows = torch.stack([layer.rows.to(weights.device) for layer in layers])
    return replace(layers[0], rows=torch.tensordot(weights.to(rows.dtype), rows, dims=1))


def frame_maps(
    clip: EncodedClip, attention: QuestionAttention, relative: Float[Tensor, "token cell"], chosen: tuple[int, ...]
) -> FrameMaps:
    """Return the chosen tokens' mean attention as one map per sampled frame, in source order."""
    by_time = relative[list(chosen)].mean(dim=0).reshape(clip.layout.shape)
    by_position = by_time[list(clip.layout.time_step_of_frame)].double().cpu().numpy()
    by_frame = np.empty_like(by_position)
    by_frame[list(clip.frame_order)] = by_position
    return FrameMaps(by_frame, tuple(attention.tokens[position].text for position in chosen))
