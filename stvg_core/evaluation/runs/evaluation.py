"""`stvg evaluate` as a function: a data set, a model and a folder in; a run that can be gone on with out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stvg_core.api.grounder import Grounder, Opening
from stvg_core.api.run_spec import RunSpec
from stvg_core.evaluation.runs.engine import EngineChoice, OpenedEngine
from stvg_core.evaluation.runs.provenance import (
    describe_circumstances,
    describe_model,
    describe_run,
    peak_memory,
    reset_peak_memory,
)
from stvg_core.evaluation.runs.runner import (
    Progress,
    begin_configuration,
    register_again,
    register_samples,
    run_pending,
    stopping_cleanly,
)
from stvg_core.evaluation.runs.scoring import RunningMean
from stvg_core.evaluation.runs.selection import Selection
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.evaluation.runs.summary import summarize_run, write_summary
from stvg_core.evaluation.runs.tasks import Outcome, Task
from stvg_core.evaluation.runs.worker import Worker
from stvg_core.host.session import Session
from stvg_core.inputs.datasets.opening import Dataset
from stvg_core.inputs.tracks.cached import VideoCache
from stvg_core.metrics import Protocol
from stvg_core.metrics.files import parse_annotation
from stvg_core.plugin.model_reference import LoadOptions


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

    @property
    def options(self) -> LoadOptions:
        """How the model is loaded."""
        return self.spec.load

    def open(self, sessions: "SessionKeeper | None" = None) -> Grounder:
        """Load the model, or reuse the one that is loaded.

        Args:
            sessions: holds the model of the run before; None: it is loaded.

        Raises:
            StvgError: what was expected, what came, and the cure.
        """
        opening = Opening.of(self.spec, None, {}, None)
        session = opening.session() if sessions is None else sessions.take(self.spec, opening.session)
        tracker = VideoCache(opening.tracker, self.tracks_folder)
        return replace(opening.grounder(session), tracker=tracker, keep_maps=self.keep_maps)


class SessionKeeper:
    """Holds the last opened model, for runs after one another that differ in settings alone."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._loaded_as: object = None
        self._session: Session | None = None

    def take(self, spec: RunSpec, load: Callable[[], Session]) -> Session:
        """Return the model that is held where it was loaded in the same way, else load it and let the other go.

        Raises:
            StvgError: it cannot be loaded.
        """
        wanted = (spec.model, spec.revision, spec.load, spec.backend, spec.extensions)
        if self._session is None or self._loaded_as != wanted:
            # Two models at once may not fit.
            self._session = None
            self._session = load()
            self._loaded_as = wanted
        return self._session


@dataclass(frozen=True)
class Step:
    """What a progress display may show after a sample.

    Attributes:
        done: samples with a result, earlier sessions included.
        failed: of those, the ones that failed.
        total: samples of the run.
        mean_video_iou: over the samples of this session, in 0..1; None before the first.
    """

    done: int
    failed: int
    total: int
    mean_video_iou: float | None


def evaluate(
    dataset: Dataset,
    run: Path,
    choice: ModelChoice,
    protocol: Protocol,
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
        run: folder of the run; made where it is missing, gone on with where it is there.
        choice: the model and everything else that decides results.
        protocol: whose rules the score follows; another one can be asked later of `score_run`.
        selection: which samples; None: all.
        corrections: leave known defects out, and cut boxes at the picture's edge.
        retry_failed: samples that failed in an earlier session are tried again.
        engine: where the method runs; None: in this process.
        sessions: holds the model between runs (local engine); None: it is loaded.
        on_stage: told the name of each stage before samples are worked on.
        on_step: told after every sample.

    Returns:
        What `summarize_run` returns; it stands in summary.json of the folder as well.

    Raises:
        RunError: the run was begun with other settings, another model or other samples; or it was stopped.
        OutputError: the folder cannot be written to.
        StvgError: the model cannot be loaded, the data set not be read. What is wrong with a sample is a result.
    """
    tell = on_stage or _nothing
    selection = selection or Selection()
    with stopping_cleanly(), RunStore(run) as store:
        tell("load")
        with open_engine(engine or EngineChoice(), choice, dataset.video_root, sessions) as opened:
            begin_configuration(store, describe_run(dataset, opened.model, corrections=corrections))
            tell("samples")
            register_samples(store, dataset, selection, corrections=corrections)
            if retry_failed:
                register_again(store, dataset, selection, corrections=corrections)
            store.begin_session(opened.circumstances)
            tell("evaluate")
            progress = run_pending(
                store,
                opened.engine,
                retry=retry_failed,
                on_outcome=_Display(store, protocol, on_step) if on_step else None,
            )
            store.add_session_memory(**opened.peak_memory())
            warnings = opened.warnings()
    document = summarize_run(run, protocol) | {"elsewhere": progress.elsewhere}
    document["warnings"] += warnings
    write_summary(run, document)
    return document


@contextmanager
def open_engine(
    engine: EngineChoice, choice: ModelChoice, video_root: Path, sessions: SessionKeeper | None = None
) -> Iterator[OpenedEngine]:
    """Load the model where the method is to run; leaving it lets go of everything.

    Args:
        engine: which one.
        choice: the model and everything else that decides results.
        video_root: folder that the tasks' videos are relative to.
        sessions: holds the model between runs (local engine); None: it is loaded.

    Raises:
        StvgError: the model cannot be loaded, or there is no such place.
    """
    if engine.name == "ray":
        # The one module that imports Ray.
        from stvg_core.evaluation.runs.ray_engine import open_ray_engine

        with open_ray_engine(engine, choice, video_root) as opened:
            yield opened
        return
    reset_peak_memory()
    grounder = choice.open(sessions)
    circumstances = describe_circumstances(grounder) | {"engine": {"name": "local", "workers": 1, "nodes": 1}}
    with Worker(grounder, video_root) as worker:
        yield OpenedEngine(worker, describe_model(grounder), circumstances, peak_memory=peak_memory)


def _nothing(_stage: str) -> None:
    pass


class _Display:
    """Counts outcomes for a progress display."""

    def __init__(self, store: RunStore, protocol: Protocol, on_step: Callable[[Step], None]) -> None:
        self._store = store
        self._mean = RunningMean(protocol)
        self._on_step = on_step
        self._progress = Progress(**store.counts())

    def __call__(self, outcome: Outcome, task: Task) -> None:
        truth = self._store.annotation(task.sample_id)
        if truth is not None:
            parsed = parse_annotation(truth)
            self._mean.add(outcome, task, parsed)
        self._progress = Progress(**self._store.counts())
        done = self._progress.ok + self._progress.failed
        self._on_step(Step(done, self._progress.failed, done + self._progress.pending, self._mean.mean))
