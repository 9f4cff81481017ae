"""Every way in which a checkpoint can be missing or damaged is one line with its cure."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from stvg_core.errors import ModelError
from stvg_core.identity import LoadOptions, ModelReference
from stvg_huggingface.capture import ATTENTION_NAME
from stvg_huggingface.loading import LoadedCheckpoint, load_checkpoint
from stvg_huggingface.testing import save_tiny_qwen2_vl

QWEN = ("Qwen2VLForConditionalGeneration",)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen2_vl(tmp_path_factory.mktemp("good"), layers=1)


def load(folder: Path, **options: str) -> LoadedCheckpoint:
    return load_checkpoint(ModelReference("tiny", folder), LoadOptions(**{"device": "cpu", **options}), QWEN)


def test_a_good_checkpoint(good: Path) -> None:
    checkpoint = load(good)
    model = checkpoint.model
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert checkpoint.text_config._attn_implementation == ATTENTION_NAME
    assert model.config.vision_config._attn_implementation != ATTENTION_NAME
    assert checkpoint.statistics.mean == (0.5, 0.4, 0.3)
    assert load(good, dtype="bfloat16").model.dtype == torch.bfloat16


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def holding(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def changed_config(**values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def sliding(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    changed_config(text_config={**text, "layer_types": ["sliding_attention"], "use_sliding_window": True})(folder)


def without_one_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[
        "model.layers.0.mlp.up_proj.weight" if "model.layers.0.mlp.up_proj.weight" in weights else "lm_head.weight"
    ]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_one_cut_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"][:-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def as_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "is not there"),
        (without("config.json"), "expected config.json"),
        (holding("config.json", "{broken"), "cannot read config.json"),
        (holding("config.json", "[1]"), "cannot read config.json"),
        (changed_config(model_type="unheard_of"), "cannot read config.json"),
        (changed_config(text_config={"hidden_size": "wide"}), "cannot read config.json"),
        (changed_config(architectures=["BertModel"]), "expected a checkpoint of Qwen2VL.*BertModel.*stvg plugins"),
        (changed_config(architectures=None), "unnamed"),
        (sliding, "full attention"),
        (without("model.safetensors"), "expected weights as safetensors"),
        (as_pickle, "expected weights as safetensors"),
        (cut_short, "cannot load tiny"),
        (holding("model.safetensors", "no tensors at all"), "cannot load tiny"),
        (without_one_weight, "1 weights are missing"),
        (with_one_cut_weight, "cannot load tiny"),
        (without("tokenizer.json"), "expected tokenizer.json"),
        (holding("tokenizer.json", "{broken"), "cannot read the tokenizer"),
        (holding("preprocessor_config.json", "{broken"), "cannot read preprocessor_config.json"),
        (holding("preprocessor_config.json", "[]"), "expected a JSON object"),
    ],
)
def test_damage(good: Path, tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "copy"))
    damage(folder)
    with pytest.raises(ModelError, match=message) as raised:
        load(folder)
    assert "\n" not in str(raised.value)


def test_code_of_a_checkpoint_is_never_run(good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "copy"))
    trap = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\nclass Evil: pass\n")
    changed_config(model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModelForImageTextToText": "evil.Evil"})(
        folder
    )
    with pytest.raises(ModelError, match=r"cannot read config\.json"):
        load(folder)
    assert not trap.exists()


def test_hub_id_that_is_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="hf download nobody/nothing"):
        load_checkpoint(ModelReference("nobody/nothing"), LoadOptions(device="cpu"), QWEN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "toaster"}, "expected a device"),
        ({"device": "cuda:99"}, "is not there"),
        ({"device": "meta"}, "auto, cpu or cuda"),
        ({"dtype": "int8"}, "expected a dtype"),
        ({"dtype": "nn"}, "expected a dtype"),
    ],
)
def test_options(good: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(good, **options)
