"""`stvg plugins` and `stvg models`: what is installed; imports no plugin and no torch."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from stvg_core.cli.terminal import one_line
from stvg_core.errors import ModelError

if TYPE_CHECKING:
    from stvg_core.registry import FoundBackend

JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]


def plugins(as_json: JsonOption = False) -> None:
    """List the installed backends, their state, and what mends them."""
    from stvg_core.registry import find_backends

    backends = find_backends()
    if as_json:
        typer.echo(json.dumps({"plugins": [_row(backend) for backend in backends]}))
        return
    if not backends:
        typer.echo("no backend is installed; try: pip install stvg-qwen2-vl")
        return
    _table(
        [("name", "distribution", "version", "status", "architectures")]
        + [
            (backend.name, backend.distribution, backend.version, backend.status, ", ".join(backend.architectures))
            for backend in backends
        ]
    )
    for backend in backends:
        if backend.status != "ok":
            typer.echo(one_line(f"{backend.name} is {backend.status}: {backend.reason}; {backend.fix}"))


def models(as_json: JsonOption = False) -> None:
    """List the named checkpoints that are installed."""
    from stvg_core.models import named_models, resolve_model

    rows = []
    for name, entry in named_models().items():
        distribution = entry.dist.name if entry.dist is not None else ""
        row = {
            "name": name,
            "distribution": distribution,
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
    _table(
        [("name", "distribution", "status", "architecture")]
        + [(row["name"], row["distribution"], row["status"], row["architecture"] or row["reason"]) for row in rows]
    )
    typer.echo("A folder or a hub id (Qwen/Qwen2-VL-7B-Instruct) is a model as well.")


def _row(backend: "FoundBackend") -> dict[str, object]:
    return {
        "name": backend.name,
        "distribution": backend.distribution,
        "version": backend.version,
        "status": backend.status,
        "reason": backend.reason,
        "fix": backend.fix,
        "hook_api": backend.hook_api,
        "architectures": list(backend.architectures),
    }


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
