"""Runs an engine over the pending samples of a store, and fills the store from a data set."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import FrameType

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import RunError
from stvg_core.evaluation.runs.engine import Engine
from stvg_core.evaluation.runs.selection import Selection, groups_of_shard
from stvg_core.evaluation.runs.store import RunStore, StoredSample
from stvg_core.evaluation.runs.tasks import Outcome, Task, task_of
from stvg_core.inputs.datasets.export import annotation
from stvg_core.inputs.datasets.opening import Dataset
from stvg_core.inputs.datasets.problems import Problem

_REGISTERED = "dataset_samples"


def register_samples(
    store: RunStore, dataset: Dataset, selection: Selection, *, corrections: bool, reread_unusable: bool = False
) -> None:
    """Add the samples of a data set to a run: tasks for workers, ground truth for the score, problems of annotations.

    Does nothing if the run has them; `reread_unusable` reads samples with unusable annotations again, in case they were
    corrected. Memory does not grow with the data set, except for sample ids.

    Raises:
        DatasetError: the annotation file cannot be read.
        RunError: the selection differs from that of the run, or is empty.
    """
    values = store.read_values()
    begun = Selection.read(values) if _REGISTERED in values else None
    counts = Counter[bool]()

    def samples() -> Iterator[StoredSample]:
        for sample in _stored_samples(dataset, selection, corrections=corrections):
            counts[sample is not None] += 1
            if sample is not None:
                yield sample

    if begun is not None:
        selection.check_extends(begun, store.folder)
    if begun != selection:
        store.add_samples(samples())
        if not counts[True]:
            raise RunError(f"expected samples in {dataset.file_name}, got none; check --split and --limit")
        if selection.shard is not None:
            sizes = store.group_sizes()
            store.delete_groups(sizes.keys() - set(groups_of_shard(sizes.items(), selection.shard)))
        store.write_values({**selection.values(), _REGISTERED: counts[True], "left_out": counts[False]})
    if reread_unusable:
        store.replace_unusable(samples())


def run_pending(
    store: RunStore,
    engine: Engine,
    *,
    retry: bool = False,
    on_outcome: Callable[[Outcome, Task], None] | None = None,
) -> int:
    """Submit pending samples to an engine and record their outcomes, until none is left to claim.

    Samples that failed in an earlier session are pending too if `retry` is set.

    Returns:
        How many pending samples other processes are working on.

    Raises:
        OutputError: a result cannot be recorded.
        RunError: the engine cannot continue.
    """
    claimed: dict[str, Task] = {}
    try:
        while True:
            while engine.waiting_groups < engine.capacity and (tasks := store.claim_group(retry=retry)):
                claimed |= {task.sample_id: task for task in tasks}
                engine.submit(tasks)
            if not engine.waiting_groups:
                elsewhere = store.free_dead_claims()
                # Claims of a process that died meanwhile are pending again.
                if store.count_pending(retry=retry) == 0:
                    break
                continue
            for outcome in engine.outcomes():
                store.record(outcome)
                task = claimed.pop(outcome.sample_id)
                if on_outcome is not None:
                    on_outcome(outcome, task)
    finally:
        store.update_session(busy_seconds=engine.busy_seconds, waited_seconds=engine.waited_seconds)
    return elsewhere


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Stop at SIGTERM as at Ctrl-C: claims are freed, and one line says how to resume.

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
    """Yield samples in the order of the data set; None for a sample that is left out for a published defect."""
    seen: set[str] = set()
    for position, entry in enumerate(islice(dataset.entries(corrections=corrections), selection.limit)):
        sample = entry.sample
        if sample is not None and not entry.broken:
            seen.add(sample.sample_id)
            yield StoredSample(sample.sample_id, position, task_of(sample), annotation=annotation(sample))
        elif entry.left_out:
            yield None
        else:
            # The id may be missing, or that of another sample.
            name = entry.sample_id or f"{entry.file}:{entry.key}"
            name = name if name not in seen else f"{name} ({entry.key})"
            seen.add(name)
            yield StoredSample(name, position, None, _problem_text(entry.problems))


def _problem_text(problems: tuple[Problem, ...]) -> str:
    errors = [problem for problem in problems if problem.severity == "error"]
    return one_line("; ".join(f"{problem.kind}: {problem.message}" for problem in errors), 500)
