"""Load options: dtype, attention kernels, quantization and device maps, and what they need."""

import importlib.util
import json
import logging
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText

from stvg_core.errors import DeviceMemoryError, ModelError
from stvg_core.plugin.adapter import AttentionRequest
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.capture import ATTENTION_NAME
from stvg_huggingface.devices import choose_dtype, refuse_offloading
from stvg_huggingface.loading import LoadedCheckpoint, load_checkpoint
from stvg_huggingface.quantization import quantization_arguments, unquantized_modules
from stvg_huggingface.testing import save_tiny_model
from stvg_qwen2_vl.family import Qwen2VLFamily

QWEN = Qwen2VLFamily()
QUESTIONS = ("Is there a man in this video?", "Is there a car in this video?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model("qwen2-vl", tmp_path_factory.mktemp("options"), layers=2)


def load(folder: Path, **options: Any) -> LoadedCheckpoint:
    return load_checkpoint(ModelReference("tiny", folder), LoadOptions(**options), QWEN.architectures)


def computed(checkpoint: LoadedCheckpoint) -> tuple[Tensor, Tensor, Tensor]:
    """Return margins, their gradient to the prompt, and attention rows; through the whole adapter."""
    adapter = HuggingFaceAdapter(checkpoint, QWEN)
    info = VideoInfo("clip.mp4", 80, 40, 10.0, 10.0, np.arange(100) / 10)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 40, 80, 3), dtype=np.uint8)
    clip = adapter.encode(Frames(info, np.arange(3) * 11, pixels), InputSettings(frame_size_pixels=32), (0, 1, 2))
    # Attention first: bitsandbytes may store weights in another way for passes without gradients.
    rows = adapter.attention_rows(AttentionRequest(clip, QUESTIONS[:1], None, (0, 1)))[0].rows
    prompt = torch.zeros_like(clip.visual_tokens, requires_grad=True)
    margins = adapter.answer_logits(clip, QUESTIONS, prompt).margins
    (gradient,) = torch.autograd.grad(margins.sum(), prompt)
    return margins.detach().float(), gradient.float(), rows.float()


def hide(packages: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, *arguments: Any) -> Any:
        return None if name in packages else find(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", without)


# dtype


def as_float16(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    load(folder, device="cpu", dtype="float16").model.save_pretrained(target)
    assert json.loads((target / "config.json").read_text())["dtype"] == "float16"
    return target


def test_dtype_auto(folder: Path, tmp_path: Path) -> None:
    """Float32 on the CPU, whatever the file holds; elsewhere the file's own, which None stands for."""
    half = as_float16(folder, tmp_path / "half")
    assert load(half, device="cpu").dtype == torch.float32
    assert choose_dtype(LoadOptions(), torch.device("cuda")) is None
    own = AutoModelForImageTextToText.from_pretrained(half, dtype="auto")
    assert {weight.dtype for weight in own.parameters()} == {torch.float16}
    checkpoint = load(half, device="cpu", dtype="bfloat16")
    assert {weight.dtype for weight in checkpoint.model.parameters()} == {torch.bfloat16} == {checkpoint.dtype}


# attention


@pytest.mark.parametrize(("wanted", "vision"), [("auto", "sdpa"), ("sdpa", "sdpa"), ("eager", "eager")])
@pytest.mark.parametrize("family", ["qwen2-vl", "llava-next-video", "internvl"])
def test_attention_kernels(family: str, wanted: str, vision: str, tmp_path: Path) -> None:
    save_tiny_model(family, tmp_path, layers=1)
    architectures = json.loads((tmp_path / "config.json").read_text())["architectures"]
    config = load_checkpoint(
        ModelReference("tiny", tmp_path), LoadOptions("cpu", attn_implementation=wanted), architectures
    ).model.config
    assert config.vision_config._attn_implementation == vision
    assert config.get_text_config()._attn_implementation == ATTENTION_NAME


def test_attention_kernels_agree(folder: Path) -> None:
    for ours, theirs in zip(
        computed(load(folder, device="cpu", attn_implementation="eager")),
        computed(load(folder, device="cpu", attn_implementation="sdpa")),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_flash_attention(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide({"flash_attn"}, monkeypatch)
    with pytest.raises(ModelError, match="needs the package flash-attn; pip install flash-attn, or use"):
        load(folder, device="cpu", attn_implementation="flash_attention_2")
    monkeypatch.setattr(importlib.util, "find_spec", ModuleType)
    with pytest.raises(ModelError, match="needs a CUDA device, got cpu; use attention sdpa"):
        load(folder, device="cpu", attn_implementation="flash_attention_2")


# quantization


@pytest.mark.parametrize(
    ("family", "kept"),
    [
        ("qwen2-vl", {"model.visual", "lm_head"}),
        (
            "llava-next-video",
            {"model.vision_tower", "model.vision_resampler", "model.multi_modal_projector", "lm_head"},
        ),
        ("internvl", {"model.vision_tower", "model.multi_modal_projector", "lm_head"}),
    ],
)
def test_what_stays_unquantized(family: str, kept: set[str], tmp_path: Path) -> None:
    save_tiny_model(family, tmp_path, layers=1)
    assert set(unquantized_modules(AutoConfig.from_pretrained(tmp_path))) == kept


@pytest.mark.parametrize("missing", [{"bitsandbytes"}, {"accelerate"}, {"bitsandbytes", "accelerate"}])
@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantization_without_its_packages(
    folder: Path, missing: set[str], quantization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else ModuleType(name))
    with pytest.raises(ModelError) as raised:
        load(folder, device="cpu", quantization=quantization)
    assert str(raised.value).endswith('; pip install "stvg-huggingface[quantization]"')
    assert all(name in str(raised.value) for name in missing)


def test_quantization_in_double_precision(folder: Path) -> None:
    with pytest.raises(ModelError, match="float32, bfloat16 or float16 beside quantization '8bit', got float64"):
        load(folder, device="cpu", quantization="8bit", dtype="float64")


def test_a_checkpoint_that_is_quantized_already(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="they are quantized already; leave quantization out"):
        load(copy, device="cpu", quantization="8bit")
    hide({"accelerate"}, monkeypatch)
    with pytest.raises(ModelError, match=r'a quantized checkpoint needs accelerate; pip install "stvg-huggingface\['):
        load(copy, device="cpu")


@pytest.mark.parametrize(
    ("dtype", "expected"), [(None, torch.float16), (torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16)]
)
def test_the_dtype_that_4bit_computes_in(
    folder: Path, tmp_path: Path, dtype: torch.dtype | None, expected: torch.dtype
) -> None:
    """Explicit, since bitsandbytes' own default is float32 whatever the model's dtype."""
    pytest.importorskip("bitsandbytes")
    config = AutoConfig.from_pretrained(as_float16(folder, tmp_path / "half"))
    arguments = quantization_arguments(ModelReference("tiny"), config, LoadOptions(quantization="4bit"), dtype)
    assert arguments["quantization_config"].bnb_4bit_compute_dtype == expected


def plain(weight: Any) -> Tensor:
    """Return the numbers that a quantized weight stands for."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    if weight.dtype == torch.int8:
        return (weight.data.float() * weight.SCB[:, None] / 127).detach()
    return bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state).detach()


@pytest.mark.parametrize("version", ["2", "2.5"])
@pytest.mark.parametrize("device_map", [None, "auto"])
@pytest.mark.parametrize(("quantization", "packed"), [("8bit", torch.int8), ("4bit", torch.uint8)])
def test_a_quantized_model_computes_with_its_numbers(
    quantization: str, packed: torch.dtype, device_map: str | None, version: Any, tmp_path: Path
) -> None:
    """Like the plain model that holds the dequantized weights, gradient and attention included."""
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    device = "auto" if device_map else "cpu"
    folder = save_tiny_model(f"qwen{version}-vl", tmp_path, layers=2)
    checkpoint = load(folder, device=device, quantization=quantization, device_map=device_map, dtype="float32")
    quantized = {name: weight for name, weight in checkpoint.model.named_parameters() if weight.dtype == packed}
    assert len(quantized) == 2 * 7
    assert all(".language_model.layers." in name for name in quantized)
    assert checkpoint.dtype == torch.float32
    reference = load(folder, device=str(checkpoint.device), dtype="float32")
    weights = dict(reference.model.named_parameters())
    for name, weight in quantized.items():
        weights[name].data.copy_(plain(weight))
    margins, gradient, rows = computed(checkpoint)
    expected_margins, expected_gradient, expected_rows = computed(reference)
    assert gradient.isfinite().all()
    assert float(gradient.norm()) > 0.01
    if quantization == "4bit":
        torch.testing.assert_close(margins, expected_margins, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(rows, expected_rows, rtol=1e-4, atol=1e-7)
    else:
        # 8-bit also rounds what the weights are multiplied with.
        torch.testing.assert_close(margins, expected_margins, rtol=0, atol=0.1)
        assert float(torch.cosine_similarity(gradient.flatten(), expected_gradient.flatten(), 0)) > 0.99
        assert float((rows - expected_rows).abs().max()) < 0.1 * float(expected_rows.max())


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_a_checkpoint_saved_quantized(quantization: str, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    checkpoint = load(folder, device="cpu", quantization=quantization)
    shutil.copytree(folder, tmp_path / "saved")
    checkpoint.model.save_pretrained(tmp_path / "saved")
    for ours, theirs in zip(computed(load(tmp_path / "saved", device="cpu")), computed(checkpoint), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


# device maps


@pytest.mark.parametrize("device_map", ["auto", "balanced", "sequential"])
def test_device_map_without_accelerate(folder: Path, device_map: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hide({"accelerate"}, monkeypatch)
    with pytest.raises(ModelError, match=rf"device_map '{device_map}' needs accelerate; pip install .*\[device-map\]"):
        load(folder, device_map=device_map)


@pytest.mark.parametrize("device_map", ["auto", "balanced", "sequential"])
def test_device_map_on_one_device_changes_nothing(folder: Path, device_map: str) -> None:
    pytest.importorskip("accelerate")
    mapped = load(folder, device_map=device_map, dtype="float32")
    whole = load(folder, device=str(mapped.device), dtype="float32")
    for ours, theirs in zip(computed(mapped), computed(whole), strict=True):
        assert torch.equal(ours, theirs)


def test_a_mapped_or_quantized_model_is_never_moved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate")
    model = load(folder, device_map="auto").model

    def refuse(*_: object) -> None:
        raise AssertionError("moved")

    monkeypatch.setattr(type(model), "to", refuse)
    load(folder, device_map="auto")
    with pytest.raises(AssertionError, match="moved"):
        load(folder, device="cpu")


@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_offloading_is_refused(folder: Path, where: str, tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    model = load(folder, device="cpu").model
    refuse_offloading(ModelReference("tiny"), model)
    if where == "cpu":
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    else:
        accelerate.disk_offload(model, tmp_path, execution_device=torch.device("cpu"))
    with pytest.raises(ModelError, match=r"\d+ weights of tiny do not fit the devices.*offloading is not supported"):
        refuse_offloading(ModelReference("tiny"), model)


def test_a_package_that_only_transformers_misses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ImportError("Loading an AWQ model requires gptqmodel: pip install gptqmodel")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", fail)
    with pytest.raises(ModelError, match=r"requires gptqmodel.*\); install what it names"):
        load(folder, device="cpu")


# memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("unable to mmap 16582751232 bytes from file <model.safetensors>: Cannot allocate memory (12)"),
        OSError(12, "Cannot allocate memory"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_while_loading(folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", fail)
    with pytest.raises(DeviceMemoryError, match=r"loading the model .*smaller dtype, quantization 8bit or"):
        load(folder, device="cpu")


def test_memory_that_runs_out_inside_a_conversion(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers writes the cause to its report and raises another error."""

    def fail(*_: object, **__: object) -> None:
        logging.getLogger("transformers.modeling_utils").warning("CONVERSION: torch.OutOfMemoryError: CUDA out of ...")
        raise RuntimeError("We encountered some issues during automatic conversion of the weights.")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", fail)
    with pytest.raises(DeviceMemoryError, match="loading the model"):
        load(folder, device="cpu")


def test_memory_that_runs_out_while_moving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(type(load(folder, device="cpu").model), "to", fail)
    with pytest.raises(DeviceMemoryError, match="loading the model"):
        load(folder, device="cpu")
