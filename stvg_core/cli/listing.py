"""`stvg models`: which named checkpoints are installed; imports no torch."""

import json
from typing import Annotated

import typer

from stvg_core.cli.terminal import one_line, table_lines
from stvg_core.errors import ModelError

JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]


def models(as_json: JsonOption = False) -> None:
    """List the named checkpoints that are installed."""
    from stvg_core.models import named_entries, resolve_model

    rows = []
    for name, entry in named_entries().items():
        row = {
            "name": name,
            "distribution": entry.distribution.name,
            "status": "ok",
            "architecture": "",
            "folder": "",
            "reason": "",
        }
        try:
            resolved = resolve_model(name)
        except ModelError as error:
            row |= {"status": "broken", "reason": one_line(str(error))}
        else:
            row |= {"architecture": resolved.architecture, "folder": str(resolved.reference.folder)}
        rows.append(row)
    if as_json:
        typer.echo(json.dumps({"models": rows}))
        return
    if not rows:
        typer.echo("no named model is installed; try: pip install stvg-tiny")
        return
    lines = table_lines(
        [("name", "distribution", "status", "architecture")]
        + [(row["name"], row["distribution"], row["status"], row["architecture"] or row["reason"]) for row in rows]
    )
    for line in lines:
        typer.echo(line)
    typer.echo("A folder or a hub id (Qwen/Qwen2-VL-7B-Instruct) is a model as well.")
