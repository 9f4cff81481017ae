"""Every way in which a checkpoint can be missing or damaged is one line with its cure."""

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, MistralConfig

from stvg_core.errors import ModelError
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_huggingface.capture import ATTENTION_NAME
from stvg_huggingface.loading import LoadedCheckpoint, load_checkpoint, refuse_windows
from stvg_huggingface.testing import save_tiny_model, tiny_internvl

QWEN = ("Qwen2VLForConditionalGeneration",)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model("qwen2-vl", tmp_path_factory.mktemp("good"), layers=1)


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
    assert (checkpoint.device, checkpoint.dtype) == (torch.device("cpu"), torch.float32)
    assert checkpoint.options == LoadOptions(device="cpu")
    assert checkpoint.folder == good
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


def sliding(window: int) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        text = json.loads((folder / "config.json").read_text())["text_config"]
        changed_config(
            text_config={
                **text,
                "layer_types": ["sliding_attention"],
                "use_sliding_window": True,
                "sliding_window": window,
                "max_window_layers": 0,
            }
        )(folder)

    return change


def with_more_words(folder: Path) -> None:
    """Give the vocabulary itself words that no row is left for."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    data["model"]["vocab"] |= {f"late{number}": number for number in range(512, 600)}
    path.write_text(json.dumps(data))


def without_rows(folder: Path, short: int = 1) -> None:
    """Leave some embedding rows less than the tokenizer has tokens."""
    weights = load_file(folder / "model.safetensors")
    tokens = len(AutoTokenizer.from_pretrained(folder))
    for name in ("lm_head.weight", next(name for name in weights if "embed_tokens" in name)):
        weights[name] = weights[name][: tokens - short].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.loads((folder / "config.json").read_text())["text_config"]
    changed_config(text_config={**text, "vocab_size": tokens - short})(folder)


def sharded(folder: Path) -> Path:
    model = load(folder).model
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    return folder / "model.safetensors.index.json"


def sharded_with(change: Callable[[dict[str, str]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = sharded(folder)
        data = json.loads(path.read_text())
        change(data["weight_map"])
        path.write_text(json.dumps(data))

    return damage


def without_a_shard(folder: Path) -> None:
    sharded(folder)
    next(folder.glob("model-00002-of-*.safetensors")).unlink()


def shard_elsewhere(name: str) -> Callable[[Path], object]:
    """Name a file that is there and would load, but outside the folder."""

    def damage(folder: Path) -> None:
        path = sharded(folder)
        data = json.loads(path.read_text())
        weight, shard = next(iter(data["weight_map"].items()))
        shutil.copy(folder / shard, folder.parent / "x.safetensors")
        data["weight_map"][weight] = name.format(parent=folder.parent)
        path.write_text(json.dumps(data))

    return damage


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


def without_a_merged_piece(folder: Path) -> None:
    """The tokenizers package raises Exception itself for it."""
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text("utf-8"))
    data["model"]["vocab"] = {piece: number for piece, number in data["model"]["vocab"].items() if piece != "yes"}
    path.write_text(json.dumps(data), "utf-8")


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
        (sliding(64), r"full attention in every layer.*sliding_window 64, max_position_embeddings 4096"),
        (changed_config(transformers_weights="other.safetensors"), "other.safetensors.*rename the file"),
        (holding("adapter_config.json", "{}"), "it is an adapter, no whole model; merge it"),
        (with_more_words, r"ids below 512 \(rows .* of tiny, got 599 \('late599'\); .* of different models"),
        (without_rows, r"ids below \d+ \(rows .* different models"),
        (without_a_shard, r"1 of \d weight files of tiny are missing, the first model-00002-of"),
        (shard_elsewhere("../x.safetensors"), r"within .*, got '\.\./x\.safetensors'"),
        (shard_elsewhere("{parent}/x.safetensors"), "within .*, got '/"),
        (sharded_with(lambda shards: shards.update(a="C:\\x.safetensors")), "within .*, got 'C:"),
        (sharded_with(lambda shards: shards.update(a="..\\x.safetensors")), "within "),
        (sharded_with(lambda shards: shards.update(a="sub/../../x.safetensors")), "within "),
        (sharded_with(lambda shards: shards.update(a="pytorch_model.bin")), "got 'pytorch_model.bin'"),
        (sharded_with(lambda shards: shards.update(a=3)), "got '3'"),
        (sharded_with(lambda shards: shards.clear()), "expected a weight_map"),
        (without("model.safetensors"), "expected weights as safetensors"),
        (as_pickle, r"expected weights as safetensors.*pytorch_model\.bin.*can run code"),
        (cut_short, "cannot load tiny"),
        (holding("model.safetensors", "no tensors at all"), "cannot load tiny"),
        (without_one_weight, "1 weights are missing"),
        (with_one_cut_weight, "cannot load tiny"),
        (without("tokenizer.json"), "expected tokenizer.json"),
        (holding("tokenizer.json", "{broken"), "cannot read the tokenizer"),
        (without_a_merged_piece, "cannot read the tokenizer"),
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


def test_a_tokenizer_that_just_fits(good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "copy"))
    without_rows(folder, 0)
    checkpoint = load(folder)
    assert len(checkpoint.tokenizer) == checkpoint.model.get_input_embeddings().num_embeddings


def test_a_window_over_the_whole_context_is_full_attention(good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "copy"))
    sliding(4096)(folder)
    assert load(folder).text_config.layer_types == ["sliding_attention"]


@pytest.mark.parametrize(("window", "refused"), [(4096, True), (32767, True), (32768, False), (None, False)])
def test_windows_of_models_without_layer_types(window: int | None, refused: bool) -> None:
    text = MistralConfig(sliding_window=window, max_position_embeddings=32768)
    assert getattr(text, "layer_types", None) is None
    with pytest.raises(ModelError, match="full attention") if refused else nullcontext():
        refuse_windows(ModelReference("mistral"), text)


def test_a_sharded_checkpoint(good: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "copy"))
    sharded(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert not (folder / "model.safetensors").exists()
    whole, parts = load(good).model.state_dict(), load(folder).model.state_dict()
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("propagate", [True, False])
def test_what_a_model_has_no_place_for_is_told_and_nothing_else_is_said(
    propagate: bool,
    good: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where transformers hands its records up, which it does once `CI` stands in the environment."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", propagate)
    folder = Path(shutil.copytree(good, tmp_path / "copy"))
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "stranger.weight": torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    handlers = logging.getLogger("transformers").handlers
    load(folder)
    assert [record.message for record in caplog.records] == [
        "tiny: left out 1 weights that the model has no place for, ['stranger.weight']"
    ]
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("transformers").handlers == handlers
    assert logging.getLogger("transformers").propagate == propagate


def test_weights_that_the_configuration_would_tie_stay_apart_where_they_differ(tmp_path: Path) -> None:
    """InternVL3's files on the hub hold a head of their own, while transformers 5 ties by default."""
    model, tokenizer = tiny_internvl(layers=1)
    assert not torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    changed_config(tie_word_embeddings=True)(tmp_path)
    loaded = load_checkpoint(
        ModelReference("intern", tmp_path), LoadOptions("cpu"), ("InternVLForConditionalGeneration",)
    ).model
    assert loaded.config.tie_word_embeddings
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    assert torch.equal(loaded.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_hub_id_that_is_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="hf download nobody/nothing"):
        load_checkpoint(ModelReference("nobody/nothing"), LoadOptions(device="cpu"), QWEN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "toaster"}, "expected a device"),
        ({"device": "cuda:99"}, "is not available"),
        ({"device": "meta"}, "auto, cpu or cuda"),
        ({"dtype": "int8"}, "expected a dtype"),
        ({"dtype": "nn"}, "expected a dtype"),
    ],
)
def test_options(good: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(good, **options)
