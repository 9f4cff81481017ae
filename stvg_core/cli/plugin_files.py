"""The option --plugin: a backend in a single file, for the commands that open a model."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from stvg_core.errors import UsageError

NAMED_FILES = ExitStack()
"""What --plugin added to the environment; closing it removes it again."""


def _use(names: list[str] | None) -> list[str] | None:
    """Make the files visible to this command and every process that it starts.

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


# Strings: typer's path checks would noticeably slow down every command.
PluginFileOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_use,
        help="a backend in a single Python file (docs/plugins.md); repeatable",
    ),
]
