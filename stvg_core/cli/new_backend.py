"""`stvg new-backend`: a new adapter's distribution, ready to install and to prove; imports no torch."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from stvg_core.cli.terminal import one_line


def new_backend(
    name: Annotated[str, typer.Argument(help="name of the backend, such as my-model")],
    family: Annotated[
        str, typer.Option("--family", help="huggingface (a model of transformers) or custom (anything in torch)")
    ] = "huggingface",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="folder to create", show_default="stvg-NAME")] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", help="the model's class, as in architectures of its config.json")
    ] = None,
) -> None:
    """Create the distribution of a new backend; it installs and passes the conformance kit as it is."""
    from stvg_core.devtools.scaffold import MARKER, BackendNames, check_names, write_backend
    from stvg_core.host.registry import find_backends

    names = BackendNames(name, architecture)
    notes = check_names(names, find_backends())
    folder = out if out is not None else Path(names.distribution)
    written = write_backend(names, family, folder)
    place = shlex.quote(one_line(str(folder)))
    typer.echo(f"{place}: {len(written)} files of {names.distribution}, a working backend on a tiny random model")
    for note in notes:
        typer.echo(f"note: {note}")
    typer.echo("next:")
    typer.echo(f"  pip install --editable {_as_path(place)}")
    typer.echo(f"  stvg conformance {names.name}")
    typer.echo(f"  grep -rn {shlex.quote(MARKER)} {place}")
    typer.echo("docs/write_an_adapter.md goes through every place to fill in.")


def _as_path(place: str) -> str:
    """Return a quoted folder that pip does not mistake for a name on its index.

    >>> _as_path("stvg-my-model"), _as_path("/tmp/x"), _as_path("'a b'")
    ('./stvg-my-model', '/tmp/x', "./'a b'")
    """
    return place if place.lstrip("'").startswith(("/", ".", "~")) else f"./{place}"
