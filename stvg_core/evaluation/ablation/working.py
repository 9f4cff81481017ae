"""One process of an ablation: a model, opened once, and its part of the samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import StvgError
from stvg_core.evaluation.ablation.evaluating import EXTRAS, OWN, Evaluator, Measured
from stvg_core.evaluation.ablation.plan import Plan, make_plan
from stvg_core.evaluation.ablation.results import Header, ResultWriter, SampleLine, read_results
from stvg_core.evaluation.ablation.sources import AblationSource
from stvg_core.evaluation.ablation.variants import Variant
from stvg_core.evaluation.runs.evaluation import ModelChoice
from stvg_core.evaluation.runs.provenance import describe_environment
from stvg_core.evaluation.runs.tasks import Failure

_LONGEST_REASON = 1000


@dataclass(frozen=True)
class Job:
    """One model's part of the samples; it travels to a process of its own.

    Attributes:
        choice: the model and what decides its results.
        source: where samples come from.
        tables: names; none: all.
        out: folder of the ablation.
        shard: this part, from 0.
        shards: of how many.
        random_seeds: random choices that are averaged in each sample.
        threads: of torch; None: as many as it likes.
    """

    choice: ModelChoice
    source: AblationSource
    tables: tuple[str, ...]
    out: Path
    shard: int
    shards: int
    random_seeds: int
    threads: int | None


@dataclass(frozen=True)
class JobOutcome:
    """What came of a job.

    Attributes:
        plan: what its model runs; None where the model could not be opened.
        error: why it ended early, on one line; empty where it did not.
    """

    plan: Plan | None
    error: str = ""


def run_job(job: Job) -> JobOutcome:
    """Evaluate the samples of a part that no file of the folder has yet."""
    import torch

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    plan = None
    try:
        grounder = job.choice.open()
        plan = make_plan(grounder, job.source, job.tables, job.random_seeds)
        _evaluate(job, plan, Evaluator(grounder, job.source.protocol, job.random_seeds))
    except StvgError as error:
        return JobOutcome(plan, one_line(str(error), _LONGEST_REASON))
    return JobOutcome(plan)


def plan_only(job: Job) -> JobOutcome:
    """Open the model and return its plan; nothing is run."""
    try:
        return JobOutcome(make_plan(job.choice.open(), job.source, job.tables, job.random_seeds))
    except StvgError as error:
        return JobOutcome(None, one_line(str(error), _LONGEST_REASON))


def collect(out: Path, plan: Plan) -> dict[str, SampleLine]:
    """Return what is known of each sample under a plan, by sample; cells of several files are put together.

    Of two results of one cell the first file's stands: the same settings give the same result. A cell that was run
    for a table without controls has none, and counts as missing where they are wanted.
    """
    found: dict[str, SampleLine] = {}
    key = Header(plan.configuration, (), {}).key
    for header, lines in read_results(out):
        if header.key != key:
            continue
        for line in lines:
            known = found.get(line.sample_id)
            cells = {
                name: cell
                for name, cell in line.cells.items()
                if name in plan.variants and _has_all(cell, plan.variants[name])
            }
            if known is not None:
                cells |= known.cells
            found[line.sample_id] = SampleLine(line.sample_id, line.groups, cells)
    return found


def _has_all(cell: Measured | Failure, variant: Variant) -> bool:
    if isinstance(cell, Failure):
        return True
    has_controls = any(name != OWN for name in cell.scores)
    has_consistency = cell.extras[EXTRAS.index("consistency")] is not None
    return (has_controls or not variant.controls) and (has_consistency or not variant.consistency)


def _evaluate(job: Job, plan: Plan, evaluator: Evaluator) -> None:
    known = collect(job.out, plan)
    circumstances: dict[str, Any] = describe_environment(evaluator.grounder)
    header = Header(plan.configuration, tuple(plan.variants), circumstances)
    writers: dict[tuple[str, ...], ResultWriter] = {}
    try:
        for place, sample in enumerate(job.source.samples()):
            if place % job.shards != job.shard:
                continue
            line = known.get(sample.task.sample_id)
            missing = tuple(name for name in plan.variants if line is None or name not in line.cells)
            if not missing:
                continue
            if missing not in writers:
                writers[missing] = ResultWriter(job.out, Header(header.configuration, missing, circumstances))
            cells = evaluator.evaluate(sample, [plan.variants[name] for name in missing])
            writers[missing].add(
                SampleLine(sample.task.sample_id, sample.groups, dict(zip(missing, cells, strict=True)))
            )
    finally:
        for writer in writers.values():
            writer.__exit__(None, None, None)


def jobs_of(
    choices: Sequence[ModelChoice],
    source: AblationSource,
    tables: Sequence[str],
    out: Path,
    workers: int,
    random_seeds: int,
) -> list[Job]:
    """Return the jobs of an ablation: every model in as many parts as there are workers."""
    threads = 1 if workers > 1 else None
    return [
        Job(choice, source, tuple(tables), out, shard, workers, random_seeds, threads)
        for choice in choices
        for shard in range(workers)
    ]
