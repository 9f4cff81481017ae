"""`stvg compare` as a function: rows and samples in, a folder with tables and plots out."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from stvg_core.errors import StvgError
from stvg_core.evaluation.comparison.document import ComparisonDocument, build_comparison, dump_comparison
from stvg_core.evaluation.comparison.environments import open_environment
from stvg_core.evaluation.comparison.pages import PageChoice, write_pages
from stvg_core.evaluation.comparison.plots import draw_plots
from stvg_core.evaluation.comparison.requirements import check_isolation, row_requirements
from stvg_core.evaluation.comparison.rows import ComparisonRow, checked
from stvg_core.evaluation.comparison.running import RowRun, RowRunner
from stvg_core.evaluation.comparison.source import Source
from stvg_core.evaluation.comparison.tables import csv_table, markdown
from stvg_core.evaluation.runs.runner import stopping_cleanly
from stvg_core.metrics import Bootstrap, ScoringProtocol
from stvg_core.outputs.report.staging import check_output_folder, staged_files

JSON_NAME: Final = "comparison.json"
MARKDOWN_NAME: Final = "comparison.md"
CSV_NAME: Final = "comparison.csv"
TABLE_FILES: Final = (JSON_NAME, MARKDOWN_NAME, CSV_NAME)


def compare(
    rows: Sequence[ComparisonRow],
    source: Source,
    out: Path,
    protocol: ScoringProtocol,
    bootstrap: Bootstrap | None = None,
    *,
    retry_failed: bool = False,
    isolate: bool = False,
    pages: PageChoice | None = None,
    on_row: Callable[[ComparisonRow, int], None] | None = None,
    on_count: Callable[[int, int], None] | None = None,
    on_make: Callable[[Path], None] | None = None,
) -> ComparisonDocument:
    """Run every row on the same samples, and write what came of them; the same call goes on after any stop.

    Rows run as `stvg evaluate` does, in processes of their own, into `runs/` of the folder. A row that cannot run
    is a row with its reason, and the others finish. Files are written after each row, so that a long comparison can
    be read while it runs.

    Args:
        rows: models and settings; the first is what the others are compared with.
        source: the samples.
        out: folder of the comparison.
        protocol: whose rules to apply.
        bootstrap: how to draw intervals; None: 2,000 resamples.
        retry_failed: samples that failed are tried again.
        isolate: run each row in a virtual environment of what it needs, made where there is none yet; rows that name
            a python run in that.
        pages: what index.html holds; None: the first 500 samples, with videos and attention maps.
        on_row: told of every row, and its place, as it begins.
        on_count: told how many samples of the row are done, and of how many.
        on_make: told the folder of every environment that has to be made.

    Raises:
        UsageError: rows are not unique, or have requirements without isolation.
        OutputError: the folder cannot be written to.
        RunError: it was stopped.
    """
    rows = checked(rows)
    check_isolation(rows, isolate=isolate)
    check_output_folder(out)
    bootstrap, pages = bootstrap or Bootstrap(2000), pages or PageChoice()
    runs: list[RowRun] = []

    def own(row: ComparisonRow) -> bool:
        return isolate and row.python is None

    with (
        stopping_cleanly(),
        RowRunner(source, out, protocol.name, retry_failed=retry_failed, keep_maps=pages.keep_maps) as runner,
    ):
        for place, row in enumerate(rows):
            if on_row is not None:
                on_row(row, place)
            try:
                environment = open_environment(row_requirements(row), on_make=on_make) if own(row) else None
            except StvgError as error:
                runs.append(runner.failed(row, str(error)))
            else:
                runs.append(runner.run(row, environment, on_count))
            document = build_comparison(runs, source, protocol, bootstrap)
            # Plots and pages of what is half done nobody waits for, and they take longer than all else that is written.
            write_comparison(document, out, plots=len(runs) == len(rows))
    write_pages(document, [run.run for run in runs], out, protocol, source.video_folder, pages, files=TABLE_FILES)
    return document


def write_comparison(document: ComparisonDocument, out: Path, *, plots: bool = True) -> None:
    """Write a comparison's files into its folder: all of them, or none. There are plots where matplotlib is installed.

    Args:
        document: what to write.
        out: folder of the comparison.
        plots: draw them as well.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with staged_files(out) as stage:
        (stage / JSON_NAME).write_text(dump_comparison(document), encoding="utf-8")
        (stage / MARKDOWN_NAME).write_text(markdown(document), encoding="utf-8")
        (stage / CSV_NAME).write_text(csv_table(document), encoding="utf-8", newline="")
        if plots and find_spec("matplotlib") is not None:
            draw_plots(document, stage)
