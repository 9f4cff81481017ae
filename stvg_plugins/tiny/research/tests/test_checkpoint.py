"""The shipped checkpoints: complete, small, found without torch, and not at chance."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stvg_core.host.models import named_models
from stvg_core.settings import load_settings
from stvg_tiny import models
from stvg_tiny.sampling import Split
from tiny_recipe.architectures import ARCHITECTURES
from tiny_recipe.calibrate import start_settings
from tiny_recipe.evaluate import evaluate
from tiny_recipe.pixels import preprocessor_config
from tiny_recipe.tokenizer import build_tokenizer

MEGABYTE = 1024 * 1024
SHIPPED = [entry for name, entry in named_models().items() if name.startswith("tiny:")]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=[entry.name for entry in SHIPPED])
def folder(request: pytest.FixtureRequest) -> Path:
    return next(entry for entry in SHIPPED if entry.name == request.param).load()()


def test_every_checkpoint_in_the_package_has_a_name() -> None:
    folders = {path.name for path in (Path(models.__file__).parent / "checkpoints").iterdir() if path.is_dir()}
    assert {entry.name.removeprefix("tiny:") for entry in SHIPPED} == folders
    assert "qwen2-vl" in folders


def test_they_are_found_without_importing_torch() -> None:
    code = (
        "import sys; from stvg_tiny.models import qwen2_vl; assert qwen2_vl().is_dir(); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_it_is_complete_and_small(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"} <= names
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8 * MEGABYTE


def test_weights_are_finite_half_precision(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert all(value.isfinite().all() for value in weights.values())


def test_its_files_are_what_the_code_would_write(folder: Path) -> None:
    row = ARCHITECTURES[folder.name]
    assert json.loads((folder / "preprocessor_config.json").read_text()) == preprocessor_config(row)
    assert (folder / "chat_template.jinja").read_text() == row.chat.template
    saved = json.loads((folder / "tokenizer.json").read_text())
    built = build_tokenizer(row.chat)
    assert saved["model"]["vocab"] == {
        word: index for word, index in built.get_vocab().items() if word in saved["model"]["vocab"]
    }
    assert len(saved["model"]["vocab"]) == len(built)


def test_its_settings_show_frames_as_it_was_trained(folder: Path) -> None:
    row = ARCHITECTURES[folder.name]
    settings = load_settings("calibrated", checkpoint=folder)
    assert settings.input == row.inputs
    assert settings.sampling.frame_count == start_settings(row)["sampling"]["frame_count"] == row.grid.frame_count


def test_it_answers_far_better_than_chance(folder: Path) -> None:
    accuracy = evaluate(folder, Split.DEVELOPMENT, "easy", scenes=6)["accuracy"]
    kinds = [accuracy[kind] for kind in ("attribute", "single", "action", "subject_action", "combined")]
    assert np.mean(kinds) > 0.8
