"""RunSpec: one value for what decides a result, from keywords, tables and TOML."""

from dataclasses import fields
from pathlib import Path

import pytest

from stvg_core import RunSpec, load_settings
from stvg_core.api.run_spec import RunOptions, read_run_tables
from stvg_core.errors import UsageError
from stvg_core.plugin import LoadOptions

FULL = RunSpec(
    "m",
    "v2",
    "theirs",
    LoadOptions("auto", "float16", "balanced", "4bit", "eager", True, "layer", "off"),
    "fast",
    {"prompt.steps": 0, "input.answer_words": ["yes", "no"]},
    None,
    "file:tracks.json",
    "mllm",
    ("outer", "inner"),
)


@pytest.mark.parametrize(
    "spec", [FULL, RunSpec("m"), RunSpec("m", settings=load_settings("paper", overrides={"prompt.steps": 0}))]
)
def test_a_table_makes_the_same_spec(spec: RunSpec) -> None:
    assert RunSpec.from_dict(spec.to_dict()) == spec


def test_every_field_is_in_the_table_and_the_keywords() -> None:
    names = {field.name for field in (*fields(RunSpec), *fields(LoadOptions))} - {"load"}
    table = {"set" if name == "overrides" else name for name in names - {"settings"}}
    assert set(FULL.to_dict()) == table - {"device"}
    assert set(RunOptions.__annotations__) == names - {"model", "tracks"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "expected a run's model"),
        ({"model": ""}, "expected a run's model"),
        ({"model": 3}, "expected a run's model"),
        ({"model": "m", "modle": "m"}, "expected a run's modle"),
        ({"model": "m", "set": ["a"]}, "expected a run's set"),
        ({"model": "m", "dtype": 16}, "expected a run's dtype"),
        ({"model": "m", "quantization": "3bit"}, "quantization"),
        ({"model": "m", "preset": "paper", "settings": load_settings("paper").model_dump()}, "leave one of them out"),
        ({"model": "m", "extensions": "one"}, "expected a run's extensions"),
        ({"model": "m", "\u202eloop": 1}, "expected a run's"),
    ],
)
def test_what_is_no_run_is_said(table: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        RunSpec.from_dict(table)
    assert "\u202e" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1 to 500"),
        ("run = 3", r"\[\[run\]\] tables alone"),
        ("[[run]]\nmodel = 'a'\n[other]\n", r"\[\[run\]\] tables alone"),
        ("[[run]\n", "expected a TOML file"),
        ("[[run]]\nmodel = 'a'\n" * 501, "1 to 500"),
    ],
)
def test_files_that_hold_no_runs(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_run_tables(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_run_tables(tmp_path / "nothing.toml")


def test_objects_cannot_be_written_down() -> None:
    class Extension:
        name = "mine"

    with pytest.raises(UsageError, match="'mine' as an object"):
        RunSpec("m", extensions=(Extension(),)).to_dict()
