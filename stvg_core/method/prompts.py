"""Logit-guided re-attention (LRA): a visual prompt learned by gradient on yes/no logits.

Paper section 3.3 and Algorithm 1; where the released code differs, see PromptSettings.
This module knows no model: it gets a function from prompts to logits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from stvg_core.errors import SettingsError
from stvg_core.plugin.adapter import AnswerLogits
from stvg_core.settings import PromptSettings
from stvg_core.values import FirstAnswer, PromptEffect

Answers = Callable[[Float[Tensor, "cell width"], Sequence[int]], Sequence[AnswerLogits]]
"""From a prompt, and the numbers of the prompts that it stands for, to the answers of each."""

_IDLE_SHARE: Final = 1e-3
"""Share of the visual tokens' norm below which a prompt has no effect on the answer."""
_OVERWHELMING_SHARE: Final = 1.0
"""Share of the visual tokens' norm above which a prompt outweighs the tokens that it is added to."""
_ROBUST_STEP: Final = "--set prompt.step_rule=normalized --set prompt.step_size=0.01"
"""A step that depends neither on the margin nor on the scale of a model's embeddings."""
_BRANCHES: Final = {"spatial": "attribute", "temporal": "action", "spatial_reversed": "attribute's reversed"}
"""Names of the branches in messages."""


@dataclass(frozen=True, eq=False)
class LearnedPrompt:
    """A visual prompt, and how the yes/no margin moved while it was learned.

    Attributes:
        applied: what is added to the visual tokens.
        margins: logit of yes minus logit of no for the sub-query, before each step.
        norm_share: Frobenius norm of `applied` over that of the visual tokens.
        first_answer: id and probability of the token that answers the sub-query without a prompt; None if the
            backend does not provide it.
    """

    applied: Float[Tensor, "cell width"]
    margins: tuple[float, ...]
    norm_share: float = 0.0
    first_answer: tuple[int, float] | None = None


@dataclass(frozen=True, eq=False)
class PromptGradient:
    """The loss's gradient at one prompt, in two factors: half precision overflows on their product.

    Attributes:
        values: gradient of the logits, each weighted by the loss's slope there over the largest of these slopes.
        slope: the largest absolute slope of the loss in any logit; the loss's gradient is slope * values.
        answer: the sub-query's answer at this prompt, without gradient.
    """

    values: Float[Tensor, "cell width"]
    slope: Float64[Tensor, ""]
    answer: AnswerLogits


def learn_prompts(
    visual_tokens: Float[Tensor, "cell width"],
    answer: Answers,
    loss: Callable[[AnswerLogits], Float[Tensor, ""]],
    count: int,
    settings: PromptSettings,
    time_steps: int = 1,
    start: Sequence[PromptGradient] | None = None,
) -> tuple[LearnedPrompt, ...]:
    """Learn several prompts of one clip by settings.steps of plain gradient descent from zeros.

    All prompts are zeros before the first step, so that they share its forward pass; each has a backward pass of its
    own.

    Args:
        visual_tokens: the tokens that the prompts are added to, in order of time steps.
        answer: from a prompt, and the numbers of the prompts that it stands for, to the answers of each.
        loss: the loss of one prompt, from the answers to its questions.
        count: number of prompts.
        settings: steps, step size and rule, momentum, and limits on a prompt.
        time_steps: number of time steps of the clip, for settings.time_window.
        start: `first_gradients` of the prompts; None: they are computed.

    With momentum b the prompt that is applied, in tuning and afterwards, is
    b P + (1 - b) P_previous, and the released code differentiates with respect to P:
    the gradient of every step but the first carries the factor b (with P_previous = P at
    the first). So one step applies -b s g0 and two steps, at b = 0.5, -s g0 - s g1 / 4.

    Raises:
        SettingsError: a gradient is not finite, or a prompt is too large for the visual tokens' dtype.
    """
    share = 1.0 if settings.momentum is None else settings.momentum
    zeros = _zeros(visual_tokens)
    iterates, previous = [zeros] * count, [zeros] * count
    margins: list[list[Tensor]] = [[] for _ in range(count)]
    first_answers: list[AnswerLogits | None] = [] if settings.steps else [None] * count
    active = list(range(count))
    for step in range(settings.steps):
        # Prompts that are still equal share a forward pass.
        groups = [range(count)] if step == 0 else [range(number, number + 1) for number in active]
        for group in groups:
            if step == 0 and start is not None:
                gradients = iter(start)
            else:
                gradients = _gradients(torch.lerp(previous[group[0]], iterates[group[0]], share), answer, loss, group)
            for number in group:
                first = next(gradients)
                margins[number].append(first.answer.margins[0])
                if step == 0:
                    first_answers.append(first.answer)
                if settings.stop_margin is not None and first.answer.margins.item() >= settings.stop_margin:
                    active.remove(number)
                    continue
                gradient, slope = first.values if step == 0 else first.values * share, first.slope
                # As large as the clip: free it before the next pass runs.
                del first
                gradient = _smooth(gradient, time_steps, settings.time_window)
                moved = iterates[number] - _step(gradient, slope, visual_tokens, settings)
                previous[number], iterates[number] = iterates[number], _limited(moved, visual_tokens, settings)
    applied = [torch.lerp(before, last, share) for before, last in zip(previous, iterates, strict=True)]
    # The only synchronization with the device, except for settings.stop_margin.
    return _to_host(applied, margins, first_answers, visual_tokens)


def _to_host(
    applied: Sequence[Float[Tensor, "cell width"]],
    margins: Sequence[Sequence[Tensor]],
    first_answers: Sequence[AnswerLogits | None],
    visual_tokens: Float[Tensor, "cell width"],
) -> tuple[LearnedPrompt, ...]:
    """Return prompts with their margins and norms, which are copied from the device in one transfer.

    Raises:
        SettingsError: a prompt is not finite, or too large for the visual tokens' dtype.
    """
    numbers = [torch.linalg.vector_norm(visual_tokens.to(torch.promote_types(visual_tokens.dtype, torch.float32)))]
    for prompt, of_prompt, answer in zip(applied, margins, first_answers, strict=True):
        numbers += [prompt.abs().amax(), torch.linalg.vector_norm(prompt), *of_prompt]
        if answer is not None and answer.first_ids is not None and answer.first_probabilities is not None:
            numbers += [answer.first_ids[0], answer.first_probabilities[0]]
    values = iter(torch.stack([number.double() for number in numbers]).tolist())
    tokens_norm = max(next(values), float(torch.finfo(torch.float32).tiny))
    learned = []
    for prompt, of_prompt, answer in zip(applied, margins, first_answers, strict=True):
        peak, norm = next(values), next(values)
        # Written so that nan fails as well.
        if not peak <= torch.finfo(visual_tokens.dtype).max:
            raise SettingsError(
                f"expected a visual prompt within {visual_tokens.dtype}, got one of {peak:.3g}: its step grows with "
                f"the loss's slope; use {_ROBUST_STEP}, or a wider --dtype"
            )
        margin_values = tuple(next(values) for _ in of_prompt)
        provided = answer is not None and answer.first_ids is not None and answer.first_probabilities is not None
        first = (int(next(values)), next(values)) if provided else None
        learned.append(LearnedPrompt(prompt, margin_values, norm / tokens_norm, first))
    return tuple(learned)


def first_gradients(
    visual_tokens: Float[Tensor, "cell width"],
    answer: Answers,
    loss: Callable[[AnswerLogits], Float[Tensor, ""]],
    count: int,
) -> tuple[PromptGradient, ...]:
    """Return the gradients of several prompts at zeros, which no step size or rule changes; see `learn_prompts`."""
    return tuple(_gradients(_zeros(visual_tokens), answer, loss, range(count)))


def first_answer(answer: AnswerLogits | None) -> tuple[int, float] | None:
    """Return id and probability of the token that answers one question; None if the backend does not provide it."""
    if answer is None or answer.first_ids is None or answer.first_probabilities is None:
        return None
    return int(answer.first_ids), float(answer.first_probabilities)


def effect_warnings(effects: Mapping[str, PromptEffect], settings: PromptSettings) -> tuple[str, ...]:
    """Return a sentence for each prompt that was negligible, outweighed the visual tokens, or lowered the margin.

    Args:
        effects: what the prompts did, by branch.
        settings: how they were learned.

    >>> effect_warnings({"spatial": PromptEffect(-8.0, -8.0, 3e-7)}, PromptSettings())[0][:67]
    'the attribute prompt is negligible: its norm is 3e-07 of the visual'
    """
    warnings = []
    for branch, effect in effects.items():
        share, before, after = effect.prompt_norm_share, effect.margin_before, effect.margin_after
        if settings.stop_margin is not None and before >= settings.stop_margin:
            continue
        if share < _IDLE_SHARE:
            problem = f"is negligible: its norm is {share:.2g} of the visual tokens'"
        elif share > _OVERWHELMING_SHARE:
            problem = f"outweighs the video: its norm is {share:.3g} times the visual tokens'"
        elif after < before and settings.objective != "entropy":
            problem = f"lowered the yes/no margin instead of raising it; its norm is {share:.2g} of the visual tokens'"
        else:
            continue
        cure = "another prompt.step_size" if settings.step_rule == "normalized" else _ROBUST_STEP
        cure = cure if settings.norm_limit is None else "another prompt.norm_limit"
        warnings.append(f"the {_BRANCHES[branch]} prompt {problem} (margin {before:.3g}, then {after:.3g}); try {cure}")
    return tuple(warnings)


def answer_warnings(answers: Mapping[str, FirstAnswer]) -> tuple[str, ...]:
    """Return a sentence for each branch whose question the model would answer with neither yes nor no.

    >>> answer_warnings({"temporal": FirstAnswer("The", 0.9)})[0]
    "the model would answer the action question with 'The' (probability 0.90), neither yes nor no: ...
    """
    return tuple(
        f"the model would answer the {_BRANCHES[branch]} question with {answer.first_token!r} (probability "
        f"{answer.probability:.2f}), neither yes nor no: its yes/no margin may say little; try an instruction-tuned "
        "checkpoint"
        for branch, answer in answers.items()
        if not answer.is_yes_or_no
    )


def _zeros(visual_tokens: Float[Tensor, "cell width"]) -> Float[Tensor, "cell width"]:
    """Return the initial prompt, in float32 at least: in half precision a step would round to zero."""
    return torch.zeros_like(visual_tokens, dtype=torch.promote_types(visual_tokens.dtype, torch.float32))


def _gradients(
    prompt: Float[Tensor, "cell width"],
    answer: Answers,
    loss: Callable[[AnswerLogits], Float[Tensor, ""]],
    group: Sequence[int],
) -> Iterator[PromptGradient]:
    """Yield the gradient of each of several equal prompts, which share a forward pass.

    One by one, so that each can be freed before the next is computed: they are as large as the clip.
    """
    applied = prompt.detach().requires_grad_()
    for number, logits in zip(group, answer(applied, group), strict=True):
        slopes, largest = _slopes(logits, loss)
        weighted = (logits.yes * slopes[0] + logits.no * slopes[1]).sum()
        values = torch.autograd.grad(weighted, applied, retain_graph=number != group[-1])
        first = PromptGradient(values[0], largest, _detached(logits.select([0])))
        del values
        yield first
        del first


def _slopes(
    logits: AnswerLogits, loss: Callable[[AnswerLogits], Float[Tensor, ""]]
) -> tuple[tuple[Float[Tensor, " question"], Float[Tensor, " question"]], Float64[Tensor, ""]]:
    """Return the loss's slope in each logit, divided by the largest absolute slope, and that slope.

    Computed in double precision: -exp(margin) and its slope overflow half precision at a margin of 11.
    """
    leaves = replace(
        logits, yes=logits.yes.detach().double().requires_grad_(), no=logits.no.detach().double().requires_grad_()
    )
    # A loss may ignore logits, such as those of the neutral question.
    slopes = torch.autograd.grad(loss(leaves), (leaves.yes, leaves.no), materialize_grads=True)
    largest = torch.stack(slopes).abs().amax()
    scale = largest.clamp_min(torch.finfo(torch.float64).tiny)
    return ((slopes[0] / scale).to(logits.yes.dtype), (slopes[1] / scale).to(logits.no.dtype)), largest


def _detached(logits: AnswerLogits) -> AnswerLogits:
    return replace(logits, yes=logits.yes.detach(), no=logits.no.detach())


def _smooth(gradient: Float[Tensor, "cell width"], time_steps: int, window: int) -> Float[Tensor, "cell width"]:
    """Return a gradient averaged over a centred window of time steps, truncated at the ends."""
    if window == 1 or time_steps == 1:
        return gradient
    by_time = gradient.reshape(time_steps, -1)
    reach = window // 2
    rows = [by_time[max(0, step - reach) : step + reach + 1].mean(dim=0) for step in range(time_steps)]
    return torch.stack(rows).reshape(gradient.shape)


def _limited(
    prompt: Float[Tensor, "cell width"], visual_tokens: Float[Tensor, "cell width"], settings: PromptSettings
) -> Float[Tensor, "cell width"]:
    """Return a prompt whose norm at each token is at most settings.norm_limit of the mean token norm."""
    if settings.norm_limit is None:
        return prompt
    limit = settings.norm_limit * torch.linalg.vector_norm(visual_tokens.to(prompt.dtype), dim=1).mean()
    norms = torch.linalg.vector_norm(prompt, dim=1, keepdim=True)
    limited: Tensor = prompt * (limit / norms.clamp_min(torch.finfo(torch.float32).tiny)).clamp(max=1.0)
    return limited


def _step(
    gradient: Float[Tensor, "cell width"],
    slope: Float64[Tensor, ""],
    visual_tokens: Float[Tensor, "cell width"],
    settings: PromptSettings,
) -> Float[Tensor, "cell width"]:
    """Return the step that is subtracted from a prompt; the loss's gradient is slope * gradient."""
    if settings.step_rule == "raw":
        return (settings.step_size * slope).to(gradient.dtype) * gradient
    if settings.step_rule == "margin":
        return settings.step_size * gradient
    norm = torch.linalg.vector_norm(gradient).clamp_min(torch.finfo(torch.float32).tiny)
    scale = settings.step_size * torch.linalg.vector_norm(visual_tokens.to(gradient.dtype))
    step: Tensor = scale * gradient / norm
    return step
