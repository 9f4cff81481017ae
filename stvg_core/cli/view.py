"""`stvg view`: the pages of a result in a browser, served on this machine alone."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from stvg_core.cli.evaluate import DEFAULT_PROTOCOL, ProtocolOption
from stvg_core.cli.terminal import one_line
from stvg_core.errors import UsageError

MediaOption = Annotated[
    str,
    typer.Option(
        "--media",
        help="videos of the pages: link (or copy) those that browsers play and encode the rest; encode all; or none",
    ),
]
PageSamplesOption = Annotated[int, typer.Option("--page-samples", min=0, help="only the first N samples have a player")]
_ENTRIES = ("index.html", "report.html")


def view(
    place: Annotated[
        Path, typer.Argument(metavar="RUN|DIR", help="folder of stvg ground, demo, compare, or a run of stvg evaluate")
    ],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="do not open a browser")] = False,
    video_root: Annotated[
        Path | None, typer.Option("--video-root", help="folder of the run's videos; without it pages show boxes only")
    ] = None,
    media: MediaOption = "link",
    page_samples: PageSamplesOption = 500,
    protocol: ProtocolOption = DEFAULT_PROTOCOL,
) -> None:
    """Show results in a browser on this machine, until Ctrl-C."""
    from stvg_core.outputs.serving import serving

    if (place / "run.sqlite").is_file():
        _build(place, video_root, media, page_samples, protocol)
    entry = next((name for name in _ENTRIES if (place / name).is_file()), None)
    if entry is None:
        raise UsageError(_missing(place))
    with serving(place, entry, port) as server:
        typer.echo(f"serving   {server.address}")
        typer.echo(f"on disk   {one_line(str((place / entry).resolve()))} opens without a server as well")
        typer.echo("Ctrl-C ends")
        if not no_open:
            import webbrowser

            webbrowser.open(server.address)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _build(run: Path, video_root: Path | None, media: str, page_samples: int, protocol: str) -> None:
    """Write the HTML pages of a run into its folder."""
    from stvg_core.cli.terminal import progress
    from stvg_core.evaluation.comparison.pages import PageChoice, write_run_pages
    from stvg_core.metrics import find_protocol
    from stvg_core.outputs.report.pages.media import check_media_choice

    choice = PageChoice(check_media_choice(media), page_samples)
    if video_root is not None and not video_root.is_dir():
        raise UsageError(f"expected a folder of videos, got {video_root}; check --video-root")
    with progress("stvg view") as on_stage:
        write_run_pages(
            run,
            find_protocol(protocol),
            video_root,
            choice,
            on_sample=lambda done, total: on_stage(f"sample {done} of {total}"),
        )
    if video_root is None and media != "none":
        typer.echo("videos    are not shown: name their folder with --video-root", err=True)


def _missing(place: Path) -> str:
    if not place.is_dir():
        return f"expected a folder, got {place}; name one that stvg ground --out, compare, demo or evaluate wrote"
    below = sorted(path.parent for name in _ENTRIES for path in place.glob(f"*/{name}"))
    cure = f"try {below[0]}" if below else "run the command that wrote it again with this version"
    return f"expected {' or '.join(_ENTRIES)} or a run in {place}, got none; {cure}"
