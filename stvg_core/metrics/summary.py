"""Scores of many samples: the mean, how many failed, and break-downs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from stvg_core.errors import ScoreError
from stvg_core.metrics.rules import Rules
from stvg_core.metrics.sample_tube import SampleTruth, SampleTube, check_fits
from stvg_core.metrics.scoring import ZERO, SampleScores, score_sample

Status = Literal["scored", "missing", "failed"]
METRIC_NAMES = ("m_tIoU", "m_vIoU", "gt_vIoU", "vIoU@0.3", "vIoU@0.5")
"""Names of the means, in the order of tables and arrays."""
UNKNOWN_GROUP = "unknown"


@dataclass(frozen=True)
class SampleResult:
    """What came of one annotated sample.

    Attributes:
        sample_id: its key in the files.
        status: `scored`; `missing`, no prediction; or `failed`, it could not be scored.
        scores: zeros unless scored.
        counted: whether it is part of the means.
        problem: why it failed, on one line; empty unless failed.
        truth: what was annotated; None where that could not be read.
    """

    sample_id: str
    status: Status
    scores: SampleScores = ZERO
    counted: bool = True
    problem: str = ""
    truth: SampleTruth | None = None


def score_samples(
    predictions: Mapping[str, SampleTube | ScoreError],
    annotations: Mapping[str, SampleTruth | ScoreError],
    rules: Rules,
) -> tuple[SampleResult, ...]:
    """Score every annotated sample, in the order of the annotations; what cannot be scored is a failed sample.

    Args:
        predictions: a tube, or what is wrong with it, by sample; others than the annotated ones are left out.
        annotations: the truth, or what is wrong with it, by sample.
        rules: what is counted, and how.
    """
    return tuple(_score(key, predictions.get(key), truth, rules) for key, truth in annotations.items())


def _score(
    sample_id: str, predicted: SampleTube | ScoreError | None, truth: SampleTruth | ScoreError, rules: Rules
) -> SampleResult:
    if isinstance(truth, ScoreError):
        return SampleResult(sample_id, "failed", problem=f"annotation: {truth}")
    if predicted is None:
        return SampleResult(sample_id, "missing", counted=rules.missing_sample == "zero", truth=truth)
    try:
        if isinstance(predicted, ScoreError):
            raise predicted
        check_fits(predicted, truth.frame_count)
        scores = score_sample(predicted, truth, rules)
    except ScoreError as error:
        return SampleResult(sample_id, "failed", problem=f"prediction: {error}", truth=truth)
    return SampleResult(sample_id, "scored", scores, truth=truth)


def metric_values(results: Sequence[SampleResult], rules: Rules) -> Float64[np.ndarray, "sample metric"]:
    """Return what every counted sample adds to the means, in the order of METRIC_NAMES.

    Rows are sorted by sample, so that nothing depends on the order of a file.
    """
    low, high = rules.thresholds
    rows = [
        (
            result.scores.temporal_iou,
            result.scores.video_iou,
            result.scores.truth_video_iou,
            float(rules.passes(result.scores.video_iou, low)),
            float(rules.passes(result.scores.video_iou, high)),
        )
        for result in sorted(results, key=lambda result: result.sample_id)
        if result.counted
    ]
    return np.asarray(rows, dtype=np.float64).reshape(-1, len(METRIC_NAMES))


def summarize(results: Sequence[SampleResult], rules: Rules) -> dict[str, float]:
    """Return the means over the counted samples by METRIC_NAMES, each in 0..1; zeros where none is counted."""
    values = metric_values(results, rules)
    means = values.mean(axis=0) if len(values) else np.zeros(len(METRIC_NAMES))
    return dict(zip(METRIC_NAMES, means.tolist(), strict=True))


def count_statuses(results: Iterable[SampleResult]) -> dict[str, int]:
    """Return how many samples are of each status; together they are all annotated samples."""
    counts = {"scored": 0, "missing": 0, "failed": 0}
    for result in results:
        counts[result.status] += 1
    return counts


_LENGTHS = ((0.25, "below 1/4"), (0.5, "1/4 to 1/2"), (np.inf, "1/2 and more"))
_SIZES = ((32.0**2, "below 32x32"), (96.0**2, "32x32 to 96x96"), (np.inf, "96x96 and more"))


def _bin(value: float, bins: tuple[tuple[float, str], ...]) -> str:
    return next(name for bound, name in bins if value < bound)


GROUPINGS: dict[str, Callable[[SampleTruth], str]] = {
    "type": lambda truth: truth.query_type or UNKNOWN_GROUP,
    "length": lambda truth: _bin(truth.length_share, _LENGTHS),
    "target-size": lambda truth: _bin(truth.mean_area, _SIZES),
}
"""Ways to break a score down, by the name that the command line takes.

`length` is the share of the video that the truth lasts, `target-size` the mean area of its boxes with the
bounds of COCO's small, medium and large objects (pycocotools, Params.areaRng).
"""
_ORDER = [name for _, name in (*_LENGTHS, *_SIZES)]


def group_results(results: Sequence[SampleResult], grouping: str) -> dict[str, tuple[SampleResult, ...]]:
    """Return the samples of each group, small groups before large; unreadable truths are of group `unknown`."""
    groups: dict[str, list[SampleResult]] = {}
    for result in results:
        name = UNKNOWN_GROUP if result.truth is None else GROUPINGS[grouping](result.truth)
        groups.setdefault(name, []).append(result)
    order = sorted(groups, key=lambda name: (name == UNKNOWN_GROUP, _ORDER.index(name) if name in _ORDER else -1, name))
    return {name: tuple(groups[name]) for name in order}
