"""Percentile confidence intervals of the means, by drawing samples again."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from stvg_core.errors import UsageError

MOST_RESAMPLES = 100_000
_DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Bootstrap:
    """How often to draw, and from which seed.

    Attributes:
        resamples: number of draws of as many samples as there are.
        seed: of numpy's default generator; the same seed gives the same intervals.
        confidence: share of the draws whose means lie between the bounds.

    Raises:
        UsageError: a number is out of range.
    """

    resamples: int
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.resamples <= MOST_RESAMPLES:
            raise UsageError(f"expected 1 to {MOST_RESAMPLES} bootstrap resamples, got {self.resamples}")
        if self.seed < 0:
            raise UsageError(f"expected a seed of at least 0, got {self.seed}")
        if not 0 < self.confidence < 1:
            raise UsageError(f"expected a confidence between 0 and 1, got {self.confidence}")


def bootstrap_intervals(
    values: Float64[np.ndarray, "sample metric"], bootstrap: Bootstrap
) -> Float64[np.ndarray, "metric 2"]:
    """Return lower and upper bound of each column's mean (percentile method of Efron, 1979).

    Samples are drawn with replacement, whole rows at a time. Without samples both bounds are 0.

    >>> bootstrap_intervals(np.array([[0.5], [0.5]]), Bootstrap(10))
    array([[0.5, 0.5]])
    """
    sample_count, metric_count = values.shape
    if sample_count == 0:
        return np.zeros((metric_count, 2))
    generator = np.random.default_rng(bootstrap.seed)
    batch = max(1, _DRAWS_AT_ONCE // sample_count)
    means: list[Float64[np.ndarray, "resample metric"]] = []
    for start in range(0, bootstrap.resamples, batch):
        size = min(batch, bootstrap.resamples - start), sample_count
        drawn = generator.integers(sample_count, size=size)
        means.append(np.stack([column[drawn].mean(axis=1) for column in values.T], axis=1))
    tail = (1 - bootstrap.confidence) / 2
    bounds: Float64[np.ndarray, "metric 2"] = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0).T
    return bounds
