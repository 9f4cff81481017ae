"""`stvg compare` as a function: finished runs, or models and samples in; a folder with tables, plots and pages out."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import RunError, UsageError
from stvg_core.evaluation.comparison.document import ComparisonDocument, build_comparison, dump_comparison
from stvg_core.evaluation.comparison.markdown import csv_table, markdown
from stvg_core.evaluation.comparison.pages import PageChoice, write_pages
from stvg_core.evaluation.comparison.plots import draw_plots
from stvg_core.evaluation.comparison.rows import ComparisonRow, Source, checked, named_rows, run_names
from stvg_core.evaluation.comparison.running import RUNS, evaluate_rows, existing_run, read_run
from stvg_core.evaluation.comparison.table_parts import Table, TableRow
from stvg_core.evaluation.runs.runner import stopping_cleanly
from stvg_core.metrics import Bootstrap, ScoringProtocol
from stvg_core.outputs.report.staging import check_output_folder, staged_files

COMPARISON: Final = "comparison"


def compare(
    runs: Sequence[ComparisonRow | RunSpec] | Sequence[Path],
    source: Source | None,
    out: Path,
    protocol: ScoringProtocol,
    bootstrap: Bootstrap | None = None,
    *,
    retry_failed: bool = False,
    report_only: bool = False,
    pages: PageChoice | None = None,
    tables: Sequence[Table] = (),
    controls: bool = False,
    files: str = COMPARISON,
    on_row: Callable[[ComparisonRow, int], None] | None = None,
    on_count: Callable[[int, int], None] | None = None,
) -> ComparisonDocument:
    """Compare finished runs, or models and settings, which are evaluated first; the same call resumes after any stop.

    Rows are evaluated as `stvg evaluate` does, in child processes, into `runs/` of the folder. A row that cannot run
    is a row with its reason, and the others finish. Tables are written after each model's rows, so that a long
    comparison can be read while it runs.

    Args:
        runs: folders of finished runs, or models and settings; the first is what the others are compared with.
        source: the samples; None: finished runs are compared on those that they have.
        out: folder of the comparison.
        protocol: whose rules to apply.
        bootstrap: how to draw intervals; None: 2,000 resamples.
        retry_failed: evaluate failed samples again.
        report_only: evaluate nothing; report on the runs that exist.
        pages: what index.html holds; None: the first 500 samples, with videos and attention maps.
        tables: rows that are read together, by the names of rows.
        controls: add a table of all rows with controls beside each.
        files: name of the files.
        on_row: called with every row and its index as it begins.
        on_count: called with the samples done and the samples of the row.

    Raises:
        UsageError: rows are not unique, or have no samples to be evaluated on.
        OutputError: the folder cannot be written to.
        RunError: a finished run cannot be read; or it was stopped.

    Examples:
        >>> from stvg_core.metrics import find_protocol
        >>> compare([Path("no-such-run")], None, Path("comparison"), find_protocol("stcat"))
        Traceback (most recent call last):
        ...
        stvg_core.errors.RunError: expected a run ...
    """
    check_output_folder(out)
    bootstrap, pages = bootstrap or Bootstrap(2000), pages or PageChoice()
    folders = [run for run in runs if isinstance(run, Path)]
    if folders:
        if len(folders) != len(runs):
            raise UsageError("expected finished runs, or models and settings; got both")
        done = [read_run(run, protocol, name) for run, name in zip(folders, run_names(folders), strict=True)]
    else:
        rows = _rows([run for run in runs if not isinstance(run, Path)])
        if source is None:
            raise UsageError("expected samples to evaluate models on, got none; name a data set, or finished runs")
        if report_only:
            done = [existing_run(row, out, protocol) for row in rows]
            if all(run.summary is None for run in done):
                raise RunError(f"expected runs of these rows in {out / RUNS}, got none; leave out --report-only")
        else:
            done = []
            with stopping_cleanly():
                for run in evaluate_rows(
                    rows,
                    source,
                    out,
                    protocol,
                    retry_failed=retry_failed,
                    keep_maps=pages.keep_maps,
                    on_row=on_row,
                    on_count=on_count,
                ):
                    done.append(run)
                    # Plots, pages and tables take longer, and are read at the end.
                    if len(done) < len(rows) and not run.row.shares_model(rows[len(done)]):
                        partial = build_comparison(done, source, protocol, bootstrap, out=out)
                        write_comparison(partial, out, files, plots=False)
    if controls:
        listed = tuple(TableRow(run.row.name, run.row.name, controls=True) for run in done)
        tables = [*tables, Table("controls", "Rows and controls", listed)]
    document = build_comparison(done, source, protocol, bootstrap, tables, out)
    write_comparison(document, out, files)
    video_folder = pages.video_root if source is None else source.video_folder
    written = [f"{files}.{ending}" for ending in ("json", "md", "csv")]
    write_pages(document, [run.run for run in done], out, protocol, video_folder, pages, files=written)
    return document


def _rows(runs: Sequence[ComparisonRow | RunSpec]) -> tuple[ComparisonRow, ...]:
    specs = [run for run in runs if isinstance(run, RunSpec)]
    named = iter(named_rows(specs) if specs else ())
    return checked([next(named) if isinstance(run, RunSpec) else run for run in runs])


def write_comparison(document: ComparisonDocument, out: Path, name: str = COMPARISON, *, plots: bool = True) -> None:
    """Write a comparison's files into its folder: all of them, or none. There are plots where matplotlib is installed.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with staged_files(out) as stage:
        (stage / f"{name}.json").write_text(dump_comparison(document), encoding="utf-8")
        (stage / f"{name}.md").write_text(markdown(document), encoding="utf-8")
        (stage / f"{name}.csv").write_text(csv_table(document), encoding="utf-8", newline="")
        if plots and find_spec("matplotlib") is not None:
            draw_plots(document, stage)
