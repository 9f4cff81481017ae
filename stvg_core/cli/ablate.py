"""`stvg ablate`: variants of models' settings on the same samples; a folder with tables, plots and pages out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stvg_core.cli.compare import bar, check_failures, show
from stvg_core.cli.dataset import AnnotationsOption, CorrectionsOption, SplitOption, VideoRootOption
from stvg_core.cli.evaluate import DEFAULT_PROTOCOL, ProtocolOption
from stvg_core.cli.run_options import with_run_specs
from stvg_core.cli.view import MediaOption, PageSamplesOption

if TYPE_CHECKING:
    from stvg_core.api.run_spec import RunSpec


@with_run_specs(several_presets=False)
def ablate(
    dataset: Annotated[str, typer.Argument(help="a name of stvg dataset list", show_default=False)],
    root: Annotated[Path, typer.Option("--root", help="folder of the data set", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="folder of the ablation; resumed if it exists", show_default=False)
    ],
    table: Annotated[
        list[str] | None,
        typer.Option("--table", help="a table (docs/ablate.md); repeatable", show_default="all"),
    ] = None,
    true_tracks: Annotated[
        str | None,
        typer.Option("--true-tracks", help="tracker of the true tracks of all objects, such as file:PATH"),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="only the first N samples")] = None,
    protocol: ProtocolOption = DEFAULT_PROTOCOL,
    bootstrap: Annotated[int, typer.Option("--bootstrap", help="resamples that intervals are drawn from")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="seed of --bootstrap")] = 0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="evaluate failed samples again")] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="evaluate nothing; report on the runs that exist")
    ] = False,
    media: MediaOption = "link",
    page_samples: PageSamplesOption = 20,
    split: SplitOption = None,
    annotations: AnnotationsOption = None,
    video_root: VideoRootOption = None,
    no_corrections: CorrectionsOption = False,
    *,
    specs: "tuple[RunSpec, ...]",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
) -> None:
    """Evaluate the method's components one by one, with controls; run the same command again to resume."""
    from stvg_core.evaluation.ablation import ablate as start
    from stvg_core.evaluation.comparison import PageChoice, Source, dump_comparison
    from stvg_core.metrics import Bootstrap, find_protocol
    from stvg_core.outputs.report.pages.media import check_media_choice

    source = Source(dataset, root, split, annotations, video_root, limit, not no_corrections)
    if not report_only:
        source.open()
    pages = PageChoice(check_media_choice(media), page_samples)
    with bar("ablate") as (on_row, on_count):
        document = start(
            specs,
            source,
            table or (),
            out,
            find_protocol(protocol),
            Bootstrap(bootstrap, seed),
            true_tracks=true_tracks,
            retry_failed=retry_failed,
            report_only=report_only,
            pages=pages,
            on_row=on_row,
            on_count=on_count,
        )
    if as_json:
        typer.echo(dump_comparison(document), nl=False)
    else:
        show(document, out, "ablation")
    check_failures(document, out, "ablation")
