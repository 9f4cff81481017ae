"""Means, errors and paired differences against the formulas written out."""

import json
from math import sqrt
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.metrics import TubeOverlap
from tiny_recipe.measurements import Comparison, Row, groups, paired_difference

shares = st.floats(0, 1)


def row(name: str, values: list[float | None]) -> Row:
    return Row(name, tuple(None if value is None else TubeOverlap(value / 2, value) for value in values))


@given(st.lists(st.one_of(st.none(), shares), min_size=2, max_size=30))
def test_summary(values: list[float | None]) -> None:
    numbers = [value or 0.0 for value in values]
    summary = row("any", values).summary()
    assert summary["scenes"] == len(values)
    assert summary["failures"] == sum(value is None for value in values)
    assert summary["m_vIoU"] == pytest.approx(fmean(numbers), abs=1e-4)
    assert summary["m_tIoU"] == pytest.approx(fmean(numbers) / 2, abs=1e-4)
    assert summary["standard_error"] == pytest.approx(stdev(numbers) / sqrt(len(numbers)), abs=1e-4)
    assert summary["vIoU@0.5"] == pytest.approx(sum(value > 0.5 for value in numbers) / len(numbers), abs=1e-4)


def test_a_failure_counts_as_zero_and_is_counted() -> None:
    summary = row("any", [1.0, None]).summary()
    assert (summary["m_vIoU"], summary["m_tIoU"], summary["failures"]) == (0.5, 0.25, 1)


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=30))
def test_a_paired_difference_is_that_of_the_clips(values: list[tuple[float, float]]) -> None:
    found = paired_difference(row("a", [one for one, _ in values]), row("b", [other for _, other in values]))
    differences = [one - other for one, other in values]
    assert found["m_vIoU_difference"] == pytest.approx(fmean(differences), abs=1e-4)
    assert found["m_vIoU_standard_error"] == pytest.approx(stdev(differences) / sqrt(len(values)), abs=1e-4)
    assert found["m_tIoU_difference"] == pytest.approx(fmean(differences) / 2, abs=1e-4)
    assert (found["name"], found["control"]) == ("a", "b")


def test_pairing_sees_what_unpaired_errors_hide() -> None:
    control = [0.0, 0.3, 0.6, 0.9]
    found = paired_difference(row("a", [value + 0.1 for value in control]), row("b", control))
    assert found["m_vIoU_standard_error"] == pytest.approx(0.0, abs=1e-9)


def test_groups_are_measured_on_their_own_clips() -> None:
    tags = [(), ("pair",), ("pair", "background"), ()]
    comparison = Comparison(
        {"a": row("a", [0.1, 0.2, 0.4, None]), "b": row("b", [0.1, 0.1, 0.1, 0.1])}, [("a", "b")], tags
    )
    found = comparison.by_group()
    assert list(found) == ["all", "none", "background", "pair"]
    assert [group["rows"][0]["scenes"] for group in found.values()] == [4, 2, 1, 2]
    assert found["pair"]["rows"][0]["m_vIoU"] == pytest.approx(0.3)
    assert found["pair"]["paired"][0]["m_vIoU_difference"] == pytest.approx(0.2)
    assert found["none"]["rows"][0]["failures"] == 1
    assert found["pair"]["rows"][0]["failures"] == 0
    # One clip has no spread: null in JSON, not NaN, which is none.
    assert found["background"]["rows"][0]["standard_error"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_group_that_does_not_occur_is_left_out() -> None:
    assert groups([("pair",), ("pair",)]) == {"all": [0, 1], "pair": [0, 1]}
