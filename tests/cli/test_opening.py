"""The options of opening a model: each command has them, and what is said arrives."""

from dataclasses import fields
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from stvg_core.cli import app as stvg
from stvg_core.cli.opening import Opening, opens_model
from stvg_core.errors import UsageError
from stvg_core.plugin.model_reference import LoadOptions

WORDS = [
    "--dtype",
    "float16",
    "--revision",
    "v2",
    "--device-map",
    "balanced",
    "--quantization",
    "4bit",
    "--attention",
    "eager",
    "--deterministic",
    "--recompute",
    "layer",
    "--cuda-graphs",
    "off",
    "--backend",
    "theirs",
    "--extension",
    "outer",
    "--extension",
    "inner",
]


def app(found: list[tuple[str, Opening, int]], *left_out: str) -> typer.Typer:
    made = typer.Typer()

    @made.command()
    @opens_model(*left_out)
    def look(
        name: Annotated[str, typer.Argument()],
        *,
        opening: Opening,
        count: Annotated[int, typer.Option("--count")] = 3,
    ) -> None:
        """Look at something."""
        found.append((name, opening, count))

    return made


def test_what_is_said_arrives_and_the_rest_stands_at_its_default() -> None:
    found: list[tuple[str, Opening, int]] = []
    assert CliRunner().invoke(app(found), ["a", "--count", "5", *WORDS]).exit_code == 0
    assert CliRunner().invoke(app(found), ["b"]).exit_code == 0
    options = LoadOptions("auto", "float16", "balanced", "4bit", "eager", True, "layer", "off")
    assert found[0] == ("a", Opening(options, "v2", "theirs", ("outer", "inner")), 5)
    assert found[1] == ("b", Opening(LoadOptions(), None, None, ()), 3)
    assert all(getattr(options, field.name) != field.default for field in fields(options) if field.name != "device")
    assert CliRunner().invoke(app(found), ["c", "--device", "cuda:1"]).exit_code == 0
    assert found[2][1].options.device == "cuda:1"


def test_an_option_that_is_left_out_is_unknown() -> None:
    found: list[tuple[str, Opening, int]] = []
    assert CliRunner().invoke(app(found, "recompute"), ["a", "--recompute", "layer"]).exit_code == 2
    assert CliRunner().invoke(app(found, "recompute"), ["a", "--cuda-graphs", "off"]).exit_code == 0
    assert [opening.options.recompute for _, opening, _ in found] == ["auto"]


def test_a_wrong_value_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="quantization"):
        CliRunner().invoke(app([]), ["a", "--quantization", "3bit"], catch_exceptions=False)


@pytest.mark.parametrize("command", ["ground", "attend", "evaluate", "ablate"])
def test_help_tells_the_options_and_the_command_s_own_words(command: str) -> None:
    shown = CliRunner().invoke(stvg, [command, "--help"], env={"COLUMNS": "200"}).output
    for option in ("--device", "--revision", "--device-map", "--quantization", "--plugin", "--extension", "--model"):
        assert f"{option} " in shown, option
    assert "opening" not in shown
    assert ("--recompute" in shown) == (command != "attend")
