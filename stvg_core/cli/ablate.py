"""`stvg ablate`: variants of models' settings on the same samples; a folder with tables and plots out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stvg_core.cli.dataset import AnnotationsOption, CorrectionsOption, SplitOption, VideoRootOption
from stvg_core.cli.evaluate import DEFAULT_PROTOCOL, ProtocolOption
from stvg_core.cli.run_options import with_run_specs
from stvg_core.cli.terminal import one_line
from stvg_core.errors import RunError

if TYPE_CHECKING:
    from stvg_core.api.run_spec import RunSpec
    from stvg_core.evaluation.ablation import AblationDocument

_PERCENT = 100.0


@with_run_specs(several_presets=False)
def ablate(
    dataset: Annotated[str, typer.Argument(help="a name of stvg dataset list")],
    root: Annotated[Path, typer.Option("--root", help="folder of the data set")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder of the ablation; gone on with where it is there")],
    table: Annotated[
        list[str] | None, typer.Option("--table", help="a table (docs/ablate.md); repeatable", show_default="all")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="the first so many samples")] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="parallel processes, each with its own model", show_default="1"),
    ] = None,
    random_seeds: Annotated[
        int, typer.Option("--random-seeds", min=1, help="random choices that are averaged in each sample")
    ] = 5,
    protocol: ProtocolOption = DEFAULT_PROTOCOL,
    bootstrap: Annotated[int, typer.Option("--bootstrap", help="resamples that intervals are drawn from")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="seed of --bootstrap")] = 0,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="run nothing; write what the folder's results say")
    ] = False,
    split: SplitOption = None,
    annotations: AnnotationsOption = None,
    video_root: VideoRootOption = None,
    no_corrections: CorrectionsOption = False,
    *,
    specs: "tuple[RunSpec, ...]",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
) -> None:
    """Measure the method's components one by one, with controls; run the same command again to go on after any stop."""
    from stvg_core.evaluation.ablation import DatasetSource, dump_ablation
    from stvg_core.evaluation.ablation import ablate as start
    from stvg_core.evaluation.comparison import Source
    from stvg_core.evaluation.runs.evaluation import ModelChoice
    from stvg_core.metrics import Bootstrap, find_protocol

    source = DatasetSource(
        Source(dataset, root, split, annotations, video_root, limit, not no_corrections), find_protocol(protocol)
    )
    choices = [ModelChoice(spec) for spec in specs]
    with _bar() as on_count:
        document = start(
            choices,
            source,
            table or (),
            out,
            Bootstrap(bootstrap, seed),
            workers=workers or 1,
            random_seeds=random_seeds,
            report_only=report_only,
            on_count=on_count,
        )
    if as_json:
        typer.echo(dump_ablation(document), nl=False)
    else:
        _show(document, out)
    failed = [found for found in document.models if found.status == "failed"]
    for found in failed:
        typer.echo(f"model {one_line(found.model)}: {one_line(found.error)}", err=True)
    if failed:
        raise RunError(
            f"expected every model to run to its end, but {len(failed)} did not; mend that and run the command again"
        )


def _show(document: "AblationDocument", out: Path) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for model in document.models:
        for found in model.tables:
            shown = Table(
                box=box.SIMPLE_HEAD, pad_edge=False, title=f"{one_line(model.model)}: {one_line(found.title)}"
            )
            for place, column in enumerate(("", "m_vIoU", "against the first", "samples", "failed")):
                shown.add_column(column, justify="right" if place else "left", overflow="fold")
            for row in found.rows:
                score, difference = (row.score or {}).get("m_vIoU"), (row.difference or {}).get("m_vIoU")
                cells = [
                    one_line(row.name) if row.control_of is None else f"  {one_line(row.name)}",
                    "-" if score is None else f"{_PERCENT * score.mean:.1f}",
                    ""
                    if difference is None
                    else f"{_PERCENT * difference.mean:+.1f} "
                    f"[{_PERCENT * difference.low:+.1f}, {_PERCENT * difference.high:+.1f}]",
                    str(row.samples),
                    str(row.failed),
                ]
                shown.add_row(*map(Text, cells))
            console.print(shown)
    console.print(Text(f"written   {one_line(str(out / 'ablation.md'))}, .json and plots"))


@contextmanager
def _bar() -> "Iterator[Callable[[int], None]]":
    """Show how many results there are on stderr; nothing where it is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda count: None
        return
    with console.status("stvg ablate") as status:
        yield lambda count: status.update(f"stvg ablate: {count} results")
