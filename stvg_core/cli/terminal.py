"""Output for terminals: progress on stderr, tables, escaped text."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stvg_core._internal.plain_text import one_line

if TYPE_CHECKING:
    from stvg_core.host.tracing import HookCall

__all__ = ["TRACE_VARIABLE", "hook_trace", "one_line", "progress", "table_lines"]

TRACE_VARIABLE = "STVG_TRACE_HOOKS"
"""Environment variable for --trace-hooks."""

_STAGES = {
    "load": "loading the model",
    "query": "splitting the query",
    "video": "decoding the video",
    "encode": "encoding frames",
    "search": "searching windows",
    "prompts": "learning visual prompts",
    "attention": "computing attention maps",
    "unprompted": "computing attention maps without prompts",
    "tracks": "proposing tracks",
    "tube": "assembling the tube",
    "save": "writing files",
}


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of equal length as lines with aligned columns.

    >>> table_lines([("a", "b"), ("long", "c")])
    ['a     b', 'long  c']
    """
    tidy = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*tidy, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in tidy]


@contextmanager
def progress(title: str) -> Iterator[Callable[[str], None]]:
    """Show the current stage on stderr, if it is a terminal."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage: None
        return
    with console.status(escape(title)) as status:
        yield lambda stage: status.update(escape(f"{title}: {_stage_text(stage)}"))


def _stage_text(stage: str) -> str:
    """Return the description of a stage.

    >>> _stage_text("window 3 of 12: encode")
    'window 3 of 12: encoding frames'
    """
    part, colon, name = stage.rpartition(": ")
    return part + colon + _STAGES.get(name, name)


def hook_trace(wanted: bool) -> "Callable[[HookCall], None] | None":
    """Return a callback that prints one line per hook call to stderr, or None."""
    if not wanted:
        return None
    from stvg_core.host.tracing import format_call

    # Looked up at every call: a progress display puts another stderr in its place while it is shown.
    return lambda call: print(format_call(call), file=sys.stderr)
