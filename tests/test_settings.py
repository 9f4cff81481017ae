import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from stvg_core.errors import SettingsError
from stvg_core.host.registry.manifest import read_family_options, read_manifest, read_presets
from stvg_core.outputs.report.document import plain_settings
from stvg_core.settings import (
    CALIBRATED_FILE,
    PROVENANCE,
    FamilyOptions,
    FamilyPresets,
    InputSettings,
    LayerSettings,
    Settings,
    choose_settings,
    load_settings,
)


def test_paper_is_the_text_and_released_is_the_code() -> None:
    paper, released = load_settings("paper"), load_settings("released")
    assert (paper.prompt.steps, paper.prompt.step_size, paper.prompt.objective) == (1, 8.0, "exponential")
    assert paper.prompt.momentum is None
    assert paper.spatial.tokens.rule == "max_activation"
    assert (paper.joint.boundary, paper.joint.span_length(20), paper.sampling.frame_count) == ("top_k", 7, 20)
    assert paper.relative.neutral_question == "Describe this video in details."
    assert (released.prompt.steps, released.prompt.objective, released.prompt.momentum) == (2, "linear", 0.5)
    assert released.prompt.contrast_neutral
    assert (released.temporal.tokens.rule, released.temporal.tokens.fixed_position) == ("fixed", None)
    assert released.spatial.layers.layers(32) == tuple(range(32))
    assert (released.joint.boundary, released.joint.span_length(20)) == ("contiguous", 11)
    assert (released.joint.track_cells, released.joint.frame_scores) == ("centre", "pixels")
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
        elif prefix + name == "input.family":
            yield from ((f"input.family.{option}", chosen) for option, chosen in value.items())
        elif prefix + name not in PROVENANCE:
            yield prefix + name, value


def test_the_docs_list_every_setting_with_both_presets() -> None:
    rows = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8").splitlines()
    cells = {row.split("|")[1].strip(): row.split("|")[2:4] for row in rows if row.startswith("| `")}
    released = dict(leaves(load_settings("released")))
    paper = dict(leaves(load_settings("paper")))
    options = {name.strip("`"): cells.pop(name) for name in sorted(cells) if name.startswith("`input.family.")}
    assert set(cells) == {f"`{name}`" for name in paper}
    for name, value in paper.items():
        documented, differing = (cell.strip(" `") for cell in cells[f"`{name}`"])
        assert documented == json.dumps(value)
        assert differing == ("" if released[name] == value else json.dumps(released[name]))
    for package in ("llava-next", "qwen2-vl", "internvl"):
        family = declared(package)
        defaults, authors = (dict(leaves(load_settings(preset, family=family))) for preset in ("paper", "released"))
        for name in [name for name in defaults if name.startswith("input.family.")]:
            documented, differing = (cell.strip(" `") for cell in options.pop(name))
            assert documented == json.dumps(defaults[name])
            assert differing == ("" if authors[name] == defaults[name] else json.dumps(authors[name]))
    assert options == {}


def test_fast_is_the_paper_without_what_costs_gradients_and_a_second_view() -> None:
    fast, paper = dict(leaves(load_settings("fast"))), dict(leaves(load_settings("paper")))
    changed = {name: value for name, value in fast.items() if paper[name] != value}
    assert changed == {"prompt.steps": 0, "augment.enabled": False}


@pytest.mark.parametrize(("preset", "count"), [("paper", 7), ("fast", 7), ("released", 11)])
def test_at_a_presets_own_frames_the_span_is_what_it_was_and_nothing_is_said(preset: str, count: int) -> None:
    settings = load_settings(preset)
    assert settings.joint.span_length(settings.sampling.frame_count) == count
    assert settings.preset_frame_count == 20
    assert settings.scaled_span(20) is None


def test_another_number_of_frames_scales_the_span_and_says_so() -> None:
    said = "the span is 3 of 8 sampled frames: preset paper's 7 of 20, scaled"
    assert (load_settings("paper", overrides={"sampling.frame_count": 8}).scaled_span(8) or "").startswith(said)
    by_rate = load_settings("released", overrides={"sampling.mode": "fps"})
    assert "the span is 22 of 40 sampled frames: preset released's 11 of 20" in (by_rate.scaled_span(40) or "")


@pytest.mark.parametrize(
    "overrides",
    [
        {"joint.span_frame_count": 3},
        {"joint.span_share": 0.5},
        {"joint": {"span_share": 0.5}},
        {"joint.boundary": "max_sum"},
    ],
)
def test_a_span_that_the_user_chose_is_nobody_elses(overrides: dict[str, object]) -> None:
    assert load_settings("paper", overrides={"sampling.frame_count": 8} | overrides).scaled_span(8) is None


def test_a_number_of_frames_wins_over_their_share() -> None:
    settings = load_settings("paper", overrides={"joint.span_frame_count": 3, "joint.span_share": 1.0})
    assert [settings.joint.span_length(count) for count in (1, 8, 400)] == [3, 3, 3]


@given(st.integers(1, 400), st.data())
def test_a_calibration_that_counts_frames_scales_from_its_own(frame_count: int, data: st.DataObject) -> None:
    span = data.draw(st.integers(1, frame_count))
    with TemporaryDirectory() as folder:
        counted = {"sampling": {"frame_count": frame_count}, "joint": {"span_frame_count": span}}
        (Path(folder) / CALIBRATED_FILE).write_text(json.dumps(counted), encoding="utf-8")
        settings = load_settings("calibrated", checkpoint=Path(folder))
    assert settings.joint.span_length(frame_count) == span
    assert settings.scaled_span(frame_count) is None
    assert settings.joint.span_length(2 * frame_count) == 2 * span
    assert settings.scaled_span(2 * frame_count) is not None


FAMILY = FamilyPresets(
    "stvg-x:x", {"released": {"sampling.frame_count": 10, "joint.span_share": 0.6, "augment.enabled": False}}
)


def test_a_family_stands_between_preset_and_user() -> None:
    plain, own = load_settings("released"), load_settings("released", family=FAMILY)
    changed = {name for name, value in leaves(own) if dict(leaves(plain))[name] != value}
    assert changed == {"sampling.frame_count", "joint.span_share", "augment.enabled"}
    assert (own.preset, own.preset_frame_count, own.joint.span_length(10)) == ("released", 10, 6)
    user = load_settings("released", family=FAMILY, overrides={"augment.enabled": True, "sampling.frame_count": 20})
    assert user.augment.enabled
    assert "the span is 12 of 20 sampled frames: preset released's 6 of 10, scaled" in (user.scaled_span(20) or "")
    assert load_settings("paper", family=FAMILY) == load_settings("paper")
    assert choose_settings(None, None, {}, FAMILY) == load_settings("paper")


@pytest.mark.parametrize(
    ("differences", "message"),
    [
        ({"augment.enabld": False}, "setting augment.enabld of preset released in the manifest of stvg-x:x: Extra"),
        ({"sampling.frame_count": 0}, "setting sampling.frame_count of preset released in the manifest of stvg-x:x"),
        ({"sampling": 3}, "setting sampling of preset released in the manifest of stvg-x:x"),
        ({"sampling.frame_count": 3, "sampling.frame_count.more": 3}, "holds a value"),
    ],
)
def test_what_a_family_cannot_set_is_told_with_its_backend(differences: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings("released", family=FamilyPresets("stvg-x:x", {"released": differences}))


@pytest.mark.parametrize("name", PROVENANCE)
def test_where_settings_come_from_is_nothing_to_set(name: str) -> None:
    with pytest.raises(SettingsError, match=f"expected a setting, got '{name}'"):
        load_settings("paper", overrides={name: "mine"})


METHOD = Path(__file__).parents[1] / "docs" / "method.md"
MANIFESTS = {
    "llava-next": "stvg_plugins/llava_next/stvg_llava_next",
    "qwen2-vl": "stvg_plugins/qwen2_vl/stvg_qwen2_vl",
    "internvl": "stvg_plugins/internvl/stvg_internvl",
    "llava-onevision": "examples/llava_onevision_backend/stvg_llava_onevision",
}


def declared(name: str) -> FamilyPresets:
    """Return what a backend's manifest says of its family."""
    manifest, _ = read_manifest((METHOD.parents[1] / MANIFESTS[name],))
    return FamilyPresets(name, read_presets(manifest.presets), read_family_options(manifest.family_options))


def test_the_docs_hold_every_familys_preset_against_the_paper() -> None:
    """docs/method.md: the columns of presets say what the code holds, and no difference is left out."""
    columns: dict[str, dict[str, object]] = {"paper": dict(leaves(load_settings("paper")))}
    columns |= {name: dict(leaves(load_settings("released", family=declared(name)))) for name in MANIFESTS}
    lines = METHOD.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| setting | paper | `paper` |"))
    heads = [cell.strip(" `") for cell in lines[start].split("|")[1:-1]]
    assert heads == ["setting", "paper", "paper", "released tree", "research tree", "released`: llava-next", *heads[6:]]
    assert heads[6:] == ["qwen2-vl", "internvl", "llava-onevision"]
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.split("|")[1:-1])
        rows[name.strip("`")] = [cells[1], *cells[4:]]
    for setting, cells in rows.items():
        for cell, values in zip(cells, columns.values(), strict=True):
            if cell == "-":
                assert setting.startswith("input.family."), setting
                assert setting not in values
                continue
            text, value = cell.strip("`"), json.dumps(values[setting], ensure_ascii=False)
            assert value.startswith(text[:-1]) if text.endswith("…") else value == text, (setting, cell, value)
    differing = {
        setting
        for name in MANIFESTS
        for setting, value in leaves(load_settings("paper", family=declared(name)))
        if columns[name][setting] != value
    }
    assert differing <= set(rows)


class SomeOptions(FamilyOptions):
    stride: int = Field(4, ge=1)
    order: Literal["before", "after"] = "before"


DECLARED = FamilyPresets(
    "stvg-x:x", {"released": {"input.family.order": "after"}}, {"stride": 4, "order": ("before", "after")}
)


def test_options_of_a_family_are_complete_in_the_settings_and_frozen() -> None:
    assert load_settings("paper", family=DECLARED).input.family == {"stride": 4, "order": "before"}
    settings = load_settings("released", family=DECLARED, overrides={"input.family.stride": 2})
    assert settings.model_dump(mode="json")["input"]["family"] == {"stride": 2, "order": "after"}
    assert SomeOptions.of(settings.input) == SomeOptions(stride=2, order="after")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert hash(settings) == hash(settings.model_copy(deep=True))
    family: Any = settings.input.family
    with pytest.raises(TypeError, match="settings are frozen"):
        family["stride"] = 1
    with pytest.raises(TypeError, match="settings are frozen"):
        family.update(stride=1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"input.family.strid": 2},
            "family.strid: expected an option of backend stvg-x:x, got 'strid'; it has stride, order",
        ),
        ({"input.family.order": "befor"}, "setting input.family.order: expected one of 'before', 'after', got 'befor'"),
        (
            {"input.family.stride": [2]},
            "setting input.family.stride: Value error, expected a number, true, false, text",
        ),
        ({"input.family.stride": float("nan")}, "setting input.family.stride: Value error, expected a finite number"),
        ({"input.family": 3}, "setting input.family: "),
        ({"input.family.Stride!": 3}, "setting input.family.Stride!"),
    ],
)
def test_a_wrong_option_of_a_family_is_an_error_before_loading(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings("paper", family=DECLARED, overrides=overrides)


def test_the_familys_own_model_checks_what_a_manifest_cannot() -> None:
    with pytest.raises(
        SettingsError, match=r"family.stride: .* greater than or equal to 1, got 0; .* has stride, order"
    ):
        SomeOptions.of(InputSettings(family={"stride": 0}))
    with pytest.raises(SettingsError, match="expected an option of the model's family, got 'strid'; it has stride"):
        SomeOptions.of(InputSettings(family={"strid": 0}))
    with pytest.raises(SettingsError, match="no options"):
        FamilyOptions.of(InputSettings(family={"strid": 0}))


@pytest.mark.parametrize("value", [3, {"A": 1}, {"a": []}, {"a": {"b": 1}}, {"a": [[1]]}, {"a": 2**60}])
def test_a_manifests_options_are_names_and_plain_values(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_family_options(value)


@pytest.mark.parametrize("name", ["input.system_prompt", "relative.neutral_question", "question_template"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a {}\nb",
        "a  {}",
        "{} ",
        "\ta {}",
        "a\x1b[1m {}",
        "a\u202e {}",
        "e\u0301 {}",
        "a\udcff {}",
        "{}" + "a" * 5000,
    ],
)
def test_texts_are_those_that_a_document_records_as_they_are(name: str, text: str) -> None:
    """A result is made again from its recorded settings; a text that is changed on the way would make another one."""
    with pytest.raises(SettingsError, match=rf"setting {name}: "):
        load_settings("paper", overrides={name: text})
    kind = load_settings("paper", overrides={name: "You are {} ünï."})
    recorded = plain_settings(kind.model_dump(mode="json"))
    assert recorded == kind.model_dump(mode="json")


def test_a_family_that_tells_where_settings_come_from_or_misplaces_one_is_named() -> None:
    for values in (
        {"preset_frame_count": 3},
        {"preset": "evil"},
        {"prompt.steps.x": 1},
        {"joint": 1, "joint.span_share": 0.5},
    ):
        with pytest.raises(SettingsError, match="in the manifest of somebody"):
            load_settings("released", family=FamilyPresets("somebody", {"released": values}))


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 16**5000], ids=["large", "low", "endless"])
def test_a_manifests_numbers_are_bounded(value: int) -> None:
    with pytest.raises(ValueError, match=r"sampling\.frame_count.*got a number of \d+ bits"):
        read_presets({"released": {"sampling.frame_count": value}})


def test_a_share_that_is_set_is_nobodys_to_scale() -> None:
    settings = load_settings("paper", overrides={"joint.span_share": 0.35, "sampling.frame_count": 6})
    assert settings.scaled_span(6) is None
