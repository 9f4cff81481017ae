"""The score of a run: its tubes against the truth that it keeps; needs no model and no video."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stvg_core.errors import RunError, ScoreError, TrackError
from stvg_core.evaluation.runs.rows import StoredResult
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.evaluation.runs.tasks import Outcome, Task, prediction_of
from stvg_core.metrics import Bootstrap, ScoringProtocol
from stvg_core.metrics.files import parse_annotation, parse_prediction
from stvg_core.metrics.sample_tube import SampleTruth, SampleTube
from stvg_core.metrics.score_report import ScoreReport, check_groupings, score_tubes
from stvg_core.metrics.summary import score_samples


def score_run(
    folder: Path, protocol: ScoringProtocol, groupings: Sequence[str] = (), bootstrap: Bootstrap | None = None
) -> ScoreReport:
    """Score what a run has found so far.

    A sample that failed counts as zero, by whatever protocol: its failure stands in the place of a prediction.
    A sample without a result yet is missing. Samples without a published tube are left out.

    Args:
        folder: the run's.
        protocol: whose rules to apply.
        groupings: names of GROUPINGS to break the score down by.
        bootstrap: how to draw confidence intervals; None for none.

    Raises:
        RunError: there is no run, it cannot be read, or none of its samples has a published tube.
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
            raise RunError(f"expected samples with a published tube in {folder}, got none; runs export has the tubes")
        tubes = {
            result.sample_id: _tube(result, tasks[result.sample_id], protocol)
            for result in store.results()
            if result.sample_id in truths
        }
    return score_tubes(tubes, truths, protocol, groupings, bootstrap)


def predicted_tube(
    document: Mapping[str, Any], track: Mapping[str, Any], task: Task, protocol: ScoringProtocol
) -> SampleTube | ScoreError:
    """Return a grounding in the frames that its task counts and with the boxes that a protocol looks at.

    Where no tube can be scored, what is wrong is returned.
    """
    try:
        return parse_prediction(prediction_of(document, track, task, outside_span=looks_outside(protocol)))
    except (RunError, TrackError) as error:
        return ScoreError(str(error))


def looks_outside(protocol: ScoringProtocol) -> bool:
    """Return whether a protocol is given boxes outside the predicted span.

    The organisers' files have none, and their code takes such a box for a part of the tube.
    """
    return protocol.rules.common_frames == "spans"


def _tube(result: StoredResult, task: Task, protocol: ScoringProtocol) -> SampleTube | ScoreError:
    if result.document is None or result.track is None:
        return ScoreError(result.failure.message if result.failure else "no document")
    return predicted_tube(result.document, result.track, task, protocol)


class RunningMean:
    """The mean vIoU over the samples of this session, as they come in; failures count as zero."""

    def __init__(self, protocol: ScoringProtocol) -> None:
        """Start with no sample."""
        self._protocol = protocol
        self._sum = 0.0
        self._count = 0

    @property
    def mean(self) -> float | None:
        """The mean so far, in 0..1; None before the first sample with a truth."""
        return self._sum / self._count if self._count else None

    def add(self, outcome: Outcome, task: Task, truth: SampleTruth | ScoreError) -> None:
        """Take in what came of a sample."""
        tube: SampleTube | ScoreError
        if outcome.document is None or outcome.track is None:
            tube = ScoreError("failed")
        else:
            tube = predicted_tube(json.loads(outcome.document), json.loads(outcome.track), task, self._protocol)
        (result,) = score_samples({task.sample_id: tube}, {task.sample_id: truth}, self._protocol.rules)
        self._sum += result.scores.video_iou
        self._count += 1
