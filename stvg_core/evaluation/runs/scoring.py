"""The score and the summary of a run; needs no model and no video."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from stvg_core.errors import RunError, ScoreError, TrackError
from stvg_core.evaluation.runs.provenance import differences
from stvg_core.evaluation.runs.store import RunStore, StoredResult, StoredSession
from stvg_core.evaluation.runs.tasks import Outcome, Task, prediction_of
from stvg_core.metrics import Bootstrap, ScoringProtocol
from stvg_core.metrics.files import parse_annotation, parse_prediction
from stvg_core.metrics.sample_tube import SampleTruth, SampleTube
from stvg_core.metrics.score_report import ScoreReport, check_groupings, score_tubes
from stvg_core.metrics.summary import score_samples

_DIFFERENT_IN_EVERY_SESSION: Final = ("process", "command")


def score_run(
    folder: Path, protocol: ScoringProtocol, groupings: Sequence[str] = (), bootstrap: Bootstrap | None = None
) -> ScoreReport:
    """Score the results that a run has so far.

    A sample that failed counts as zero in every protocol. A sample without a result is missing. Samples without
    ground truth are left out.

    Args:
        folder: of the run.
        protocol: scoring protocol.
        groupings: names of GROUPINGS to break the score down by.
        bootstrap: of confidence intervals; None: no intervals.

    Raises:
        RunError: there is no run, it cannot be read, or none of its samples has ground truth.
        UsageError: a grouping is unknown.
    """
    check_groupings(groupings)
    with RunStore(folder, write=False) as store:
        truths: dict[str, SampleTruth | ScoreError] = {}
        tasks: dict[str, Task] = {}
        for sample in store.samples():
            if sample.task is None:
                truths[sample.sample_id] = ScoreError(sample.problem)
            else:
                tasks[sample.sample_id] = sample.task
                if sample.annotation is not None:
                    truths[sample.sample_id] = parse_annotation(sample.annotation)
        if not truths:
            raise RunError(f"expected a run with ground truth in {folder}, got none; stvg export has the predictions")
        tubes = {
            result.sample_id: _tube(result, tasks[result.sample_id], protocol)
            for result in store.results()
            if result.sample_id in truths
        }
    return score_tubes(tubes, truths, protocol, groupings, bootstrap)


def predicted_tube(
    document: Mapping[str, Any], track: Mapping[str, Any], task: Task, protocol: ScoringProtocol
) -> SampleTube | ScoreError:
    """Return a grounding in the frames of its task, with the boxes that a protocol scores.

    If the tube cannot be scored, the error is returned.
    """
    try:
        return parse_prediction(prediction_of(document, track, task, outside_span=looks_outside(protocol)))
    except (RunError, TrackError) as error:
        return ScoreError(str(error))


def looks_outside(protocol: ScoringProtocol) -> bool:
    """Return whether a protocol scores boxes outside the predicted span.

    The organisers' files have none, and their code takes such a box for a part of the tube.
    """
    return protocol.rules.common_frames == "spans"


def _tube(result: StoredResult, task: Task, protocol: ScoringProtocol) -> SampleTube | ScoreError:
    if result.document is None or result.track is None:
        return ScoreError(result.failure.message if result.failure else "no document")
    return predicted_tube(result.document, result.track, task, protocol)


def sample_video_iou(outcome: Outcome, task: Task, truth: SampleTruth | ScoreError, protocol: ScoringProtocol) -> float:
    """Return the vIoU of one sample, in 0..1; 0 if it failed."""
    tube: SampleTube | ScoreError = ScoreError("failed")
    if outcome.document is not None and outcome.track is not None:
        tube = predicted_tube(json.loads(outcome.document), json.loads(outcome.track), task, protocol)
    (result,) = score_samples({task.sample_id: tube}, {task.sample_id: truth}, protocol.rules)
    return result.scores.video_iou


def summarize_run(folder: Path, protocol: ScoringProtocol) -> dict[str, Any]:
    """Return the summary of a run, as `stvg evaluate --json` prints it (docs/evaluate.md).

    Raises:
        RunError: there is no run, or it cannot be read.
    """
    with RunStore(folder, write=False) as store:
        values = store.read_values()
        failures: Counter[str] = Counter()
        examples: dict[str, dict[str, str]] = {}
        seconds = []
        for sample_id, problem in store.unusable():
            failures["annotation"] += 1
            examples.setdefault("annotation", {"sample": sample_id, "error": problem})
        # An unusable annotation counts as failed.
        has_truth = bool(failures) or store.has_annotations()
        for sample_id, kind, error, taken in store.outcomes():
            seconds.append(taken)
            if kind is not None:
                failures[kind] += 1
                examples.setdefault(kind, {"sample": sample_id, "error": error or ""})
        sessions = store.sessions()
        document: dict[str, Any] = {
            "run": str(folder),
            "configuration_hash": store.configuration_hash,
            "configuration": store.configuration(),
            "samples": {**store.counts(), "left_out": values.get("left_out", 0)},
            "selection": {name: values.get(name) for name in ("limit", "shard")},
        }
    busy = sum(session.busy_seconds for session in sessions)
    waited = sum(session.waited_seconds for session in sessions)
    document |= {
        "score": None,
        "failures": [{"kind": kind, "count": count, **examples[kind]} for kind, count in failures.most_common()],
        "seconds_per_sample": {"median": median(seconds), "mean": sum(seconds) / len(seconds)} if seconds else None,
        "device_wait_share": waited / (busy + waited) if busy + waited else None,
        "sessions": [_session_fields(session) for session in sessions],
        "warnings": _changes([session.environment for session in sessions]),
    }
    if has_truth:
        report = score_run(folder, protocol)
        document["score"] = {
            "protocol": protocol.name,
            "summary": report.score.summary,
            "counts": report.score.counts,
        }
    return document


def _session_fields(session: StoredSession) -> dict[str, Any]:
    fields = dict(vars(session))
    environment = fields.pop("environment")
    return {**fields, **environment}


def _changes(environments: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for everything that differs between sessions."""
    changes: dict[str, None] = {}
    for later in environments[1:]:
        for name, first, second in differences(environments[0], later):
            if name not in _DIFFERENT_IN_EVERY_SESSION:
                changes[f"{name} was {json.dumps(first)} in one session and {json.dumps(second)} in another"] = None
    return list(changes)
