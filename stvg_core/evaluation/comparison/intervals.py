"""Scores of one run sample by sample, and means, paired differences and bootstrap intervals of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from stvg_core.evaluation.comparison.controls import Values, measure_run, score_controls
from stvg_core.evaluation.comparison.running import RowRun
from stvg_core.evaluation.runs.scoring import score_run
from stvg_core.metrics import METRIC_NAMES, Bootstrap, ScoringProtocol, bootstrap_intervals
from stvg_core.metrics.score_report import ScoreReport
from stvg_core.metrics.summary import SampleResult, group_results, metric_values
from stvg_core.outputs.report.document import DocumentPart


class Estimate(DocumentPart):
    """A mean over samples with its bootstrap interval."""

    mean: float
    low: float = Field(description="lower bound of the interval")
    high: float = Field(description="upper bound of the interval")


def estimates(values: Mapping[str, Float64[np.ndarray, " metric"]], bootstrap: Bootstrap) -> dict[str, Estimate] | None:
    """Return means with their intervals by metric; None without samples."""
    if not values:
        return None
    # In an order of the samples' own, so that no draw depends on the order of a file.
    ordered = np.array([values[name] for name in sorted(values)])
    bounds = bootstrap_intervals(ordered, bootstrap)
    return {
        name: Estimate(mean=float(mean), low=float(low), high=float(high))
        for name, mean, (low, high) in zip(METRIC_NAMES, ordered.mean(axis=0), bounds, strict=True)
    }


def difference(values: Values, other: Values, bootstrap: Bootstrap) -> dict[str, Estimate] | None:
    """Return one row minus another, sample by sample, over the samples that both have."""
    return estimates({name: values[name] - other[name] for name in values.keys() & other.keys()}, bootstrap)


@dataclass(frozen=True)
class RunScores:
    """What the run of a row scores, computed where it is needed."""

    run: RowRun
    protocol: ScoringProtocol
    bootstrap: Bootstrap

    @cached_property
    def report(self) -> ScoreReport | None:
        """The score; None where the run failed, or no truth is published."""
        if self.run.summary is None or self.run.summary["score"] is None:
            return None
        return score_run(self.run.run, self.protocol, ("type",))

    @cached_property
    def values(self) -> Values | None:
        """Scores of every counted sample; None where there is no report."""
        return None if self.report is None else self._values(self.report.results)

    def by_type(self) -> dict[str, dict[str, Estimate]]:
        """Return the estimates of every query type that is scored."""
        groups = {} if self.report is None else group_results(self.report.results, "type")
        by_type = {kind: estimates(self._values(results), self.bootstrap) for kind, results in groups.items()}
        return {kind: estimate for kind, estimate in by_type.items() if estimate is not None}

    @cached_property
    def controls(self) -> dict[str, Values]:
        """Scores of every control; none where the run stores no maps."""
        return {} if self.report is None else score_controls(self.run.run, self.protocol)

    @cached_property
    def measures(self) -> dict[str, dict[str, float]]:
        """Measures beside the scores, by measure and sample."""
        return {} if self.report is None else measure_run(self.run.run)

    def _values(self, results: Sequence[SampleResult]) -> Values:
        counted = sorted((result for result in results if result.counted), key=lambda result: result.sample_id)
        names = [result.sample_id for result in counted]
        return dict(zip(names, metric_values(counted, self.protocol.rules), strict=True))
