"""Help texts: complete, grouped, with their defaults."""

from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

import stvg_core
from stvg_core.cli import app

WIDE = {"COLUMNS": "400", "TERM": "dumb"}


def commands() -> Iterator[tuple[tuple[str, ...], typer.core.TyperCommand]]:
    """Yield every command with its words."""

    def below(words: tuple[str, ...], command: object) -> Iterator[tuple[tuple[str, ...], typer.core.TyperCommand]]:
        for name, child in getattr(command, "commands", {}).items():
            yield from below((*words, name), child)
        yield words, command

    yield from below((), typer.main.get_command(app))


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_help_shows_every_text_whole(words: tuple[str, ...]) -> None:
    command = dict(commands())[words]
    ran = CliRunner().invoke(app, [*words, "--help"], env=WIDE, catch_exceptions=False)
    assert ran.exit_code == 0, ran.exception
    shown = " ".join(ran.output.split())
    for parameter in command.params:
        text = getattr(parameter, "help", None)
        if text and not getattr(parameter, "hidden", False):
            assert " ".join(text.split()) in shown, parameter.name
            assert "[default" not in text, f"{parameter.name}: let show_default say it"


def test_commands_come_in_groups() -> None:
    shown = CliRunner().invoke(app, ["--help"], env=WIDE).output
    groups = [shown.index(f" {group} ") for group in ("Ground", "Evaluate", "Plugins", "Develop")]
    assert groups == sorted(groups)
    assert "--install-completion" in shown


def test_version() -> None:
    ran = CliRunner().invoke(app, ["--version"])
    assert (ran.exit_code, ran.output) == (0, f"stvg {stvg_core.__version__}\n")
