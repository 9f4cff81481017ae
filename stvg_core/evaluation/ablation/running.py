"""Runs an ablation: models in processes of their own, each opened once for all settings of it."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stvg_core.errors import UsageError
from stvg_core.evaluation.ablation.plan import Plan
from stvg_core.evaluation.ablation.results import FOLDER
from stvg_core.evaluation.ablation.sources import AblationSource
from stvg_core.evaluation.ablation.working import Job, JobOutcome, jobs_of, plan_only, run_job
from stvg_core.evaluation.runs.evaluation import ModelChoice
from stvg_core.outputs.report.staging import check_output_folder

_LOOK_SECONDS: Final = 1.0
MOST_WORKERS: Final = 256


@dataclass(frozen=True)
class ModelRun:
    """What came of a model.

    Attributes:
        choice: which.
        plan: what it runs; None where it could not be opened.
        error: why it ended early, on one line; empty where it did not.
    """

    choice: ModelChoice
    plan: Plan | None
    error: str = ""


def run_ablation(
    choices: Sequence[ModelChoice],
    source: AblationSource,
    tables: Sequence[str],
    out: Path,
    *,
    workers: int = 1,
    random_seeds: int = 5,
    report_only: bool = False,
    on_count: Callable[[int], None] | None = None,
) -> list[ModelRun]:
    """Evaluate every variant of every model on every sample that the folder has no result for.

    A model that cannot run is one with its reason, and the others finish. After any stop the same call goes on.

    Args:
        choices: the models, each with its settings.
        source: the samples.
        tables: names of tables; none: all.
        out: folder of the ablation; results of other processes and machines may lie in it.
        workers: processes at once.
        random_seeds: random choices that are averaged in each sample.
        report_only: run nothing; the models are opened to know what their results are called.
        on_count: told from time to time how many results there are.

    Raises:
        UsageError: no model, or a number is out of range.
        OutputError: the folder cannot be written to.
    """
    if not choices:
        raise UsageError("expected at least one --model, got none")
    if not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"expected 1 to {MOST_WORKERS} workers, got {workers}")
    if random_seeds < 1:
        raise UsageError(f"expected at least 1 random choice, got {random_seeds}")
    check_output_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    task: Callable[[Job], JobOutcome] = plan_only if report_only else run_job
    jobs = jobs_of(choices, source, tables, out, 1 if report_only else workers, random_seeds)
    outcomes = _run(jobs, task, workers, out, on_count)
    return [
        _of_model(choice, [outcomes[place] for place, job in enumerate(jobs) if job.choice is choice])
        for choice in choices
    ]


def _of_model(choice: ModelChoice, outcomes: Sequence[JobOutcome]) -> ModelRun:
    plans = [outcome.plan for outcome in outcomes if outcome.plan is not None]
    errors = [outcome.error for outcome in outcomes if outcome.error]
    return ModelRun(choice, plans[0] if plans else None, errors[0] if errors else "")


def _run(
    jobs: Sequence[Job],
    task: Callable[[Job], JobOutcome],
    workers: int,
    out: Path,
    on_count: Callable[[int], None] | None,
) -> list[JobOutcome]:
    # A fresh process per job gives all memory back; forking one that holds torch's threads is not safe.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    try:
        futures: list[Future[JobOutcome]] = [pool.submit(task, job) for job in jobs]
        pending = set(futures)
        while pending:
            _, pending = wait(pending, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            if on_count is not None:
                on_count(_count(out))
    finally:
        # Ctrl-C reaches the children as well; what they have written is kept.
        pool.shutdown(wait=True, cancel_futures=True)
    return [_outcome(future) for future in futures]


def _outcome(future: "Future[JobOutcome]") -> JobOutcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return JobOutcome(None, "its process was killed, maybe for memory; run the same command again to go on")


def _count(out: Path) -> int:
    """Return how many samples stand in the files of a folder, counted by lines."""
    count = 0
    for path in (out / FOLDER).glob("*.jsonl"):
        with path.open("rb") as file:
            count += max(0, sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b"")) - 1)
    return count
