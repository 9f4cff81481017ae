"""Intervals: what is known exactly, how often they hold the truth, and that they depend on the seed alone."""

import numpy as np
import pytest

from stvg_core.errors import UsageError
from stvg_core.metrics import Bootstrap, Rules, SampleResult, SampleScores, bootstrap_intervals
from stvg_core.metrics import bootstrap as bootstrap_module
from stvg_core.metrics.summary import metric_values


def test_two_samples_are_known_exactly() -> None:
    # Means of two draws from {0, 1} are 0, 1/2 and 1 with chances 1/4, 1/2 and 1/4.
    values = np.array([[0.0], [1.0]])
    assert bootstrap_intervals(values, Bootstrap(4000)).tolist() == [[0, 1]]
    assert bootstrap_intervals(values, Bootstrap(4000, confidence=0.6)).tolist() == [[0, 1]]
    assert bootstrap_intervals(values, Bootstrap(4000, confidence=0.4)).tolist() == [[0.5, 0.5]]


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(3).random((400, 2)) * [1.0, 0.1]
    low, high = bootstrap_intervals(values, Bootstrap(4000)).T
    error = values.std(axis=0) / 20
    assert (high - low) / (2 * 1.96 * error) == pytest.approx([1, 1], abs=0.08)
    assert (abs((high + low) / 2 - values.mean(axis=0)) < 0.2 * error).all()


def test_columns_are_drawn_together() -> None:
    values = np.random.default_rng(4).random((50, 1))
    bounds = bootstrap_intervals(np.hstack([values, 1 - values]), Bootstrap(500))
    assert bounds[1] == pytest.approx(1 - bounds[0][::-1])


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(5)
    trials, hits = 400, 0
    for trial in range(trials):
        values = generator.beta(0.5, 1.5, size=(80, 1))
        ((low, high),) = bootstrap_intervals(values, Bootstrap(300, seed=trial))
        hits += low <= 0.25 <= high
    # Three standard errors of 95 % in 400 trials are 3.3 points; the percentile method itself is a little short.
    assert 0.90 <= hits / trials <= 0.98


def test_the_seed_decides_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).random((30, 2))
    first = bootstrap_intervals(values, Bootstrap(200, seed=1))
    assert (first == bootstrap_intervals(values, Bootstrap(200, seed=1))).all()
    assert (first != bootstrap_intervals(values, Bootstrap(200, seed=2))).any()
    np.random.default_rng(0).random(5)
    assert (first == bootstrap_intervals(values, Bootstrap(200, seed=1))).all()
    # Few samples at once: every resample is still made.
    monkeypatch.setattr(bootstrap_module, "_DRAWS_AT_ONCE", 100)
    assert bootstrap_intervals(values, Bootstrap(200, seed=1)) == pytest.approx(first, abs=0.05)


def test_the_order_of_samples_does_not_matter() -> None:
    results = [SampleResult(f"s{place}", "scored", SampleScores(place / 40, place / 50, 0.5)) for place in range(40)]
    forth, back = (metric_values(order, Rules()) for order in (results, results[::-1]))
    assert (forth == back).all()


def test_no_sample_gives_zeros_and_bad_numbers_are_refused() -> None:
    assert bootstrap_intervals(np.zeros((0, 5)), Bootstrap(10)).tolist() == [[0, 0]] * 5
    for wrong in ({"resamples": 0}, {"resamples": 10**9}, {"resamples": 5, "seed": -1}):
        with pytest.raises(UsageError, match="expected"):
            Bootstrap(**wrong)
