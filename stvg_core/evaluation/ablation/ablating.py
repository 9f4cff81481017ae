"""`stvg ablate` as a function: models, samples and tables in; a folder with tables and plots out."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from stvg_core.evaluation.ablation.document import AblationDocument, build_ablation, dump_ablation
from stvg_core.evaluation.ablation.markdown import markdown
from stvg_core.evaluation.ablation.plots import draw_plots
from stvg_core.evaluation.ablation.results import read_results
from stvg_core.evaluation.ablation.running import run_ablation
from stvg_core.evaluation.ablation.sources import AblationSource
from stvg_core.evaluation.ablation.working import collect
from stvg_core.evaluation.runs.evaluation import ModelChoice
from stvg_core.metrics import Bootstrap
from stvg_core.outputs.report.staging import staged_files

JSON_NAME: Final = "ablation.json"
MARKDOWN_NAME: Final = "ablation.md"


def ablate(
    choices: Sequence[ModelChoice],
    source: AblationSource,
    tables: Sequence[str],
    out: Path,
    bootstrap: Bootstrap | None = None,
    *,
    workers: int = 1,
    random_seeds: int = 5,
    report_only: bool = False,
    on_count: Callable[[int], None] | None = None,
) -> AblationDocument:
    """Run every table of every model on the same samples, and write what came of it; the same call goes on.

    Args:
        choices: the models, each with the settings that its variants differ from.
        source: the samples.
        tables: names of tables; none: all.
        out: folder of the ablation.
        bootstrap: how to draw intervals; None: 2,000 resamples.
        workers: processes at once; each opens one model.
        random_seeds: random choices that are averaged in each sample.
        report_only: run nothing, and write what the folder's results say.
        on_count: told from time to time how many results there are.

    Raises:
        UsageError: there is no such table, no model, or a number is out of range.
        RunError: a file of results is none of ours.
        OutputError: the folder cannot be written to.
    """
    runs = run_ablation(
        choices,
        source,
        tables,
        out,
        workers=workers,
        random_seeds=random_seeds,
        report_only=report_only,
        on_count=on_count,
    )
    results = [{} if run.plan is None else collect(out, run.plan) for run in runs]
    commits = sorted({str(header.circumstances.get("git_commit") or "unknown") for header, _ in read_results(out)})
    document = build_ablation(runs, results, source, bootstrap or Bootstrap(2000), random_seeds, commits)
    write_ablation(document, out)
    return document


def write_ablation(document: AblationDocument, out: Path) -> None:
    """Write an ablation's files into its folder: all of them, or none. There are plots where matplotlib is installed.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with staged_files(out) as stage:
        (stage / JSON_NAME).write_text(dump_ablation(document), encoding="utf-8")
        (stage / MARKDOWN_NAME).write_text(markdown(document), encoding="utf-8")
        if find_spec("matplotlib") is not None:
            draw_plots(document, stage)
