"""`stvg export`: tubes as other programs read them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from stvg_core.cli.evaluate import DEFAULT_PROTOCOL, ProtocolOption
from stvg_core.cli.ground import JsonOption, errors_as_json
from stvg_core.cli.terminal import one_line, progress

_MOST_REASONS = 5
_RUN_FILES = ("table", "predictions", "annotations")


def export(
    source: Annotated[Path, typer.Argument(help="a run of stvg evaluate, a folder of stvg ground, or a tube.json")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="coco, mot, cvat, label-studio or rerun (a folder); of a run also table (.csv, .jsonl or .parquet), "
            "predictions or annotations (JSON for stvg score)",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder or file to write", show_default=False)],
    videos: Annotated[
        Path | None,
        typer.Option("--videos", help="folder of the videos: rerun embeds them, and missing sizes are read from them"),
    ] = None,
    prefix: Annotated[str, typer.Option("--video-prefix", help="label-studio: prefix of each video's URL")] = "",
    protocol: ProtocolOption = DEFAULT_PROTOCOL,
    as_json: JsonOption = False,
) -> None:
    """Write predictions, and ground truth if known, in the formats of other tools."""
    if form in _RUN_FILES:
        _write_file(source, form, out, protocol, as_json)
        return
    with errors_as_json(as_json), progress("stvg export"):
        from stvg_core.evaluation.exports import export as write

        summary = write(source, form, out, videos=videos, prefix=prefix)
    if as_json:
        # ASCII alone: no character of a foreign name can steer a terminal.
        typer.echo(json.dumps(summary.as_json()))
        return
    typer.echo(
        f"{summary.samples} samples, {summary.predictions} predictions and {summary.truths} true tubes in "
        f"{len(summary.files)} files of {one_line(str(out))}, such as {one_line(summary.files[0])}"
    )
    for sample, reason in list(summary.left_out.items())[:_MOST_REASONS]:
        typer.echo(f"left out: {one_line(sample, 80)}: {one_line(reason)}", err=True)
    if len(summary.left_out) > _MOST_REASONS:
        typer.echo(f"left out: {len(summary.left_out) - _MOST_REASONS} more; --json names all", err=True)


def _write_file(run: Path, form: str, out: Path, protocol: str, as_json: bool) -> None:
    """Write the samples of a run to one file."""
    with errors_as_json(as_json), progress("stvg export"):
        from stvg_core.evaluation.runs.export import export_annotations, export_predictions, export_run
        from stvg_core.metrics import find_protocol

        rules = find_protocol(protocol)
        match form:
            case "table":
                count = export_run(run, out, rules)
            case "predictions":
                count = export_predictions(run, out, rules)
            case _:
                count = export_annotations(run, out)
    shown = {"samples": count, "files": [str(out)]}
    typer.echo(json.dumps(shown) if as_json else f"{count} samples written to {one_line(str(out))}")
