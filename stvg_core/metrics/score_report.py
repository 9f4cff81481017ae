"""The report of scoring predictions against annotations, as JSON and as a table of samples."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stvg_core.errors import OutputError, ScoreError, UsageError
from stvg_core.metrics.bootstrap import Bootstrap, bootstrap_intervals
from stvg_core.metrics.files import read_annotations, read_predictions
from stvg_core.metrics.protocols import ScoringProtocol
from stvg_core.metrics.sample_tube import SampleTruth, SampleTube
from stvg_core.metrics.scoring import SampleScores
from stvg_core.metrics.summary import (
    GROUPINGS,
    METRIC_NAMES,
    SampleResult,
    count_statuses,
    group_results,
    metric_values,
    score_samples,
    summarize,
)

CSV_COLUMNS = ("sample", "status", "counted", "tIoU", "vIoU", "gt_vIoU", "query_type", "problem")
_SAMPLED_WHOLE_BELOW = 100


@dataclass(frozen=True)
class Score:
    """Means of a set of samples.

    Attributes:
        summary: mean by METRIC_NAMES, in 0..1.
        counts: samples by status; together all annotated samples of the set.
        intervals: lower and upper bound of each mean; None without a bootstrap.
    """

    summary: dict[str, float]
    counts: dict[str, int]
    intervals: dict[str, tuple[float, float]] | None = None

    def document(self) -> dict[str, Any]:
        """Return the score as JSON holds it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class ScoreReport:
    """The scores of predictions against annotations.

    Attributes:
        protocol: whose rules were applied.
        results: one per annotated sample, in the order of the annotations.
        score: of all samples.
        groups: of each group, by grouping and group.
        bootstrap: how intervals were drawn; None where there are none.
        warnings: what is odd but was scored, a sentence each.
    """

    protocol: ScoringProtocol
    results: tuple[SampleResult, ...]
    score: Score
    groups: Mapping[str, Mapping[str, Score]]
    bootstrap: Bootstrap | None
    warnings: tuple[str, ...]

    @property
    def failed(self) -> tuple[SampleResult, ...]:
        """Samples that could not be scored."""
        return tuple(result for result in self.results if result.status == "failed")

    def document(self) -> dict[str, Any]:
        """Return what `stvg score --json` prints; samples that are left out of the mean are not in it."""
        rules = self.protocol.rules
        document: dict[str, Any] = {
            "protocol": self.protocol.name,
            "summary": self.score.summary,
            "per_sample": {
                result.sample_id: _scores_document(result.scores) for result in self.results if result.counted
            },
            "counts": self.score.counts,
            "thresholds": dict(zip(METRIC_NAMES[-2:], rules.thresholds, strict=True)),
            "rules": asdict(rules),
            "problems": {result.sample_id: result.problem for result in self.failed},
            "warnings": list(self.warnings),
        }
        if self.bootstrap is not None:
            document["bootstrap"] = asdict(self.bootstrap) | {"intervals": self.score.intervals}
        if self.groups:
            document["by"] = {
                grouping: {name: score.document() for name, score in scores.items()}
                for grouping, scores in self.groups.items()
            }
        return document

    def sample_table(self) -> str:
        """Return a line of comma-separated values per annotated sample, under a line of CSV_COLUMNS."""
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for result in self.results:
            numbers = _scores_document(result.scores).values() if result.counted else ("", "", "")
            query_type = (result.truth.query_type if result.truth else None) or ""
            counted = "yes" if result.counted else "no"
            writer.writerow((result.sample_id, result.status, counted, *numbers, query_type, result.problem))
        return lines.getvalue()


def score_files(
    predictions: Path,
    annotations: Path,
    protocol: ScoringProtocol,
    groupings: Sequence[str] = (),
    bootstrap: Bootstrap | None = None,
) -> ScoreReport:
    """Score a file of predictions against a file of annotations.

    Args:
        predictions: tube by sample (docs/metrics.md has the format).
        annotations: truth by sample.
        protocol: whose rules to apply.
        groupings: names of GROUPINGS to break the score down by.
        bootstrap: how to draw confidence intervals; None for none.

    Raises:
        UsageError: a grouping is unknown.
        ScoreError: a file cannot be read as a whole. What is wrong with a sample is in the report.
    """
    check_groupings(groupings)
    truths, tubes = read_annotations(annotations), read_predictions(predictions)
    return score_tubes(tubes, truths, protocol, groupings, bootstrap)


def check_groupings(groupings: Sequence[str]) -> None:
    """Find out whether a score can be broken down so, before files are read.

    Raises:
        UsageError: a grouping is unknown.
    """
    for grouping in groupings:
        if grouping not in GROUPINGS:
            raise UsageError(f"expected a break-down by {', '.join(GROUPINGS)}, got {grouping!r}")


def score_tubes(
    tubes: Mapping[str, SampleTube | ScoreError],
    truths: Mapping[str, SampleTruth | ScoreError],
    protocol: ScoringProtocol,
    groupings: Sequence[str] = (),
    bootstrap: Bootstrap | None = None,
) -> ScoreReport:
    """Score predicted tubes against true ones.

    Args:
        tubes: a tube, or why there is none, by sample.
        truths: the truth, or what is wrong with it, by sample.
        protocol: whose rules to apply.
        groupings: names of GROUPINGS to break the score down by.
        bootstrap: how to draw confidence intervals; None for none.

    Raises:
        UsageError: a grouping is unknown.
    """
    check_groupings(groupings)
    results = score_samples(tubes, truths, protocol.rules)

    def score(samples: Sequence[SampleResult]) -> Score:
        intervals = None
        if bootstrap is not None:
            bounds = bootstrap_intervals(metric_values(samples, protocol.rules), bootstrap)
            intervals = {name: (low, high) for name, (low, high) in zip(METRIC_NAMES, bounds.tolist(), strict=True)}
        return Score(summarize(samples, protocol.rules), count_statuses(samples), intervals)

    return ScoreReport(
        protocol,
        results,
        score(results),
        {
            grouping: {name: score(samples) for name, samples in group_results(results, grouping).items()}
            for grouping in dict.fromkeys(groupings)
        },
        bootstrap,
        tuple(_warnings(tubes, truths, protocol, results)),
    )


def write_sample_table(report: ScoreReport, path: Path) -> None:
    """Write the report's table of samples.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        # A key of a JSON object may hold half a character, which UTF-8 has no bytes for.
        path.write_text(report.sample_table(), encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise OutputError(f"expected to write {path}, but cannot: {error.strerror}; choose another file") from error


def _scores_document(scores: SampleScores) -> dict[str, float]:
    return {"tIoU": scores.temporal_iou, "vIoU": scores.video_iou, "gt_vIoU": scores.truth_video_iou}


def _warnings(
    tubes: Mapping[str, SampleTube | ScoreError],
    truths: Mapping[str, SampleTruth | ScoreError],
    protocol: ScoringProtocol,
    results: Sequence[SampleResult],
) -> list[str]:
    """Return what is odd about the files as a whole."""
    warnings = []
    unknown = len(tubes.keys() - truths.keys())
    if unknown:
        warnings.append(f"{unknown} predictions are of no annotated sample and were left out")
    missing = sum(result.status == "missing" for result in results)
    if missing and protocol.rules.missing_sample == "drop":
        warnings.append(
            f"{missing} of {len(results)} samples have no prediction and are left out of the means, "
            f"as in the code of {protocol.name}: the means are over the other {len(results) - missing}"
        )
    pairs = [(tubes.get(name), truth) for name, truth in truths.items()]
    read = [(tube, truth) for tube, truth in pairs if isinstance(tube, SampleTube) and isinstance(truth, SampleTruth)]
    other_count = sum(tube.stated_frame_count not in (None, truth.frame_count) for tube, truth in read)
    if other_count:
        warnings.append(
            f"{other_count} predictions state another num_frames than the annotations; the annotations' number "
            "was used: check that both files number the same frames"
        )
    if protocol.rules.frame_sampling == "hcstvg-5fps":
        short = sum(truth.frame_count < _SAMPLED_WHOLE_BELOW for _, truth in read)
        if short:
            warnings.append(f"{short} videos have fewer than 100 frames, which the code of {protocol.name} refuses")
    if protocol.rules.thresholds != (0.3, 0.5):
        low, high = protocol.rules.thresholds
        warnings.append(
            f"vIoU@0.3 and vIoU@0.5 count samples above {low:g} and {high:g}, as the code of {protocol.name} does"
        )
    return warnings
