import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from stvg_core.config import CALIBRATED_FILE, LayerSettings, Settings, load_settings
from stvg_core.errors import SettingsError


def test_paper_is_the_text_and_released_is_the_code() -> None:
    paper, released = load_settings("paper"), load_settings("released")
    assert (paper.prompt.steps, paper.prompt.step_size, paper.prompt.objective) == (1, 8.0, "exponential")
    assert paper.prompt.momentum is None
    assert paper.spatial.tokens.rule == "max_activation"
    assert (paper.joint.boundary, paper.joint.span_frame_count) == ("top_k", 7)
    assert paper.relative.neutral_question == "Describe this video in details."
    assert (released.prompt.steps, released.prompt.objective, released.prompt.momentum) == (2, "linear", 0.5)
    assert released.prompt.contrast_neutral
    assert (released.temporal.tokens.rule, released.temporal.tokens.fixed_position) == ("fixed", None)
    assert released.spatial.layers.layers(32) == tuple(range(6, 26))
    assert (released.joint.boundary, released.joint.span_frame_count) == ("contiguous", 11)
    assert released.relative.neutral_question == "please describe this video"


@given(st.floats(0, 0.99), st.floats(0.01, 1), st.integers(1, 80))
def test_some_layer_is_always_averaged(start: float, stop: float, count: int) -> None:
    if start >= stop:
        return
    layers = LayerSettings(start=start, stop=stop).layers(count)
    assert layers
    assert set(layers) <= set(range(count))


def test_overrides_are_dotted_names() -> None:
    settings = load_settings("paper", overrides={"prompt.steps": 0, "spatial.tokens.rule": "mean"})
    assert settings.prompt.steps == 0
    assert settings.spatial.tokens.rule == "mean"
    assert settings.temporal.tokens.rule == "max_activation"


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("papre", {}, "unknown preset 'papre'"),
        ("paper", {"prompt.stepz": 1}, "setting prompt.stepz"),
        ("paper", {"prompt.steps": -1}, "setting prompt.steps"),
        ("paper", {"prompt.steps.more": 1}, "holds a value|prompt.steps"),
        ("paper", {"question_template": "no gap"}, "one {}"),
        ("paper", {"spatial.layers.start": 1.0}, "start < stop"),
        ("calibrated", {}, "stvg-settings.json"),
    ],
)
def test_bad_settings_name_the_setting(preset: str, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(preset, overrides=overrides)


def test_calibrated_settings_come_from_the_checkpoint_alone(tmp_path: Path) -> None:
    (tmp_path / CALIBRATED_FILE).write_text(json.dumps({"prompt": {"steps": 3}}), encoding="utf-8")
    settings = load_settings("calibrated", checkpoint=tmp_path)
    assert (settings.preset, settings.prompt.steps) == ("calibrated", 3)
    assert settings.prompt.objective == Settings().prompt.objective
    assert load_settings("paper", checkpoint=tmp_path).prompt.steps == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"prompt": 3}', "\udcff"])
def test_a_broken_calibration_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / CALIBRATED_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError):
        load_settings("calibrated", checkpoint=tmp_path)


@given(st.text(min_size=1, max_size=40))
def test_a_question_keeps_braces_of_the_query(text: str) -> None:
    question = Settings().question(text)
    assert question.startswith("Is there ")
    assert question.endswith(" in this video?")


def leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        elif prefix + name != "preset":
            yield prefix + name, value


def test_the_docs_list_every_setting_with_both_presets() -> None:
    rows = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8").splitlines()
    cells = {row.split("|")[1].strip(): row.split("|")[2:4] for row in rows if row.startswith("| `")}
    released = dict(leaves(load_settings("released")))
    paper = dict(leaves(load_settings("paper")))
    assert set(cells) == {f"`{name}`" for name in paper}
    for name, value in paper.items():
        documented, differing = (cell.strip(" `") for cell in cells[f"`{name}`"])
        assert documented == json.dumps(value)
        assert differing == ("" if released[name] == value else json.dumps(released[name]))


def test_fast_is_the_paper_without_what_costs_gradients_and_a_second_view() -> None:
    fast, paper = dict(leaves(load_settings("fast"))), dict(leaves(load_settings("paper")))
    changed = {name: value for name, value in fast.items() if paper[name] != value}
    assert changed == {"prompt.steps": 0, "augment.enabled": False} | ({"preset": "fast"} if "preset" in fast else {})
