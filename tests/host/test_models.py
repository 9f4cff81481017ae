"""What a user types after --model and --revision; without torch, without network."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest

from stvg_core.errors import ModelError, PluginError, StvgError, UsageError
from stvg_core.host.hub import download_command
from stvg_core.host.models import ResolvedModel, named_models, read_architecture, resolve_model
from stvg_core.host.session import open_session
from stvg_core.plugin.model_reference import ModelReference

ID = "Some-Org/Tiny-VL"
COMMITS = {"1" * 40: "FirstModel", "2" * 40: "SecondModel"}


def write_config(folder: Path, architecture: str = "SomeModel") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with two revisions, on a machine that is offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    root = tmp_path / "home" / "hub" / ("models--" + ID.replace("/", "--"))
    for commit, architecture in COMMITS.items():
        write_config(root / "snapshots" / commit, architecture)
    (root / "refs").mkdir()
    for ref, commit in (("main", "1" * 40), ("v2", "2" * 40)):
        (root / "refs" / ref).write_text(commit)
    return tmp_path / "home" / "hub"


@pytest.mark.parametrize(
    ("revision", "architecture"),
    [
        (None, "FirstModel"),
        ("main", "FirstModel"),
        ("v2", "SecondModel"),
        ("1" * 40, "FirstModel"),
        ("2" * 40, "SecondModel"),
    ],
)
def test_a_hub_id(cache: Path, revision: str | None, architecture: str) -> None:
    assert resolve_model(ID, revision) == ResolvedModel(ModelReference(ID, None, revision), architecture)


@pytest.mark.parametrize(
    ("model", "revision", "command"),
    [
        ("nobody/nothing", None, "hf download nobody/nothing"),
        (ID, "v3", f"hf download {ID} --revision v3"),
        (ID, "3" * 40, f"hf download {ID} --revision {'3' * 40}"),
        (ID, "refs/pr/1; echo", f"hf download {ID} --revision 'refs/pr/1; echo'"),
    ],
)
def test_a_hub_id_that_is_not_there(cache: Path, model: str, revision: str | None, command: str) -> None:
    with pytest.raises(ModelError, match="and offline mode is on") as raised:
        resolve_model(model, revision)
    assert f"or run `{command}` where there is a network" in str(raised.value)
    assert download_command(model, revision) == command


def test_a_revision_needs_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_config(tmp_path / "model")
    (name,) = list(named_models())[:1]
    (tmp_path / "Some-Org" / "Tiny-VL").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for model, kind in (
        (str(folder), "local path"),
        (str(folder / "config.json"), "local path"),
        (ID, "local path"),
        (name, "named checkpoint"),
    ):
        with pytest.raises(UsageError, match=rf"beside revision 'v1', got the {kind} .*leave the revision out"):
            resolve_model(model, "v1")


def test_a_folder_goes_before_a_hub_id(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path / ID, "OfTheFolder")
    monkeypatch.chdir(tmp_path)
    assert resolve_model(ID) == ResolvedModel(ModelReference(ID, (tmp_path / ID).resolve()), "OfTheFolder")


def test_home_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_config(tmp_path / "model")
    assert resolve_model("~/model").reference.folder == tmp_path / "model"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{broken", "cannot read .*download the checkpoint again"),
        ("[" * 100_000, "cannot read .*download the checkpoint again"),
        ("[]", "expected 'architectures'"),
        ("{}", "expected 'architectures'"),
        ('{"architectures": []}', "expected 'architectures'"),
        ('{"architectures": [3]}', "expected 'architectures'"),
        (" " * (4 * 1024 * 1024 + 1), "below 4194304 bytes, got 4194305"),
    ],
)
def test_a_configuration_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=message) as raised:
        read_architecture(tmp_path / "config.json")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "environment", [lambda home: {"HF_HOME": str(home)}, lambda home: {"HF_HUB_CACHE": str(home / "hub")}]
)
def test_environment_variables(cache: Path, environment: Callable[[Path], dict[str, str]]) -> None:
    """A fresh process reads them, offline, and needs no torch."""
    script = (
        f"import sys; from stvg_core.host.models import resolve_model; print(resolve_model({ID!r}, 'v2').architecture)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", script + "; print('torch' in sys.modules)"],
        env=kept | {"HF_HUB_OFFLINE": "1"} | environment(cache.parent),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["SecondModel", "False"], done.stderr


def test_every_refusal_is_ours(tmp_path: Path, cache: Path) -> None:
    for model in (
        "",
        "no such: model",
        "../up",
        "a/b/c",
        "x" * 300,
        f"{'x' * 200}/{'y' * 200}",
        "~no-such-user/model",
        "\0",
    ):
        with pytest.raises(StvgError):
            resolve_model(model)


_AUTHORS = r"; it is the authors' own format, whose code is never run; use "


@pytest.mark.parametrize(
    ("model", "architecture", "advice"),
    [
        ("OpenGVLab/InternVL3-8B", "InternVLChatModel", f"{_AUTHORS}its conversion OpenGVLab/InternVL3-8B-hf"),
        ("OpenGVLab/InternVL3_5-2B", "InternVLChatModel", f"{_AUTHORS}its conversion OpenGVLab/InternVL3_5-2B-HF"),
        (
            "me/my-internvl",
            "InternVLChatModel",
            rf"{_AUTHORS}a conversion to transformers' own format \(-hf\), such as OpenGVLab/InternVL3-8B-hf",
        ),
        (
            "lmms-lab/LLaVA-NeXT-Video-7B-DPO",
            "LlavaLlamaForCausalLM",
            f"{_AUTHORS}its conversion llava-hf/LLaVA-NeXT-Video-7B-DPO-hf",
        ),
        (
            "llava-hf/llava-onevision-qwen2-7b-ov-hf",
            "LlavaOnevisionForConditionalGeneration",
            r"; the source tree has an example for it: pip install \./examples/llava_onevision_backend",
        ),
        ("Qwen/Qwen2-7B", "Qwen2ForCausalLM", "; it is a language model that sees no video; use a multimodal one"),
        (
            "Qwen/Qwen3-VL-8B-Instruct",
            "Qwen3VLForConditionalGeneration",
            r"; supported: .*InternVL.* `stvg new-backend NAME` writes a backend to fill in, and --plugin FILE",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["hub id", "folder"])
def test_an_architecture_that_nobody_reads(
    cache: Path, tmp_path: Path, model: str, architecture: str, advice: str, kind: str
) -> None:
    if kind == "folder":
        model = str(write_config(tmp_path / model, architecture))
    else:
        root = cache / ("models--" + model.replace("/", "--"))
        write_config(root / "snapshots" / ("1" * 40), architecture)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text("1" * 40)
    with pytest.raises(PluginError, match=f"no installed backend handles architecture '{architecture}'{advice}"):
        open_session(model)


@pytest.mark.parametrize("name", ["auto_map", "vision_config", "mm_vision_tower", "image_token_id"])
def test_what_may_see_is_no_language_model(tmp_path: Path, name: str) -> None:
    config = write_config(tmp_path, "SomethingForCausalLM") / "config.json"
    assert resolve_model(str(tmp_path)).is_language_model
    config.write_text(json.dumps(json.loads(config.read_text()) | {name: {}}))
    assert not resolve_model(str(tmp_path)).is_language_model


def test_a_name_without_its_organisation() -> None:
    with pytest.raises(ModelError, match="did you mean 'Qwen/Qwen2-VL-7B-Instruct'"):
        resolve_model("Qwen2-VL-7B-Instruct")
    with pytest.raises(ModelError, match="did you mean 'tiny:qwen2-vl'"):
        resolve_model("tiny:qwen2_vl")
