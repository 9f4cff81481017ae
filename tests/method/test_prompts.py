import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stvg_core.errors import SettingsError
from stvg_core.method.prompts import (
    LearnedPrompt,
    answer_warnings,
    effect_warnings,
    first_gradients,
    learn_prompts,
)
from stvg_core.plugin import AnswerLogits, margin_loss
from stvg_core.settings import PromptSettings
from stvg_core.values import FirstAnswer, PromptEffect

TOKENS = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
WEIGHT = torch.tensor([[0.3, -0.1], [0.2, 0.4]], dtype=torch.float64)


def curved(prompt: Tensor) -> AnswerLogits:
    """A margin whose gradient moves with the prompt, so that every step's gradient matters."""
    yes = torch.stack([(prompt * WEIGHT).sum() + torch.sin(prompt).sum() ** 2, prompt.sum() * 0 + 0.25])
    return AnswerLogits(yes=yes, no=torch.zeros(2, dtype=torch.float64))


def learn_prompt(
    tokens: Tensor,
    answer: Callable[[Tensor], AnswerLogits],
    loss: Callable[[AnswerLogits], Tensor],
    settings: PromptSettings,
) -> LearnedPrompt:
    (learned,) = learn_prompts(tokens, lambda prompt, _: (answer(prompt),), loss, 1, settings)
    return learned


def learn(settings: PromptSettings) -> LearnedPrompt:
    return learn_prompt(TOKENS, curved, lambda logits: margin_loss(logits, settings), settings)


def gradient(at: Tensor, settings: PromptSettings) -> Tensor:
    """Central finite differences of the loss: no autograd."""
    numeric = torch.zeros_like(at)
    for place in range(at.numel()):
        step = torch.zeros(at.numel(), dtype=torch.float64)
        step[place] = 1e-6
        step = step.reshape(at.shape)
        high, low = (float(margin_loss(curved(at + sign * step), settings)) for sign in (1, -1))
        numeric.view(-1)[place] = (high - low) / 2e-6
    return numeric


LINEAR = PromptSettings(steps=1, step_size=0.1, objective="linear")
EXPONENTIAL = PromptSettings(steps=1, step_size=0.1, objective="exponential")


@pytest.mark.parametrize("settings", [LINEAR, EXPONENTIAL], ids=["linear", "exponential"])
def test_one_paper_step_is_minus_step_size_times_gradient(settings: PromptSettings) -> None:
    start = torch.zeros_like(TOKENS)
    torch.testing.assert_close(learn(settings).applied, -0.1 * gradient(start, settings), atol=1e-7, rtol=1e-6)


def test_one_released_step_applies_half_of_it() -> None:
    settings = PromptSettings(steps=1, step_size=8.0, objective="linear", contrast_neutral=True, momentum=0.5)
    start = torch.zeros_like(TOKENS)
    torch.testing.assert_close(learn(settings).applied, -4.0 * gradient(start, settings), atol=1e-6, rtol=1e-6)


def test_two_released_steps_apply_all_of_the_first_and_a_quarter_of_the_second() -> None:
    settings = PromptSettings(steps=2, step_size=0.1, objective="linear", contrast_neutral=True, momentum=0.5)
    first = gradient(torch.zeros_like(TOKENS), settings)
    second = gradient(-0.05 * first, settings)
    torch.testing.assert_close(learn(settings).applied, -0.1 * first - 0.025 * second, atol=1e-7, rtol=1e-6)


def test_a_normalized_step_has_the_length_asked_for_under_either_objective() -> None:
    applied = []
    for objective in ("linear", "exponential"):
        settings = PromptSettings(steps=1, step_size=0.03, step_rule="normalized", objective=objective)
        applied.append(learn(settings).applied)
        assert math.isclose(float(applied[-1].norm()), 0.03 * float(TOKENS.norm()), rel_tol=1e-6)
    torch.testing.assert_close(applied[0], applied[1])


def test_a_step_raises_the_margin_and_the_margins_are_recorded() -> None:
    settings = PromptSettings(steps=3, step_size=0.05, objective="linear")
    learned = learn(settings)
    margins = [*learned.margins, float(curved(learned.applied).margins[0])]
    assert len(learned.margins) == 3
    assert margins == sorted(margins)
    assert margins[-1] > margins[0]


def test_contrast_subtracts_the_neutral_margin() -> None:
    logits = AnswerLogits(yes=torch.tensor([3.0, 2.0]), no=torch.tensor([1.0, 0.5]))
    assert float(margin_loss(logits, PromptSettings(objective="linear"))) == 1 - 2
    assert float(margin_loss(logits, PromptSettings(objective="linear", contrast_neutral=True))) == 1 - (2 - 1.5)
    assert float(margin_loss(logits, PromptSettings(objective="exponential"))) == pytest.approx(-math.exp(2))


def test_a_gradient_that_overflows_says_what_to_do() -> None:
    def explodes(prompt: Tensor) -> AnswerLogits:
        yes = (prompt.sum() + 800.0)[None]
        return AnswerLogits(yes=yes, no=torch.zeros_like(yes))

    settings = PromptSettings(objective="exponential")
    with pytest.raises(SettingsError, match=r"prompt\.step_rule=normalized"):
        learn_prompt(torch.ones(1, 2), explodes, lambda logits: margin_loss(logits, settings), settings)


def test_a_normalized_step_has_its_length_whatever_factor_the_gradient_carries() -> None:
    """With momentum the second gradient is halved; a normalized step must not be."""
    settings = PromptSettings(steps=2, step_size=0.1, step_rule="normalized", objective="linear", momentum=0.5)
    first = gradient(torch.zeros_like(TOKENS), settings)
    length = 0.1 * TOKENS.norm()
    moved = -length * first / first.norm()
    second = gradient(0.5 * moved, settings)
    expected = moved - 0.5 * length * second / second.norm()
    torch.testing.assert_close(learn(settings).applied, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_prompt_keeps_steps_that_the_tokens_would_round_away(dtype: torch.dtype) -> None:
    tokens = torch.full((4, 3), 100.0, dtype=dtype)

    def answer(prompt: Tensor) -> AnswerLogits:
        assert prompt.dtype == torch.float32
        yes = ((tokens + prompt) * 1e-3).sum()[None]
        return AnswerLogits(yes=yes, no=torch.zeros(1))

    settings = PromptSettings(steps=3, step_size=1.0, objective="linear")
    learned = learn_prompt(tokens, answer, lambda logits: margin_loss(logits, settings), settings)
    torch.testing.assert_close(learned.applied, torch.full((4, 3), 3e-3), rtol=1e-5, atol=0)


@pytest.mark.parametrize("momentum", [None, 0.5])
@pytest.mark.parametrize("rule", ["raw", "normalized"])
def test_prompts_learned_together_are_those_learned_alone_in_fewer_passes(momentum: float | None, rule: str) -> None:
    settings = PromptSettings(
        steps=3, step_size=0.1, step_rule=rule, objective="linear", contrast_neutral=True, momentum=momentum
    )
    passes: list[tuple[int, ...]] = []

    def scaled(prompt: Tensor, number: int) -> AnswerLogits:
        whole = curved(prompt * (number + 1))
        return AnswerLogits(yes=whole.yes, no=whole.no + number * prompt.mean())

    def answer(prompt: Tensor, numbers: Sequence[int]) -> list[AnswerLogits]:
        passes.append(tuple(numbers))
        return [scaled(prompt, number) for number in numbers]

    def loss(logits: AnswerLogits) -> Tensor:
        return margin_loss(logits, settings)

    together = learn_prompts(TOKENS, answer, loss, 3, settings)
    assert passes == [(0, 1, 2), (0,), (1,), (2,), (0,), (1,), (2,)]
    for number, learned in enumerate(together):
        alone = learn_prompt(TOKENS, lambda prompt, number=number: scaled(prompt, number), loss, settings)
        torch.testing.assert_close(learned.applied, alone.applied)
        assert learned.margins == pytest.approx(alone.margins)
    assert not torch.allclose(together[0].applied, together[1].applied)


def test_entropy_is_that_of_the_answer_and_its_gradient_vanishes_where_the_answer_is_sure() -> None:
    settings = PromptSettings(objective="entropy")
    for margin in (-3.0, -0.2, 0.0, 1.5, 4.0):
        share = 1 / (1 + math.exp(-margin))
        expected = -share * math.log(share) - (1 - share) * math.log(1 - share)
        logits = AnswerLogits(yes=torch.tensor([margin]), no=torch.tensor([0.0]))
        assert float(margin_loss(logits, settings)) == pytest.approx(expected, abs=1e-6)
    sure = torch.tensor([500.0], requires_grad=True)
    (slope,) = torch.autograd.grad(margin_loss(AnswerLogits(yes=sure, no=torch.zeros(1)), settings), sure)
    assert float(slope) == 0.0


def test_entropy_moves_to_whichever_answer_is_likelier() -> None:
    # The margin of `curved` at zeros is yes - no = 0: shifted, its sign decides where the prompt goes.
    for shift in (-0.5, 0.5):
        settings = PromptSettings(steps=1, step_size=0.1, objective="entropy")

        def shifted(prompt: Tensor, shift: float = shift) -> AnswerLogits:
            return AnswerLogits(yes=curved(prompt).yes + shift, no=torch.zeros(2, dtype=torch.float64))

        learned = learn_prompt(TOKENS, shifted, lambda logits, own=settings: margin_loss(logits, own), settings)
        moved = float(shifted(learned.applied).margins[0]) - shift
        assert moved * shift > 0


def test_no_token_s_prompt_is_above_the_limit_and_smaller_ones_stay() -> None:
    free = learn(LINEAR).applied
    norms = torch.linalg.vector_norm(free, dim=1)
    # Between the two tokens' norms: one is cut, the other stays.
    limit, mean_norm = float(norms.mean()), float(torch.linalg.vector_norm(TOKENS, dim=1).mean())
    limited = learn(LINEAR.model_copy(update={"norm_limit": limit / mean_norm})).applied
    for place, norm in enumerate(norms.tolist()):
        wanted = free[place] * min(1.0, limit / norm)
        torch.testing.assert_close(limited[place], wanted)
    assert float(norms.max()) > 1.01 * limit


@pytest.mark.parametrize("window", [3, 5])
def test_a_step_is_averaged_over_neighbouring_time_steps(window: int) -> None:
    tokens = torch.arange(20.0, dtype=torch.float64).reshape(10, 2) + 1
    weight = torch.sin(torch.arange(20.0, dtype=torch.float64)).reshape(10, 2)

    def linear(prompt: Tensor) -> AnswerLogits:
        return AnswerLogits(yes=(prompt * weight).sum()[None], no=torch.zeros(1, dtype=torch.float64))

    settings = PromptSettings(steps=1, step_size=1.0, objective="linear", time_window=window)
    (learned,) = learn_prompts(
        tokens, lambda prompt, _: (linear(prompt),), lambda logits: margin_loss(logits, settings), 1, settings, 5
    )
    by_time = weight.reshape(5, 2, 2)
    for step in range(5):
        near = [other for other in range(5) if abs(other - step) <= window // 2]
        wanted = sum(by_time[other] for other in near) / len(near)
        torch.testing.assert_close(learned.applied.reshape(5, 2, 2)[step], wanted)


def test_an_even_window_is_refused() -> None:
    with pytest.raises(ValueError, match="odd time_window"):
        PromptSettings(time_window=2)


def test_no_step_is_taken_above_the_margin() -> None:
    steps = PromptSettings(steps=4, step_size=0.5, objective="linear")
    margins = learn(steps).margins
    assert list(margins) == sorted(margins)
    between = (margins[1] + margins[2]) / 2
    stopped = learn(steps.model_copy(update={"stop_margin": between}))
    assert stopped.margins == pytest.approx(margins[:3]), "two steps, then the margin that stopped it"
    torch.testing.assert_close(stopped.applied, learn(steps.model_copy(update={"steps": 2})).applied)
    already = learn(steps.model_copy(update={"stop_margin": margins[0]}))
    assert not already.applied.any()
    assert len(already.margins) == 1


def test_one_prompt_that_stopped_does_not_stop_another() -> None:
    settings = PromptSettings(steps=3, step_size=0.1, objective="linear", stop_margin=10.0)

    def answer(prompt: Tensor, numbers: Sequence[int]) -> list[AnswerLogits]:
        return [AnswerLogits(yes=curved(prompt).yes + (20.0 if n == 0 else 0.0), no=curved(prompt).no) for n in numbers]

    first, second = learn_prompts(TOKENS, answer, lambda logits: margin_loss(logits, settings), 2, settings)
    assert not first.applied.any()
    torch.testing.assert_close(second.applied, learn(settings.model_copy(update={"stop_margin": None})).applied)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_first_gradient_that_is_known_gives_the_same_prompt(steps: int) -> None:
    settings = PromptSettings(steps=steps, step_size=0.1, objective="linear", momentum=0.5)

    def answer(prompt: Tensor, _: Sequence[int]) -> list[AnswerLogits]:
        return [curved(prompt)]

    def loss(logits: AnswerLogits) -> Tensor:
        return margin_loss(logits, settings)

    start = first_gradients(TOKENS, answer, loss, 1)
    (learned,) = learn_prompts(TOKENS, answer, loss, 1, settings, 1, start)
    assert torch.equal(learned.applied, learn(settings).applied)
    assert learned.margins == learn(settings).margins


def shifted(margin: float) -> Callable[[Tensor], AnswerLogits]:
    """The curved margin, moved to a value at zeros; its gradient is the same wherever it lies."""

    def answer(prompt: Tensor) -> AnswerLogits:
        logits = curved(prompt)
        return AnswerLogits(logits.yes + torch.tensor([margin, 0.0], dtype=logits.yes.dtype), logits.no)

    return answer


def learn_at(margin: float, settings: PromptSettings, tokens: Tensor = TOKENS) -> LearnedPrompt:
    return learn_prompt(tokens, shifted(margin), lambda logits: margin_loss(logits, settings), settings)


@pytest.mark.parametrize("momentum", [None, 0.5])
@pytest.mark.parametrize("objective", ["exponential", "linear", "entropy"])
@pytest.mark.parametrize("margin", [-120.0, -8.0, 0.5, 8.0, 120.0])
def test_a_margin_step_does_not_depend_on_how_large_the_margin_is(
    margin: float, objective: Any, momentum: float | None
) -> None:
    settings = PromptSettings(steps=2, step_size=0.1, step_rule="margin", objective=objective, momentum=momentum)
    linear = settings.model_copy(update={"objective": "linear", "step_rule": "raw"})
    # Entropy falls away from 0 on either side: a no becomes a surer no.
    sign = -1 if objective == "entropy" and margin < 0 else 1
    start = torch.zeros_like(TOKENS)
    first = gradient(start, linear)
    share = 1.0 if momentum is None else momentum
    second = gradient(-sign * share * 0.1 * first, linear)
    expected = -sign * 0.1 * (first + share * share * second)
    torch.testing.assert_close(learn_at(margin, settings).applied, expected, atol=1e-7, rtol=1e-6)


def test_a_raw_step_grows_with_the_margin() -> None:
    small, large = (learn_at(margin, EXPONENTIAL).applied for margin in (0.0, 5.0))
    torch.testing.assert_close(large, small * math.exp(5.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_survives_large_margins(dtype: torch.dtype) -> None:
    """exp(12) times a gradient is past float16's largest number; the model sees neither of them alone."""

    def answer(prompt: Tensor) -> AnswerLogits:
        # What a model in half precision does: what comes back through it is rounded to its dtype.
        yes = ((prompt.to(dtype) * WEIGHT.to(dtype)).sum().float() + 12.0).reshape(1)
        return AnswerLogits(yes, torch.zeros(1))

    settings = PromptSettings(steps=1, step_size=0.01)
    learned = learn_prompt(TOKENS.to(dtype), answer, lambda logits: margin_loss(logits, settings), settings)
    expected = 0.01 * math.exp(12.0) * WEIGHT.to(dtype).float()
    torch.testing.assert_close(learned.applied, expected, rtol=2e-3, atol=0.0)


def test_a_prompt_past_its_dtype_is_refused_with_the_cure() -> None:
    settings = PromptSettings(steps=1, step_size=8.0)
    with pytest.raises(SettingsError, match=r"within torch\.float16.*prompt\.step_rule=normalized"):
        learn_at(14.0, settings, TOKENS.half())
    with pytest.raises(SettingsError, match=r"prompt\.step_rule=normalized"):
        learn_at(800.0, settings)


def test_the_share_of_the_norm_is_of_what_is_applied() -> None:
    learned = learn(PromptSettings(steps=2, step_size=0.1, objective="linear", momentum=0.5))
    applied, tokens = (
        math.sqrt(sum(value**2 for value in rows.flatten().tolist())) for rows in (learned.applied, TOKENS)
    )
    assert learned.norm_share == pytest.approx(applied / tokens)
    assert learn(PromptSettings(steps=0)).norm_share == 0.0


def test_first_answers_are_those_before_the_first_step() -> None:
    asked = 0

    def answer(prompt: Tensor) -> AnswerLogits:
        nonlocal asked
        asked += 1
        return replace(curved(prompt), first_ids=torch.tensor([asked, 9]), first_probabilities=torch.tensor([0.5, 0.1]))

    settings = PromptSettings(steps=2, step_size=0.1, objective="linear")
    learned = learn_prompt(TOKENS, answer, lambda logits: margin_loss(logits, settings), settings)
    assert asked == 2
    assert learned.first_answer == (1, 0.5)
    assert learn(settings).first_answer is None


@pytest.mark.parametrize(
    ("effect", "changes", "told"),
    [
        (PromptEffect(-8.0, -8.0, 9e-4), {}, "is negligible"),
        (PromptEffect(-8.0, -7.9, 2e-3), {}, None),
        (PromptEffect(2.0, 9.0, 1.01), {}, "outweighs"),
        (PromptEffect(2.0, 1.9, 0.1), {}, "lowered"),
        (PromptEffect(2.0, 1.9, 0.1), {"objective": "entropy"}, None),
        (PromptEffect(2.0, 2.0, 0.0), {"stop_margin": 2.0}, None),
        (PromptEffect(1.9, 1.9, 0.0), {"stop_margin": 2.0}, "is negligible"),
    ],
)
def test_prompts_that_did_nothing_or_harm_are_told(
    effect: PromptEffect, changes: dict[str, Any], told: str | None
) -> None:
    warnings = effect_warnings({"temporal": effect}, PromptSettings.model_validate(changes))
    assert [told in warning for warning in warnings if told] == ([] if told is None else [True])
    assert len(warnings) == (told is not None)
    if told:
        assert warnings[0].startswith("the action prompt ")
        assert warnings[0].endswith("try --set prompt.step_rule=normalized --set prompt.step_size=0.01")
        (other,) = effect_warnings({"temporal": effect}, PromptSettings(step_rule="normalized"))
        assert other.endswith("try another prompt.step_size")


def test_answers_that_are_neither_yes_nor_no_are_told() -> None:
    answers = {"spatial": FirstAnswer(" no", 0.5), "temporal": FirstAnswer("Noise", 0.5)}
    (warning,) = answer_warnings(answers)
    assert "action question with 'Noise'" in warning
