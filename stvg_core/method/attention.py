"""From attention rows to one map per frame: relative attention and grounding tokens.

Paper sections 3.2 and 3.3. This module knows no model: rows come from a backend, maps go to the scores.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stvg_core.plugin.adapter import EncodedClip, QuestionAttention
from stvg_core.plugin.reference import candidate_tokens
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
