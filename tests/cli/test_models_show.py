"""`stvg models show`: what a preset holds for a model, told before it is loaded."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stvg_core.api.attention import attend
from stvg_core.api.grounder import ground, settings_of
from stvg_core.api.run_spec import RunSpec
from stvg_core.cli.listing import details
from stvg_core.devtools.demos import find_demos
from stvg_core.evaluation.ablation.tables import TABLES
from stvg_core.evaluation.runs.evaluation import ModelChoice
from stvg_core.host.session import open_session
from stvg_core.settings import PROVENANCE, load_settings
from tests.support.command_line import Run

MODELS = ("tiny:internvl", "tiny:llava-next", "tiny:qwen2-vl")


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@pytest.mark.parametrize("model", MODELS)
def test_what_is_shown_is_what_the_loaded_model_gets(model: str) -> None:
    with open_session(model) as session:
        for preset in (None, "paper", "released", "fast"):
            shown = details(model, preset, None, None)
            assert shown["settings"] == settings_of(session, preset).model_dump(mode="json")
            assert shown["backend"]["name"] == session.identity.backend
            options = replace(session.family, presets={})
            base = dict(leaves(load_settings(shown["base_preset"], family=options).model_dump(mode="json")))
            assert {one["setting"]: one["value"] for one in shown["differences"]} == {
                name: value
                for name, value in leaves(shown["settings"])
                if base[name] != value and name not in PROVENANCE
            }
            assert {one["by"] for one in shown["differences"]} <= {"calibration" if preset is None else "family"}


def test_released_is_the_authors_code_family_by_family() -> None:
    """Their research tree, and the released one for LLaVA-NeXT-Video: docs/method.md."""
    found = {}
    for model in MODELS:
        shown = details(model, "released", None, None)
        found[model] = {one["setting"]: one["value"] for one in shown["differences"]}
        assert shown["settings"]["prompt"]["steps"] == 2
    assert set(found["tiny:llava-next"]) == {
        "input.system_prompt",
        "input.family.pooling_order",
        *(f"{branch}.layers.{end}" for branch in ("spatial", "temporal") for end in ("start", "stop")),
    }
    assert found["tiny:llava-next"]["temporal.layers.start"] == 6 / 32
    assert found["tiny:llava-next"]["temporal.layers.stop"] == 26 / 32
    assert found["tiny:llava-next"]["input.system_prompt"].startswith("A chat between a curious user and")
    assert found["tiny:qwen2-vl"] == {
        "input.family.position_rule": "sequential",
        "temporal.inference_question": "sentence",
        "augment.enabled": False,
    }
    system = found["tiny:internvl"].pop("input.system_prompt")
    assert system.startswith("你是书生·万象")
    assert found["tiny:internvl"] == {
        "sampling.frame_count": 10,
        "augment.enabled": False,
        "joint.span_share": 0.6,
    }


def test_the_command_prints_a_line_for_each_setting(stvg: Run) -> None:
    ran = stvg("models", "show", "tiny:qwen2-vl", "--preset", "released")
    assert ran.code == 0
    lines = dict(line.split(maxsplit=1) for line in ran.out.splitlines() if line)
    assert lines["architecture"] == "Qwen2VLForConditionalGeneration"
    assert lines["input.family.position_rule"].split() == ["family", '"sequential"', "(released:", '"original")']
    assert lines["relative.neutral_question"] == '"please describe this video"'
    shown = json.loads(stvg("models", "show", "tiny:qwen2-vl", "--preset", "released", "--json").out)
    assert {name for name, _ in leaves(shown["settings"])} - set(PROVENANCE) <= set(lines)
    assert shown["base_preset"] == "released"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show",), "expected stvg models, or stvg models show NAME"),
        (("list",), "expected stvg models, or stvg models show NAME"),
        (("show", "tiny:qwen"), "unknown model 'tiny:qwen'"),
        (("show", "tiny:qwen2-vl", "--preset", "relesed"), "unknown preset 'relesed'"),
        (("show", "tiny:qwen2-vl", "--backend", "internvll"), "unknown backend 'internvll'"),
    ],
)
def test_what_cannot_be_shown_is_one_line(stvg: Run, arguments: tuple[str, ...], message: str) -> None:
    ran = stvg("models", *arguments)
    assert ran.code in (1, 2)
    assert message in ran.error
    assert len(ran.error.strip().splitlines()) == 1


def test_showing_imports_no_torch_and_no_plugin() -> None:
    code = (
        "import sys; from stvg_core.cli.listing import details; details('tiny:qwen2-vl', 'released', None, None); "
        "print(sorted({'torch', 'transformers', 'stvg_qwen2_vl'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_result_says_where_its_span_was_scaled(tmp_path: Path) -> None:
    case = next(case for case in find_demos() if case.model == "tiny:internvl" or case.name == "easy")
    told = {}
    with open_session(case.model) as session:
        for count in (8, 20):
            overrides = {"sampling.frame_count": count, "prompt.steps": 0, "augment.enabled": False}
            result = ground(case.video, case.query, model=session, preset="paper", overrides=overrides)
            first, last = result.grounding.span_frames
            assert last - first + 1 >= result.document.settings["joint"]["span_share"] * count - 0.5
            told[count] = [warning for warning in result.document.warnings if "the span is" in warning]
    assert told[20] == []
    assert len(told[8]) == 1
    assert told[8][0].startswith("the span is 3 of 8 sampled frames: preset paper's 7 of 20, scaled")


def test_every_way_to_a_model_takes_its_familys_settings(tmp_path: Path) -> None:
    """By name and opened, for tubes, for maps, for runs, as a row of a comparison in another process."""
    case = next(case for case in find_demos() if case.name == "easy")
    expected = details("tiny:internvl", "released", None, None)["settings"]
    assert expected["sampling"]["frame_count"] == 10
    quick = {"prompt.steps": 0}
    with open_session("tiny:internvl") as session:
        for model in (session, "tiny:internvl"):
            told = ground(case.video, case.query, model=model, preset="released", overrides=quick).document.settings
            assert {name: told[name] for name in expected} == expected | {"prompt": expected["prompt"] | {"steps": 0}}
            looked = attend(case.video, case.query, model=model, preset="released").document.settings
            shown = {name for name in looked if name in expected}
            assert {"sampling", "input", "spatial"} <= shown
            assert {name: looked[name] for name in shown} == {name: expected[name] for name in shown}
    grounder = ModelChoice(RunSpec("tiny:internvl", preset="released")).open()
    assert grounder.settings.model_dump(mode="json") == expected
    variants = TABLES["presets"].variants(load_settings("paper"), grounder.session.family)
    (released,) = [variant for variant in variants if variant.name == "released"]
    own = load_settings("paper", overrides=released.overrides)
    assert (own.joint.span_share, own.augment.enabled) == (0.6, False)


PLUGIN = """
STVG_BACKEND = {
    "name": "mine",
    "display_name": "Qwen from a file",
    "hook_api": 1,
    "architectures": ["Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"],
    "plugin": "Mine",
    "presets": {"paper": {"sampling": {"frame_count": 4}, "joint.span_share": 0.5}, "released": {%s}},
}


def Mine():
    from stvg_qwen2_vl.family import Qwen2VLBackend

    return Qwen2VLBackend()
"""


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Let go of what was imported from files."""
    yield
    for name in [name for name in sys.modules if name.startswith("stvg_file_plugin_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("forgetful")
def test_a_backend_in_a_file_has_presets_too(stvg: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN % '"prompt": {"stepz": 1}', encoding="utf-8")
    chosen = ("tiny:qwen2-vl", "--backend", "mine.py:mine", "--plugin", file)
    shown = json.loads(stvg("models", "show", *chosen, "--preset", "paper", "--json").out)
    assert {one["setting"]: one["value"] for one in shown["differences"]} == {
        "sampling.frame_count": 4,
        "joint.span_share": 0.5,
    }
    case = next(case for case in find_demos() if case.name == "easy")
    ran = stvg("ground", case.video, case.query, "--model", *chosen, "--preset", "paper", "--json")
    told = json.loads(ran.out)["settings"]
    assert (told["sampling"]["frame_count"], told["preset_frame_count"]) == (4, 4)
    ran = stvg("ground", case.video, case.query, "--model", *chosen, "--preset", "released")
    assert ran.code == 1
    assert "setting prompt.stepz of preset released in the manifest of mine.py:mine: Extra inputs" in ran.error
