"""Logit-guided re-attention (LRA): a visual prompt learned by gradient on yes/no logits.

Paper section 3.3 and Algorithm 1; where the released code differs, see PromptSettings.
This module knows no model: it is given a function from prompt to logits.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stvg_core.backend import AnswerLogits
from stvg_core.config import PromptSettings
from stvg_core.errors import SettingsError


@dataclass(frozen=True, eq=False)
class LearnedPrompt:
    """A visual prompt, and how the yes/no margin moved while it was learned.

    Attributes:
        applied: what is added to the visual tokens.
        margins: logit of yes minus logit of no for the sub-query, before each step.
    """

    applied: Float[Tensor, "cell width"]
    margins: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class PromptGradient:
    """The loss's gradient at one prompt, and the yes/no margin there."""

    values: Float[Tensor, "cell width"]
    margin: Float[Tensor, ""]


def margin_loss(logits: AnswerLogits, settings: PromptSettings) -> Float[Tensor, ""]:
    """Return the loss of one step; reference for `stvg_regularize_logits`.

    Exponential: -exp(yes - no), Algorithm 1. Linear: 1 - (yes - no), the released code. Entropy: of the answer
    between yes and no alone, in nats, for the comparison of the paper's Table 3; with a neutral question its margin
    is subtracted first.

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
        # Written so that the gradient of a large margin is 0, not nan.
        entropy: Tensor = torch.nn.functional.softplus(margin) - margin * torch.sigmoid(margin)
        return entropy
    return 1.0 - margin


def learn_prompt(
    visual_tokens: Float[Tensor, "cell width"],
    answer: Callable[[Float[Tensor, "cell width"]], AnswerLogits],
    loss: Callable[[AnswerLogits], Float[Tensor, ""]],
    settings: PromptSettings,
) -> LearnedPrompt:
    """Return one prompt; see `learn_prompts`."""
    (learned,) = learn_prompts(visual_tokens, lambda prompt, _: (answer(prompt),), loss, 1, settings)
    return learned


def learn_prompts(
    visual_tokens: Float[Tensor, "cell width"],
    answer: Callable[[Float[Tensor, "cell width"], Sequence[int]], Sequence[AnswerLogits]],
    loss: Callable[[AnswerLogits], Float[Tensor, ""]],
    count: int,
    settings: PromptSettings,
    time_steps: int = 1,
    start: Sequence[PromptGradient] | None = None,
) -> tuple[LearnedPrompt, ...]:
    """Return several prompts of one clip, each after settings.steps of plain gradient descent from zeros.

    Before the first step all prompts are the same zeros, so that one pass answers for all of them;
    only its backward passes are their own.

    Args:
        visual_tokens: what the prompts are added to.
        answer: given a prompt and the numbers of those that it stands for, the answers of each.
        loss: what a prompt minimises, from its own answers.
        count: how many prompts.
        settings: steps, step size and rule, momentum, and what restricts a prompt.
        time_steps: of the clip, which the tokens are in the order of; for settings.time_window.
        start: each prompt's `first_gradients`, where they are known already.

    With momentum b the prompt that is applied, in tuning and afterwards, is
    b P + (1 - b) P_previous, and the released code differentiates with respect to P:
    the gradient of every step but the first carries the factor b (with P_previous = P at
    the first). So one step applies -b s g0 and two steps, at b = 0.5, -s g0 - s g1 / 4.

    Raises:
        SettingsError: the gradient is not finite.
    """
    share = 1.0 if settings.momentum is None else settings.momentum
    zeros = _zeros(visual_tokens)
    iterates, previous = [zeros] * count, [zeros] * count
    margins: list[list[Tensor]] = [[] for _ in range(count)]
    norms: list[Tensor] = []
    going_on = list(range(count))
    for step in range(settings.steps):
        # Prompts that are still alike are answered for together.
        groups = [range(count)] if step == 0 else [range(number, number + 1) for number in going_on]
        for group in groups:
            found: Iterable[PromptGradient]
            if step == 0 and start is not None:
                found = start
            else:
                found = _gradients(torch.lerp(previous[group[0]], iterates[group[0]], share), answer, loss, group)
            one_by_one = iter(found)
            for number in group:
                first = next(one_by_one)
                margins[number].append(first.margin)
                if settings.stop_margin is not None and first.margin.item() >= settings.stop_margin:
                    going_on.remove(number)
                    continue
                gradient = first.values if step == 0 else first.values * share
                # As large as the clip: nothing may hold it while the next pass runs.
                del first
                gradient = _smooth(gradient, time_steps, settings.time_window)
                norms.append(torch.linalg.vector_norm(gradient))
                moved = iterates[number] - _step(gradient, norms[-1], visual_tokens, settings)
                previous[number], iterates[number] = iterates[number], _limited(moved, visual_tokens, settings)
    # The one place that waits for the device, but for settings.stop_margin: inside the loop nothing is read back.
    if norms and not bool(torch.isfinite(torch.stack(norms)).all()):
        raise SettingsError(
            "the prompt's gradient is not finite; use prompt.objective=linear or load the model in a wider dtype"
        )
    return tuple(
        LearnedPrompt(torch.lerp(before, last, share), tuple(torch.stack(own).tolist() if own else ()))
        for before, last, own in zip(previous, iterates, margins, strict=True)
    )


def first_gradients(
    visual_tokens: Float[Tensor, "cell width"],
    answer: Callable[[Float[Tensor, "cell width"], Sequence[int]], Sequence[AnswerLogits]],
    loss: Callable[[AnswerLogits], Float[Tensor, ""]],
    count: int,
) -> tuple[PromptGradient, ...]:
    """Return the gradients of several prompts at zeros, which no step size has a say in; see `learn_prompts`."""
    return tuple(_gradients(_zeros(visual_tokens), answer, loss, range(count)))


def _zeros(visual_tokens: Float[Tensor, "cell width"]) -> Float[Tensor, "cell width"]:
    """Return a prompt to begin with. In half precision a step would round away: it is float32 at least."""
    return torch.zeros_like(visual_tokens, dtype=torch.promote_types(visual_tokens.dtype, torch.float32))


def _gradients(
    prompt: Float[Tensor, "cell width"],
    answer: Callable[[Float[Tensor, "cell width"], Sequence[int]], Sequence[AnswerLogits]],
    loss: Callable[[AnswerLogits], Float[Tensor, ""]],
    group: Sequence[int],
) -> Iterator[PromptGradient]:
    """Yield the gradient of each prompt of a group that is still alike: one pass answers for all of them.

    One by one, so that each is gone before the next is made: they are as large as the clip.
    """
    applied = prompt.detach().requires_grad_()
    for number, logits in zip(group, answer(applied, group), strict=True):
        slopes = torch.autograd.grad(loss(logits), applied, retain_graph=number != group[-1])
        first = PromptGradient(slopes[0], logits.margins[0].detach())
        del slopes
        yield first
        del first


def _smooth(gradient: Float[Tensor, "cell width"], time_steps: int, window: int) -> Float[Tensor, "cell width"]:
    """Return a gradient averaged over neighbouring time steps; fewer of them at the ends."""
    if window == 1 or time_steps == 1:
        return gradient
    by_time = gradient.reshape(time_steps, -1)
    reach = window // 2
    rows = [by_time[max(0, step - reach) : step + reach + 1].mean(dim=0) for step in range(time_steps)]
    return torch.stack(rows).reshape(gradient.shape)


def _limited(
    prompt: Float[Tensor, "cell width"], visual_tokens: Float[Tensor, "cell width"], settings: PromptSettings
) -> Float[Tensor, "cell width"]:
    """Return a prompt with no token's part above the limit."""
    if settings.norm_limit is None:
        return prompt
    limit = settings.norm_limit * torch.linalg.vector_norm(visual_tokens.to(prompt.dtype), dim=1).mean()
    norms = torch.linalg.vector_norm(prompt, dim=1, keepdim=True)
    limited: Tensor = prompt * (limit / norms.clamp_min(torch.finfo(torch.float32).tiny)).clamp(max=1.0)
    return limited


def _step(
    gradient: Float[Tensor, "cell width"],
    norm: Float[Tensor, ""],
    visual_tokens: Float[Tensor, "cell width"],
    settings: PromptSettings,
) -> Float[Tensor, "cell width"]:
    if settings.step_rule == "raw":
        return settings.step_size * gradient
    scale = settings.step_size * torch.linalg.vector_norm(visual_tokens.to(gradient.dtype))
    step: Tensor = scale * gradient / norm.clamp_min(torch.finfo(torch.float32).tiny)
    return step
