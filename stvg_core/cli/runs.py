"""`stvg runs`: show, export and merge runs of `stvg evaluate`."""

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

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def _runs() -> None:
    """Show, export and merge runs of stvg evaluate."""


@app.command("show")
def show(run: RunArgument, protocol: ProtocolOption = DEFAULT_PROTOCOL, as_json: JsonOption = False) -> None:
    """Show progress, score, failures and sessions of a run; exit code 1 if samples failed."""
    from stvg_core.evaluation.runs import summarize_run
    from stvg_core.metrics import find_protocol

    summary = summarize_run(run, find_protocol(protocol))
    if as_json:
        typer.echo(json.dumps(summary, allow_nan=False))
    else:
        for line in summary_lines(summary):
            typer.echo(line)
        for session in summary["sessions"]:
            ended = session["ended"] or "killed, or still running"
            typer.echo(
                one_line(f"session   {session['session']} on {session['host']}, {session['started']} to {ended}")
            )
    tell_failures(summary)


@app.command("merge")
def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of the shards")],
    into: Annotated[Path, typer.Option("--into", help="folder of the merged run; must not contain a run")],
) -> None:
    """Merge shards into one run; the shards are not changed."""
    from stvg_core.evaluation.runs import merge_runs

    counts = merge_runs(runs, into)
    typer.echo(
        f"{sum(counts.values())} samples in {one_line(str(into))}: "
        + ", ".join(f"{count} {status}" for status, count in counts.items())
    )
