"""What a terminal is shown: progress on stderr, tables, and text made harmless."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LONGEST_LINE = 2000
_STAGES = {
    "load": "loading the model",
    "query": "splitting the query",
    "video": "decoding the video",
    "encode": "encoding frames",
    "prompts": "learning visual prompts",
    "attention": "reading attention",
    "tracks": "proposing tracks",
    "tube": "assembling the tube",
    "save": "writing files",
}


def one_line(text: str) -> str:
    r"""Return text on one line without control characters, cut where it is very long.

    >>> one_line("no\x1b[31m such\nfile")
    'no[31m such file'
    """
    tidy = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return tidy if len(tidy) <= _LONGEST_LINE else f"{tidy[:_LONGEST_LINE]} ..."


@contextmanager
def progress(title: str) -> Iterator[Callable[[str], None]]:
    """Show the current stage on stderr while inside; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage: None
        return
    with console.status(escape(title)) as status:
        yield lambda stage: status.update(f"{escape(title)}: {_STAGES.get(stage, stage)}")
