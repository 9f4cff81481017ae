"""Every planted bug is caught by the check that is meant for it."""

from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from stvg_core.devtools.testing.context import ConformanceContext
from stvg_core.devtools.testing.runner import run_check, select_checks
from stvg_core.devtools.testing.suite import CHECKS
from stvg_core.host.loading import load_backend
from tests.support.conformance.mutants import MUTANTS, Mutant
from tests.support.conformance.planting import OpenContext

# What shows in another process alone must be importable there, and has a test of its own.
IN_PROCESS = [mutant for mutant in MUTANTS if mutant.caught_by != "fresh-process"]
ONE_OF_EACH_FAMILY = {mutant.family: mutant for mutant in IN_PROCESS}.values()
FIRST_OF_EACH_CHECK = {mutant.caught_by: mutant for mutant in reversed(IN_PROCESS)}
every_mutant = pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, marks=() if FIRST_OF_EACH_CHECK[mutant.caught_by] is mutant else pytest.mark.slow)
        for mutant in IN_PROCESS
    ],
    ids=lambda mutant: mutant.name,
)


@every_mutant
def test_the_check_that_is_meant_for_a_bug_catches_it(mutant: Mutant, context_of: OpenContext) -> None:
    (check,) = select_checks([mutant.caught_by])
    result = run_check(check, mutant.plant(context_of(mutant.family)))
    assert result.outcome == "failed", result
    assert result.message


def test_numbers_that_depend_on_the_process(context_of: OpenContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    entry = EntryPoint("qwen2-vl", "tests.support.conformance.of_this_process:Backend", "stvg.backends")
    healthy = context_of("qwen2-vl")
    found = replace(healthy.found, entry_point=entry, package_path=None)
    context = replace(healthy, found=found, make_plugin=partial(load_backend, found))
    (check,) = select_checks(["fresh-process"])
    result = run_check(check, context)
    assert result.outcome == "failed"
    assert "another process gives other numbers" in result.message


def test_every_check_has_a_bug_planted_for_it() -> None:
    assert {mutant.caught_by for mutant in MUTANTS} == {check.name for check in CHECKS}
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 24


def failures(context: ConformanceContext) -> set[str]:
    return {
        check.name
        for check in CHECKS
        if check.name != "fresh-process" and run_check(check, context).outcome == "failed"
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant", {mutant.family: mutant for mutant in IN_PROCESS}.values(), ids=lambda one: one.family
)
def test_whole_kit_on_a_bug(mutant: Mutant, context_of: OpenContext) -> None:
    assert mutant.caught_by in failures(mutant.plant(context_of(mutant.family)))
