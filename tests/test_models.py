"""What a user types after --model and --revision; without torch, without network."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest

from stvg_core.errors import ModelError, StvgError, UsageError
from stvg_core.hub import download_command
from stvg_core.identity import ModelReference
from stvg_core.models import ResolvedModel, named_models, read_architecture, resolve_model

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
        ("a--b/c", None, "hf download a--b/c"),
    ],
)
def test_a_hub_id_that_is_not_there(cache: Path, model: str, revision: str | None, command: str) -> None:
    with pytest.raises(ModelError, match="where there is a network: ") as raised:
        resolve_model(model, revision)
    assert str(raised.value).endswith(command)
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
    script = f"import sys; from stvg_core.models import resolve_model; print(resolve_model({ID!r}, 'v2').architecture)"
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
