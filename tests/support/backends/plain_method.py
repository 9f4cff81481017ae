"""The method from separate plain runs: attention rows, Algorithm 1's loss, the learned prompt, a branch's maps."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stvg_core.settings import PromptSettings

from .subjects import QUESTIONS, Case, Subject


def plain_rows(
    subject: Subject,
    case: Case,
    question: str,
    layers: Sequence[int],
    added: Tensor | None,
    pictures: np.ndarray | None = None,
) -> Tensor:
    """Return eager attention of every prompt token to the visual tokens, [token, cell]."""
    prompt = subject.prompt(case, question, pictures)
    maps = subject.plain.forward(prompt, added, attentions=True).attentions
    chosen = [maps[layer][0, head] for layer in layers for head in range(maps[layer].shape[1])]
    return (sum(chosen[1:], chosen[0]) / len(chosen))[:, list(prompt.places)]


def plain_loss(
    subject: Subject,
    case: Case,
    settings: PromptSettings,
    added: Tensor,
    questions: Sequence[str] = QUESTIONS[:2],
    pictures: np.ndarray | None = None,
) -> Tensor:
    """Return Algorithm 1's loss from one ordinary eager forward per question."""
    margins = []
    for question in questions:
        logits = subject.plain.forward(subject.prompt(case, question, pictures), added).logits[0, -1]
        margins.append(logits[subject.plain.answer_id("yes")] - logits[subject.plain.answer_id("no")])
    margin = margins[0] - margins[1] if settings.contrast_neutral else margins[0]
    return -margin.exp() if settings.objective == "exponential" else 1 - margin


def plain_prompt(
    subject: Subject,
    case: Case,
    settings: PromptSettings,
    questions: Sequence[str] = QUESTIONS[:2],
    pictures: np.ndarray | None = None,
) -> Tensor:
    """Return the visual prompt that a loop of separate runs learns.

    The loop differentiates with respect to the newest iterate inside its average with the one
    before, as the released code does.
    """
    share = 1.0 if settings.momentum is None else settings.momentum
    newest, before = torch.zeros_like(subject.encode(case).visual_tokens), None
    for _ in range(settings.steps):
        leaf = newest.clone().requires_grad_()
        applied = leaf if before is None else share * leaf + (1 - share) * before
        (gradient,) = torch.autograd.grad(plain_loss(subject, case, settings, applied, questions, pictures), leaf)
        newest, before = newest - settings.step_size * gradient, newest
    return newest if before is None else share * newest + (1 - share) * before


def plain_maps(
    subject: Subject,
    case: Case,
    prompting: PromptSettings,
    sub_query: str,
    pictures: np.ndarray,
    asked_query: str | None = None,
) -> np.ndarray:
    """Return relative attention of one branch, [frame, row, column], from plain runs.

    The prompt is learned on `sub_query`, and read on `asked_query` where that is another.
    """
    neutral_question = "please describe this video"
    learned, asked_question = (f"Is there {text} in this video?" for text in (sub_query, asked_query or sub_query))
    added = plain_prompt(subject, case, prompting, (learned, neutral_question), pictures)
    llava = subject.family == "llava-next-video"
    from_end = -5 if llava else -3
    # The released LLaVA code reads layers 6 to 25 of 32: of 4 layers 1 and 2. The others read all.
    layers = (1, 2) if llava else (0, 1, 2, 3)
    asked, neutral = (
        plain_rows(subject, case, question, layers, added, pictures)[from_end]
        for question in (asked_question, neutral_question)
    )
    steps, side = subject.plain.grid(len(pictures), pictures.shape[1], case.settings)
    by_step = (asked / (neutral + 1e-4)).reshape(steps, side, side).double().cpu().numpy()
    frames_per_step = 2 if case.settings.family.get("temporal_merge") == "merge" else 1
    return np.stack([by_step[frame // frames_per_step] for frame in range(len(pictures))])
