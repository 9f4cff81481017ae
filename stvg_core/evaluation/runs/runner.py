"""A benchmark run: samples of a data set go through the method, results into a store, until none is left."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import FrameType
from typing import Any

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import RunError
from stvg_core.evaluation.runs.engine import Engine
from stvg_core.evaluation.runs.provenance import check_same, configuration_hash
from stvg_core.evaluation.runs.rows import StoredSample
from stvg_core.evaluation.runs.selection import Selection, groups_of_shard
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.evaluation.runs.tasks import Outcome, Task, task_of
from stvg_core.inputs.datasets.export import annotation
from stvg_core.inputs.datasets.opening import Dataset
from stvg_core.inputs.datasets.problems import Problem

_REGISTERED = "dataset_samples"


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        ok: samples with a tube, earlier sessions included.
        failed: samples that failed, unusable annotations included.
        pending: samples without a result.
        elsewhere: of the pending ones, those that other processes worked on when last looked at.
    """

    ok: int
    failed: int
    pending: int
    elsewhere: int = 0


def register_samples(store: RunStore, dataset: Dataset, selection: Selection, *, corrections: bool) -> None:
    """Read a data set into a run's store: tasks for workers, truth for the score, problems where there are any.

    A run that has them already is not read again. Memory does not grow with the data set, but for its ids.

    Args:
        store: of the run.
        dataset: the split.
        selection: which of its samples.
        corrections: leave known defects out, and cut boxes at the picture's edge.

    Raises:
        DatasetError: the annotation file cannot be read.
        RunError: the selection is another one than the run was begun with, or selects nothing.
    """
    values = store.read_values()
    begun = Selection.read(values) if _REGISTERED in values else None
    if begun is not None and selection.extend(begun, store.folder) == begun:
        return
    read = left_out = 0

    def samples() -> Iterator[StoredSample]:
        nonlocal read, left_out
        for sample in _stored_samples(dataset, selection, corrections=corrections):
            read += sample is not None
            left_out += sample is None
            if sample is not None:
                yield sample

    store.add_samples(samples())
    if not read:
        raise RunError(f"expected samples in {dataset.file_name}, got none; check --split and --limit")
    if selection.shard is not None:
        store.keep_groups(groups_of_shard(store.group_sizes().items(), selection.shard))
    store.write_values({**selection.values(), _REGISTERED: read, "left_out": left_out})


def register_again(store: RunStore, dataset: Dataset, selection: Selection, *, corrections: bool) -> None:
    """Read again what could not be used, in case that it was mended.

    Raises:
        DatasetError: the annotation file cannot be read.
    """
    found = _stored_samples(dataset, selection, corrections=corrections)
    store.replace_unusable(sample for sample in found if sample is not None)


def begin_configuration(store: RunStore, configuration: dict[str, Any]) -> None:
    """Say what decides the results of a run, or check that it is what the run was begun with.

    Raises:
        RunError: it is something else; the message tells what and how.
    """
    known = store.configuration()
    if known is None:
        store.add_configuration(configuration_hash(configuration), configuration)
    else:
        check_same(known, configuration, "the run", "this command")


def run_pending(
    store: RunStore,
    engine: Engine,
    *,
    retry: bool = False,
    on_outcome: Callable[[Outcome, Task], None] | None = None,
) -> Progress:
    """Give pending samples to an engine and record what comes of them, until none is left to claim.

    Args:
        store: of the run, with a session begun.
        engine: where the method runs.
        retry: samples that failed in an earlier session are pending as well.
        on_outcome: told of every outcome after it was recorded.

    Returns:
        How far the run is at the end.

    Raises:
        OutputError: a result cannot be recorded.
        RunError: the engine cannot go on.
    """
    claimed: dict[str, Task] = {}
    try:
        while True:
            while engine.waiting_groups < engine.capacity:
                tasks = store.claim_group(retry=retry)
                if not tasks:
                    break
                claimed |= {task.sample_id: task for task in tasks}
                engine.submit(tasks)
            if not engine.waiting_groups:
                elsewhere = store.free_dead_claims()
                # A process that died since has left work behind.
                if store.count_pending(retry=retry) == 0:
                    break
                continue
            for outcome in engine.outcomes():
                store.record(outcome)
                task = claimed.pop(outcome.sample_id)
                if on_outcome is not None:
                    on_outcome(outcome, task)
    finally:
        store.add_session_seconds(engine.busy_seconds, engine.waited_seconds)
    return Progress(**store.counts(), elsewhere=elsewhere)


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: claims are given back, and one line says how to go on.

    Raises:
        RunError: the run was stopped.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main else None
    try:
        yield
    except KeyboardInterrupt as error:
        raise RunError("the run was stopped; run the same command to go on") from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _stored_samples(dataset: Dataset, selection: Selection, *, corrections: bool) -> Iterator[StoredSample | None]:
    """Yield samples in the data set's order; None for one that is left out as a known defect."""
    seen: set[str] = set()
    for position, entry in enumerate(islice(dataset.entries(corrections=corrections), selection.limit)):
        sample = entry.sample
        if sample is not None and not entry.broken:
            seen.add(sample.sample_id)
            yield StoredSample(sample.sample_id, position, task_of(sample), annotation=annotation(sample))
        elif entry.left_out:
            yield None
        else:
            # Its id may be missing, or another sample's.
            name = entry.sample_id or f"{entry.file}:{entry.key}"
            name = name if name not in seen else f"{name} ({entry.key})"
            seen.add(name)
            yield StoredSample(name, position, None, _told(entry.problems))


def _told(problems: tuple[Problem, ...]) -> str:
    errors = [found for found in problems if found.severity == "error"]
    return one_line("; ".join(f"{found.kind}: {found.message}" for found in errors), 500)
