"""`stvg compare`: models and settings on the same samples; a folder with tables and plots out."""

from collections.abc import Callable, Iterator
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

_PERCENT = 100.0


@with_run_specs()
def compare(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder of the comparison; gone on with where it is there")],
    dataset: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="a name of stvg dataset list; or name --video")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="folder of the data set")] = None,
    video: Annotated[Path | None, typer.Option("--video", help="one clip, in the place of a data set")] = None,
    query: Annotated[list[str] | None, typer.Option("--query", help="a sentence about --video; repeatable")] = None,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="add the method's components one by one, a row each")
    ] = False,
    rows_file: Annotated[
        Path | None, typer.Option("--rows", help="TOML file of rows, in the place of --model and --preset")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="the first so many samples")] = None,
    protocol: ProtocolOption = DEFAULT_PROTOCOL,
    bootstrap: Annotated[int, typer.Option("--bootstrap", help="resamples that intervals are drawn from")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="seed of --bootstrap")] = 0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="try samples again that failed")] = False,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="run each row in a virtual environment of what it needs, made by pip")
    ] = False,
    keep_maps: Annotated[
        bool,
        typer.Option("--keep-maps/--no-keep-maps", help="keep attention maps for index.html, some kilobytes a sample"),
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
    """Compare models and settings on the same samples; run the same command again to go on after any stop."""
    from stvg_core.evaluation.comparison import PageChoice, Source, clip_source, dump_comparison, product_of, read_rows
    from stvg_core.evaluation.comparison import compare as start
    from stvg_core.metrics import Bootstrap, find_protocol
    from stvg_core.outputs.report.pages.media import check_media_choice

    pages = PageChoice(check_media_choice(media), page_samples, keep_maps)
    rules, resampling = find_protocol(protocol), Bootstrap(bootstrap, seed)
    if rows_file is not None:
        if specs or ladder:
            raise UsageError("expected --rows, or --model with --preset, --ladder and --set; got both")
        rows = read_rows(rows_file)
    else:
        rows = tuple(
            row
            for spec in specs
            for row in product_of(
                [spec.model],
                [] if spec.preset is None else [spec.preset],
                spec.overrides,
                ladder=ladder,
                tracks=spec.tracks,
                decomposer=spec.decomposer,
                device=spec.load.device,
                dtype=spec.load.dtype,
                backend=spec.backend,
            )
        )
    if (dataset is None) == (video is None) or (dataset is None) != (root is None):
        raise UsageError("expected either DATASET with --root, or --video with --query; got neither or too many")
    source: Source
    if dataset is not None and root is not None:
        source = Source(dataset, root, split, annotations, video_root, limit, not no_corrections)
    elif video is not None:
        source = clip_source(video, query or (), out)
    with bar(len(rows)) as (on_row, on_count):
        document = start(
            rows,
            source,
            out,
            rules,
            resampling,
            retry_failed=retry_failed,
            isolate=isolate,
            pages=pages,
            on_row=on_row,
            on_count=on_count,
            on_make=lambda folder: typer.echo(f"making environment {one_line(str(folder))}", err=True),
        )
    if as_json:
        typer.echo(dump_comparison(document), nl=False)
    else:
        show(document, out)
    tell_failures(document, out)


def show(document: "ComparisonDocument", out: Path) -> None:
    """Print a comparison's table and where its files are."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(("row", "m_vIoU", "against the first", "samples", "failed", "s a sample")):
        table.add_column(column, justify="right" if place else "left", overflow="fold")
    for row in document.rows:
        samples = row.samples or {}
        score, difference = (row.score or {}).get("m_vIoU"), (row.difference or {}).get("m_vIoU")
        cells = [
            one_line(row.name),
            "-" if score is None else f"{_PERCENT * score.mean:.1f}",
            ""
            if difference is None
            else f"{_PERCENT * difference.mean:+.1f} "
            f"[{_PERCENT * difference.low:+.1f}, {_PERCENT * difference.high:+.1f}]",
            str(samples.get("ok", 0) + samples.get("failed", 0)),
            str(samples.get("failed", "-")),
            "-" if row.cost.seconds_per_sample is None else f"{row.cost.seconds_per_sample:.2f}",
        ]
        table.add_row(*map(Text, cells))
    console = Console(highlight=False)
    console.print(table)
    for warning in document.warnings:
        console.print(Text(f"warning   {one_line(warning)}"))
    console.print(Text(f"written   {one_line(str(out / 'comparison.md'))}, .json, .csv and plots"))
    folder = one_line(str(out))
    console.print(Text(f"look      {folder}/index.html in a browser, or stvg view {folder}"))


def tell_failures(document: "ComparisonDocument", out: Path) -> None:
    """Tell why rows failed, and end with an error where one or a sample did.

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
            f"{one_line(str(out / 'comparison.md'))}, mend them, and run the same command with --retry-failed"
        )


@contextmanager
def bar(total: int) -> "Iterator[tuple[Callable[[ComparisonRow, int], None], Callable[[int, int], None]]]":
    """Show row and samples done on stderr; nothing where it is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("stvg compare {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as display:
        task = display.add_task("", total=None)

        def on_row(row: "ComparisonRow", place: int) -> None:
            from rich.markup import escape

            display.reset(task, total=None, description=f"row {place + 1} of {total}, {escape(one_line(row.name, 60))}")

        def on_count(done: int, samples: int) -> None:
            display.update(task, completed=done, total=samples or None)

        yield on_row, on_count
