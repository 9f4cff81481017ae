"""The loss of Algorithm 1: its gradient, and prompts learned with it, against separate runs and differences."""

import pytest

from stvg_core.settings import PromptSettings
from tests.support.backends.measure import (
    gradient_difference,
    learned_prompt_difference,
    slope_difference,
    telling_step,
)
from tests.support.backends.subjects import CASES, ONE_CASE, Case, Subject

one_case_a_family = pytest.mark.parametrize("case", ONE_CASE, ids=str)
both_objectives = pytest.mark.parametrize("objective", ["exponential", "linear"])


@one_case_a_family
@both_objectives
def test_gradient_equals_separate_runs(subject: Subject, case: Case, objective: str) -> None:
    settings = PromptSettings(objective=objective, contrast_neutral=True)
    assert gradient_difference(subject, case, settings) < 2e-5


@one_case_a_family
@both_objectives
def test_gradient_equals_central_differences(double: Subject, case: Case, objective: str) -> None:
    settings = PromptSettings(objective=objective, contrast_neutral=True)
    assert slope_difference(double, case, settings) < 1e-4
    assert all(weight.grad is None and not weight.requires_grad for weight in double.model.parameters())


@one_case_a_family
@both_objectives
def test_two_steps_with_momentum_equal_separate_runs(subject: Subject, case: Case, objective: str) -> None:
    settings = PromptSettings(objective=objective, contrast_neutral=True, momentum=0.4, steps=2)
    assert learned_prompt_difference(subject, case, telling_step(subject, case, settings)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case not in ONE_CASE], ids=str)
def test_gradients_however_the_clip_is_shown(subject: Subject, double: Subject, case: Case) -> None:
    settings = PromptSettings(objective="exponential", contrast_neutral=True)
    assert gradient_difference(subject, case, settings) < 2e-5
    assert slope_difference(double, case, settings) < 1e-4
