"""The options of a run: each command has them, and they make a RunSpec."""

import inspect
from dataclasses import fields
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from stvg_core.api.run_spec import RunOptions, RunSpec
from stvg_core.cli import app as stvg
from stvg_core.cli import run_options
from stvg_core.cli.run_options import with_run_spec
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
    "--attn-implementation",
    "eager",
    "--deterministic",
    "--recompute",
    "layer",
    "--cuda-graphs",
    "off",
    "--preset",
    "fast",
    "--set",
    "prompt.steps=0",
    "--tracks",
    "attention",
    "--decomposer",
    "mllm",
    "--backend",
    "theirs",
    "--extension",
    "outer",
    "--extension",
    "inner",
]


def app(specs: list[tuple[str, RunSpec, int]], *without: str) -> typer.Typer:
    made = typer.Typer()

    @made.command()
    @with_run_spec(without=without)
    def show(
        name: Annotated[str, typer.Argument()],
        *,
        spec: RunSpec,
        count: Annotated[int, typer.Option("--count")] = 3,
    ) -> None:
        """Show something."""
        specs.append((name, spec, count))

    return made


def test_options_make_a_spec_and_the_rest_keeps_its_default() -> None:
    specs: list[tuple[str, RunSpec, int]] = []
    assert CliRunner().invoke(app(specs), ["a", "-m", "m", "--count", "5", *WORDS]).exit_code == 0
    assert CliRunner().invoke(app(specs), ["b", "-m", "m"]).exit_code == 0
    load = LoadOptions("auto", "float16", "balanced", "4bit", "eager", True, "layer", "off")
    expected = RunSpec(
        "m", "v2", "theirs", load, "fast", {"prompt.steps": 0}, None, "attention", "mllm", ("outer", "inner")
    )
    assert specs[0] == ("a", expected, 5)
    assert specs[1] == ("b", RunSpec("m"), 3)
    assert all(getattr(load, field.name) != field.default for field in fields(load) if field.name != "device")
    assert CliRunner().invoke(app(specs), ["c", "-m", "m", "--device", "cuda:1"]).exit_code == 0
    assert specs[2][1].load.device == "cuda:1"


def test_every_load_option_is_an_option_of_the_command_line_and_a_field_of_the_table() -> None:
    names = {field.name for field in fields(LoadOptions)}
    assert names <= set(inspect.signature(run_options._options).parameters)
    assert names <= set(RunOptions.__annotations__)
    assert set(RunSpec.from_dict({"model": "m", "attn_implementation": "eager"}).to_dict()) == {
        "model",
        "attn_implementation",
    }


def test_models_and_presets_are_multiplied() -> None:
    made, specs = typer.Typer(), []

    @made.command()
    @run_options.with_run_specs()
    def show(*, specs: tuple[RunSpec, ...]) -> None:
        """Show something."""
        for spec in specs:
            given.append(spec)

    given: list[RunSpec] = specs
    words = ["-m", "a", "-m", "b", "--preset", "fast", "--preset", "paper", "--dtype", "float16"]
    assert CliRunner().invoke(made, words).exit_code == 0
    assert [(spec.model, spec.preset) for spec in given] == [
        ("a", "fast"),
        ("a", "paper"),
        ("b", "fast"),
        ("b", "paper"),
    ]
    assert {spec.load.dtype for spec in given} == {"float16"}
    given.clear()
    assert CliRunner().invoke(made, []).exit_code == 0
    assert given == []
    for words in (["--set", "prompt.steps=0"], ["--device", "cpu"], ["--preset", "fast"], ["--deterministic"]):
        with pytest.raises(UsageError, match=f"expected --model beside {words[0]}, got none"):
            CliRunner().invoke(made, words, catch_exceptions=False)


def test_an_option_that_is_left_out_is_unknown() -> None:
    specs: list[tuple[str, RunSpec, int]] = []
    words = ["a", "-m", "m"]
    assert CliRunner().invoke(app(specs, "recompute"), [*words, "--recompute", "layer"]).exit_code == 2
    assert CliRunner().invoke(app(specs, "recompute"), [*words, "--cuda-graphs", "off"]).exit_code == 0
    assert [spec.load.recompute for _, spec, _ in specs] == ["auto"]


def test_a_wrong_value_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="quantization"):
        CliRunner().invoke(app([]), ["a", "-m", "m", "--quantization", "3bit"], catch_exceptions=False)


@pytest.mark.parametrize("command", ["ground", "attend", "evaluate", "ablate"])
def test_help_tells_the_options_and_the_command_s_own_words(command: str) -> None:
    shown = CliRunner().invoke(stvg, [command, "--help"], env={"COLUMNS": "200"}).output
    for option in ("--device", "--revision", "--device-map", "--quantization", "--plugin", "--extension", "--model"):
        assert f"{option} " in shown, option
    assert "specs" not in shown
    assert ("--recompute" in shown) == (command != "attend")
