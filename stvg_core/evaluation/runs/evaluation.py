"""`stvg evaluate` as a function: a data set, a model and a folder in, a resumable run out."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from stvg_core.api.grounder import Grounder, Opening
from stvg_core.api.run_spec import RunSpec
from stvg_core.evaluation.runs.engine import EngineChoice, OpenedEngine, find_engine
from stvg_core.evaluation.runs.provenance import (
    describe_environment,
    describe_model,
    describe_run,
    peak_memory,
    reset_peak_memory,
)
from stvg_core.evaluation.runs.runner import register_samples, run_pending, stopping_cleanly
from stvg_core.evaluation.runs.scoring import sample_video_iou, summarize_run
from stvg_core.evaluation.runs.selection import Selection
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.evaluation.runs.tasks import Outcome, Task
from stvg_core.evaluation.runs.worker import Worker
from stvg_core.host.session import Session
from stvg_core.inputs.datasets.opening import Dataset
from stvg_core.inputs.tracks.cached import VideoCache
from stvg_core.metrics import ScoringProtocol
from stvg_core.metrics.files import parse_annotation
from stvg_core.outputs.report.staging import staged_files

SUMMARY_FILE: Final = "summary.json"


@dataclass(frozen=True)
class ModelChoice:
    """A run's spec, and what a run keeps besides results; it travels to other processes.

    Attributes:
        spec: everything that decides a result besides video and query.
        tracks_folder: shares tracks that depend on the video alone with other runs that name it; changes no result.
            None: not shared.
        keep_maps: store attention maps beside the results, for pages; changes no result.
    """

    spec: RunSpec
    tracks_folder: Path | None = None
    keep_maps: bool = False

    def open(self, sessions: "SessionKeeper | None" = None) -> Grounder:
        """Load the model, or reuse the one that is loaded.

        Raises:
            StvgError: what was expected, what came, and the cure.
        """
        opening = Opening.of(self.spec, None, {}, None)
        session = opening.session() if sessions is None else sessions.take(self.spec, opening.session)
        tracker = VideoCache(opening.tracker, self.tracks_folder)
        return replace(opening.grounder(session), tracker=tracker, keep_maps=self.keep_maps)


class SessionKeeper:
    """Keeps the last model loaded, for consecutive runs that differ only in settings."""

    def __init__(self) -> None:
        """Start without a model."""
        self._loaded_as: object = None
        self._session: Session | None = None

    def take(self, spec: RunSpec, load: Callable[[], Session]) -> Session:
        """Return the loaded model if it was loaded in the same way, else release it and load another.

        Raises:
            StvgError: it cannot be loaded.
        """
        load_key = (spec.model, spec.revision, spec.load, spec.backend, spec.extensions)
        if self._session is None or self._loaded_as != load_key:
            # Two models may not fit into memory.
            self._session = None
            self._session = load()
            self._loaded_as = load_key
        return self._session


@dataclass(frozen=True)
class Step:
    """Progress after a sample.

    Attributes:
        done: number of samples with a result, including earlier sessions.
        failed: number of those that failed.
        total: number of samples of the run.
        mean_video_iou: mean vIoU of this session, in 0..1; None before the first sample with ground truth.
    """

    done: int
    failed: int
    total: int
    mean_video_iou: float | None


def evaluate(
    dataset: Dataset,
    run: Path,
    choice: ModelChoice,
    protocol: ScoringProtocol,
    *,
    selection: Selection | None = None,
    corrections: bool = True,
    retry_failed: bool = False,
    engine: EngineChoice | None = None,
    sessions: SessionKeeper | None = None,
    on_stage: Callable[[str], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> dict[str, Any]:
    """Ground every sample of a data set that has no result yet, and return the summary of the run.

    Args:
        dataset: the split.
        run: folder of the run; created, or resumed if it exists.
        choice: the model and everything else that decides results.
        protocol: scoring protocol; `score_run` can apply another one later.
        selection: which samples; None: all.
        corrections: leave out samples with published defects, and cut boxes at the frame's edge.
        retry_failed: retry samples that failed in an earlier session.
        engine: where the method runs; None: in this process.
        sessions: keeps the model loaded between runs (local engine); None: it is loaded.
        on_stage: called with the name of each stage: load, samples, evaluate.
        on_step: called after every sample.

    Returns:
        What `summarize_run` returns; also written to summary.json in the folder.

    Raises:
        RunError: the run has other settings, another model or other samples, or was stopped.
        OutputError: the folder cannot be written to.
        StvgError: the model cannot be loaded, or the data set cannot be read. Errors of a sample are its result.
    """
    report_stage, options = on_stage or (lambda _: None), engine or EngineChoice()
    opener = find_engine(options.name)
    with stopping_cleanly(), RunStore(run) as store:
        report_stage("load")
        with opener.open(options, choice, dataset.video_root, sessions) as opened:
            store.begin_configuration(describe_run(dataset, opened.model, corrections=corrections))
            report_stage("samples")
            register_samples(
                store, dataset, selection or Selection(), corrections=corrections, reread_unusable=retry_failed
            )
            store.begin_session(opened.environment)
            report_stage("evaluate")
            elsewhere = run_pending(
                store,
                opened.engine,
                retry=retry_failed,
                on_outcome=_step_reporter(store, protocol, on_step) if on_step else None,
            )
            if peak := opened.peak_memory():
                store.update_session(**peak)
            warnings = opened.warnings()
    document = summarize_run(run, protocol) | {"elsewhere": elsewhere}
    document["warnings"] += warnings
    with staged_files(run) as stage:
        (stage / SUMMARY_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


class LocalEngine:
    """The engine `local`: one model in this process."""

    @contextmanager
    def open(
        self, options: EngineChoice, choice: ModelChoice, video_root: Path, sessions: SessionKeeper | None = None
    ) -> Iterator[OpenedEngine]:
        """Load the model, or reuse the one that `sessions` keeps."""
        reset_peak_memory()
        grounder = choice.open(sessions)
        environment = describe_environment(grounder) | {"engine": {"name": "local", "workers": 1, "nodes": 1}}
        with Worker(grounder, video_root) as worker:
            yield OpenedEngine(worker, describe_model(grounder), environment, peak_memory=peak_memory)


def _step_reporter(
    store: RunStore, protocol: ScoringProtocol, on_step: Callable[[Step], None]
) -> Callable[[Outcome, Task], None]:
    """Return a callback that calls `on_step` with counts and the mean vIoU of this session."""
    ious: list[float] = []

    def report(outcome: Outcome, task: Task) -> None:
        annotation = store.annotation(task.sample_id)
        if annotation is not None:
            ious.append(sample_video_iou(outcome, task, parse_annotation(annotation), protocol))
        counts = store.counts()
        done = counts["ok"] + counts["failed"]
        on_step(Step(done, counts["failed"], done + counts["pending"], sum(ious) / len(ious) if ious else None))

    return report
