"""`stvg ground`: one query in one video."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stvg_core.cli.run_options import with_run_spec
from stvg_core.cli.terminal import TRACE_VARIABLE, hook_trace, one_line, progress
from stvg_core.errors import StvgError

if TYPE_CHECKING:
    from stvg_core.api.results import GroundingResult
    from stvg_core.api.run_spec import RunSpec

OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="folder for tube.json, overlay.mp4, contact_sheet.png")
]
TraceOption = Annotated[
    bool,
    typer.Option(
        "--trace-hooks/--no-trace-hooks",
        envvar=TRACE_VARIABLE,
        help="print every hook call on stderr, as shapes and types",
    ),
]
NOTHING_WRITTEN = "no files written; add --out FOLDER"

JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]


@with_run_spec()
def ground(
    video: Annotated[str, typer.Argument(help="a local video file")],
    query: Annotated[str, typer.Argument(help="a sentence or question about one object")],
    out: OutOption = None,
    as_json: JsonOption = False,
    *,
    spec: "RunSpec",
    trace_hooks: TraceOption = False,
) -> None:
    """Find when and where a video shows what a sentence describes."""
    with errors_as_json(as_json):
        from stvg_core.api.grounder import ground as run
        from stvg_core.outputs.report.document import dump_document
        from stvg_core.outputs.report.staging import check_output_folder

        if out is not None:
            check_output_folder(out)
        with progress("stvg ground") as on_stage:
            result = run(
                video,
                query,
                model=spec,
                trace=hook_trace(trace_hooks),
                on_stage=on_stage,
                keep_maps=out is not None,
            )
            if out is not None:
                on_stage("save")
                result.save(out)
    if as_json:
        typer.echo(dump_document(result.document))
        return
    for line in summary(result):
        typer.echo(line)
    if out is None:
        typer.echo(NOTHING_WRITTEN)
        return
    typer.echo(f"written   {out / 'tube.json'}, overlay.mp4, contact_sheet.png")
    typer.echo(f"look      {out / 'report.html'} in a browser, or stvg view {out}")


@contextmanager
def errors_as_json(wanted: bool) -> Iterator[None]:
    """With --json, print a failure as the error document of the same schema; then raise it."""
    try:
        yield
    except StvgError as error:
        if wanted:
            from stvg_core.outputs.report.document import build_error_document, dump_document

            typer.echo(dump_document(build_error_document(error)))
        raise


def summary(result: "GroundingResult") -> list[str]:
    """Return a result as lines of text."""
    document = result.document
    tube = document.tube
    first, last = tube.boxes[0], tube.boxes[-1]
    lines = [
        f"query     {one_line(document.query.text)}",
        f"attribute {one_line(document.query.attribute)}",
        f"action    {one_line(document.query.action)}",
        f"when      {tube.start_seconds:.2f} s to {tube.end_seconds:.2f} s, "
        f"frames {tube.start_frame} to {tube.end_frame}",
        f"where     {_corners(first.xyxy)} at the start, {_corners(last.xyxy)} at the end (x0 y0 x1 y1, pixels)",
        f"model     {document.model.id} through {document.model.distribution} {document.model.version}, "
        f"preset {document.settings['preset']}, {len(document.scores.tracks)} tracks ({document.settings['tracker']})",
    ]
    extensions: Any = document.settings["extensions"]
    lines += [
        f"wrapped   by {one_line(each['name'])} of {each['distribution']} {each['version']}" for each in extensions
    ]
    return lines + [f"warning   {one_line(warning)}" for warning in document.warnings]


def _corners(xyxy: tuple[float, float, float, float]) -> str:
    return " ".join(f"{corner:.0f}" for corner in xyxy)
