"""`stvg compare`: models and settings on the same samples; a folder with tables and plots out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stvg_core.cli.dataset import AnnotationsOption, CorrectionsOption, SplitOption, VideoRootOption
from stvg_core.cli.evaluate import DEFAULT_PROTOCOL, ProtocolOption
from stvg_core.cli.run_options import with_run_specs
from stvg_core.cli.terminal import one_line
from stvg_core.cli.view import MediaOption, PageSamplesOption
from stvg_core.errors import RunError, UsageError

if TYPE_CHECKING:
    from stvg_core.api.run_spec import RunSpec
    from stvg_core.evaluation.comparison import ComparisonDocument, ComparisonRow
    from stvg_core.evaluation.comparison.document import RowPart
    from stvg_core.evaluation.comparison.table_parts import TableRowPart

_PERCENT = 100.0


@with_run_specs()
def compare(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="folder of the comparison; resumed if it exists", show_default=False)
    ],
    samples: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATASET | RUN...]",
            help="a name of stvg dataset list, with --root; or folders of finished runs of stvg evaluate",
            show_default=False,
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="folder of the data set")] = None,
    video: Annotated[Path | None, typer.Option("--video", help="one clip, in place of a data set")] = None,
    query: Annotated[list[str] | None, typer.Option("--query", help="a sentence about --video; repeatable")] = None,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="add the method's components one by one, a row each")
    ] = False,
    rows_file: Annotated[
        Path | None, typer.Option("--rows", help="TOML file of [[run]] tables, in place of --model and --preset")
    ] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="add a table with controls beside each row; see docs/ablate.md")
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="only the first N samples")] = None,
    protocol: ProtocolOption = DEFAULT_PROTOCOL,
    bootstrap: Annotated[int, typer.Option("--bootstrap", help="resamples that intervals are drawn from")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="seed of --bootstrap")] = 0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="evaluate failed samples again")] = False,
    keep_maps: Annotated[
        bool,
        typer.Option("--keep-maps/--no-keep-maps", help="keep attention maps and tracks for index.html and --controls"),
    ] = True,
    media: MediaOption = "link",
    page_samples: PageSamplesOption = 500,
    split: SplitOption = None,
    annotations: AnnotationsOption = None,
    video_root: VideoRootOption = None,
    no_corrections: CorrectionsOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
    *,
    specs: "tuple[RunSpec, ...]",
) -> None:
    """Compare finished runs, or models and settings on the same samples; run the same command again to resume."""
    from stvg_core.evaluation.comparison import PageChoice, Source, clip_source, dump_comparison, named_rows, read_rows
    from stvg_core.evaluation.comparison import compare as start
    from stvg_core.metrics import Bootstrap, find_protocol
    from stvg_core.outputs.report.pages.media import check_media_choice

    pages = PageChoice(check_media_choice(media), page_samples, keep_maps, video_root)
    rules, resampling = find_protocol(protocol), Bootstrap(bootstrap, seed)
    names, source = samples or [], None
    runs: Sequence[ComparisonRow] | Sequence[Path]
    if specs or rows_file is not None:
        if specs and rows_file is not None:
            raise UsageError("expected --rows, or --model with --preset, --ladder and --set; got both")
        if (video is None) == (root is None) or len(names) != (root is not None):
            raise UsageError("expected DATASET with --root, or --video with --query; got neither or too many")
        runs = read_rows(rows_file) if rows_file is not None else named_rows(specs, ladder=ladder)
        if video is not None:
            source = clip_source(video, query or (), out)
        elif root is not None:
            source = Source(names[0], root, split, annotations, video_root, limit, not no_corrections)
            source.open()
    else:
        missing = next((name for name in names if not Path(name).is_dir()), None)
        if not names or missing is not None or root is not None or video is not None:
            raise UsageError(
                f"expected folders of finished runs, or --model or --rows, got {missing or 'none'}; name models to "
                "evaluate, or runs of stvg evaluate"
            )
        runs = [Path(name) for name in names]
    with bar("compare", len(runs)) as (on_row, on_count):
        document = start(
            runs,
            source,
            out,
            rules,
            resampling,
            retry_failed=retry_failed,
            pages=pages,
            controls=controls,
            on_row=on_row,
            on_count=on_count,
        )
    if as_json:
        typer.echo(dump_comparison(document), nl=False)
    else:
        show(document, out)
    check_failures(document, out)


def show(document: "ComparisonDocument", out: Path, files: str = "comparison") -> None:
    """Print a comparison's tables and where its files are."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)

    def print_table(title: str | None, rows: "list[list[str]]") -> None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title and Text(title))
        for place, column in enumerate(("row", "m_vIoU", "against the first", "samples", "failed", "s a sample")):
            table.add_column(column, justify="right" if place else "left", overflow="fold")
        for cells in rows:
            table.add_row(*map(Text, cells))
        console.print(table)

    if files == "comparison":
        print_table(None, [_cells(row.name, row, row.samples, row.cost.seconds_per_sample) for row in document.rows])
    for part in document.tables:
        rows = [
            _cells(
                row.name if row.control_of is None else f"  {row.name}",
                row,
                {"ok": row.samples - (row.failed or 0), "failed": row.failed or 0},
                row.seconds,
            )
            for row in part.rows
        ]
        print_table(one_line(": ".join(filter(None, (part.model, part.title)))), rows)
    for warning in document.warnings:
        console.print(Text(f"warning   {one_line(warning)}"))
    console.print(Text(f"written   {one_line(str(out / files))}.md, .json, .csv and plots"))
    folder = one_line(str(out))
    console.print(Text(f"look      {folder}/index.html in a browser, or stvg view {folder}"))


def _cells(
    name: str, row: "RowPart | TableRowPart", samples: "dict[str, int] | None", seconds: float | None
) -> list[str]:
    score, difference = (row.score or {}).get("m_vIoU"), (row.difference or {}).get("m_vIoU")
    interval = (
        ""
        if difference is None
        else f"{_PERCENT * difference.mean:+.1f} [{_PERCENT * difference.low:+.1f}, {_PERCENT * difference.high:+.1f}]"
    )
    samples = samples or {}
    return [
        name[: len(name) - len(name.lstrip())] + one_line(name),
        "-" if score is None else f"{_PERCENT * score.mean:.1f}",
        interval,
        str(samples.get("ok", 0) + samples.get("failed", 0)),
        str(samples.get("failed", "-")),
        "-" if seconds is None else f"{seconds:.2f}",
    ]


def check_failures(document: "ComparisonDocument", out: Path, files: str = "comparison") -> None:
    """Print why rows failed, and end with an error if one or a sample did.

    Raises:
        RunError: a row or a sample failed.
    """
    failed = [row for row in document.rows if row.status == "failed"]
    for row in failed:
        typer.echo(f"row {one_line(row.name)}: {one_line(row.error)}", err=True)
    samples = sum((row.samples or {}).get("failed", 0) for row in document.rows)
    if failed or samples:
        raise RunError(
            f"expected every row and sample to run, but {len(failed)} rows and {samples} samples failed; see "
            f"{one_line(str(out / files))}.md, fix the cause, and run the same command with --retry-failed"
        )


@contextmanager
def bar(
    command: str, total: int | None = None
) -> "Iterator[tuple[Callable[[ComparisonRow, int], None], Callable[[int, int], None]]]":
    """Show row and samples done on stderr; nothing where it is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("stvg {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as display:
        task = display.add_task(command, total=None)

        of = "" if total is None else f" of {total}"

        def on_row(row: "ComparisonRow", place: int) -> None:
            from rich.markup import escape

            display.reset(
                task, total=None, description=f"{command} row {place + 1}{of}, {escape(one_line(row.name, 60))}"
            )

        def on_count(done: int, samples: int) -> None:
            display.update(task, completed=done, total=samples or None)

        yield on_row, on_count
