"""`stvg runs`: look at runs of `stvg evaluate`, write them to files, join shards."""

import json
from pathlib import Path
from typing import Annotated

import typer

from stvg_core.cli.evaluate import (
    DEFAULT_PROTOCOL,
    JsonOption,
    ProtocolOption,
    RunArgument,
    summary_lines,
    tell_failures,
)
from stvg_core.cli.terminal import one_line
from stvg_core.errors import UsageError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def _runs() -> None:
    """Look at runs of stvg evaluate, write them to files, join shards."""


@app.command("show")
def show(run: RunArgument, protocol: ProtocolOption = DEFAULT_PROTOCOL, as_json: JsonOption = False) -> None:
    """Tell how far a run is, its score, its failures and who worked on it; exit code 1 where samples failed."""
    from stvg_core.evaluation.runs import summarize_run
    from stvg_core.metrics import find_protocol

    summary = summarize_run(run, find_protocol(protocol))
    if as_json:
        typer.echo(json.dumps(summary, allow_nan=False))
    else:
        for line in summary_lines(summary):
            typer.echo(line)
        for session in summary["sessions"]:
            ended = session["ended"] or "killed, or still at work"
            typer.echo(
                one_line(f"session   {session['session']} on {session['host']}, {session['started']} to {ended}")
            )
    tell_failures(summary)


@app.command("export")
def export(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="a .csv, .jsonl or .parquet file to write")] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="JSON file of tubes to write, as stvg score reads them")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="JSON file of the truth to write, as stvg score reads it")
    ] = None,
    protocol: ProtocolOption = DEFAULT_PROTOCOL,
) -> None:
    """Write a run's samples to files; each appears whole or not at all."""
    from stvg_core.evaluation.runs.export import export_annotations, export_predictions, export_run
    from stvg_core.metrics import find_protocol

    rules = find_protocol(protocol)
    if out is None and predictions is None and annotations is None:
        raise UsageError("expected at least one of --out, --predictions and --annotations, got none")
    if out is not None:
        _written(export_run(run, out, rules), out)
    if predictions is not None:
        _written(export_predictions(run, predictions, rules), predictions)
    if annotations is not None:
        _written(export_annotations(run, annotations), annotations)


@app.command("merge")
def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of the shards")],
    into: Annotated[Path, typer.Option("--into", help="folder of the whole run; must not hold one yet")],
) -> None:
    """Join shards into one run; they stay as they are."""
    from stvg_core.evaluation.runs import merge_runs

    counts = merge_runs(runs, into)
    typer.echo(
        f"{sum(counts.values())} samples in {one_line(str(into))}: "
        + ", ".join(f"{count} {status}" for status, count in counts.items())
    )


def _written(count: int, path: Path) -> None:
    typer.echo(f"{count} samples written to {one_line(str(path))}")
