"""The option --plugin: a backend in a single file, for the commands that open a model."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from stvg_core.errors import UsageError

NAMED_FILES = ExitStack()
"""What --plugin has put into the environment; leaving it takes that out again."""


def _use(names: list[str] | None) -> list[str] | None:
    """Let this command and every process that it starts find the files.

    Raises:
        UsageError: one of them is no file.
    """
    if names:
        from stvg_core.host.registry.file_plugins import files_added

        files = tuple(Path(name).expanduser() for name in names)
        for file in files:
            if not file.is_file():
                raise UsageError(f"expected --plugin to name a Python file, got {str(file)!r}, which is none")
        NAMED_FILES.enter_context(files_added(files))
    return names


# Texts: typer would build checks of paths before every command, at a cost that one feels.
PluginFileOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_use,
        help="a backend in a single Python file (docs/plugins.md); repeatable",
    ),
]
