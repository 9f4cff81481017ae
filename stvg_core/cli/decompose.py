"""`stvg decompose`: what the method asks about a query."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from stvg_core.cli.plugin_files import PluginFileOption
from stvg_core.cli.run_options import BackendOption
from stvg_core.cli.terminal import one_line
from stvg_core.errors import UsageError


def decompose(
    sentence: Annotated[str, typer.Argument(help="a sentence or question about one object")],
    decomposer: Annotated[
        str, typer.Option("--decomposer", help="rules, mllm (needs --model), or file:PATH")
    ] = "rules",
    model: Annotated[str | None, typer.Option("--model", "-m", help="model for the mllm decomposer")] = None,
    backend: BackendOption = None,
    plugin: PluginFileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
) -> None:
    """Split a query into its attribute and action sub-queries (DSTH)."""
    from stvg_core.inputs.query.catalog import open_decomposer

    if decomposer == "mllm":
        if model is None:
            raise UsageError("the mllm decomposer asks a model; name one with --model")
        from stvg_core.host.session import open_session

        with open_session(model, backend=backend) as session:
            parts = open_decomposer(decomposer, generate=session.adapter.generate_text, video_name=None).decompose(
                sentence
            )
    else:
        parts = open_decomposer(decomposer, generate=None, video_name=None).decompose(sentence)
    if as_json:
        typer.echo(json.dumps(asdict(parts), ensure_ascii=False))
        return
    typer.echo(f"attribute {one_line(parts.attribute)}")
    typer.echo(f"action    {one_line(parts.action)}")
    for warning in parts.warnings:
        typer.echo(f"warning   {one_line(warning)}")
