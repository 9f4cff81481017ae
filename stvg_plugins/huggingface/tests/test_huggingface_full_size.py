"""Published checkpoints in their full size: names, shapes, counts, and memory that runs out.

The weight files are sparse: names and shapes of the hub, zeros that take no place on disk and,
read as bfloat16, hardly any in memory. So the real loader reads them, and nothing is simulated
but the numbers. What is known of each checkpoint, and from where: data/full_size.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from stvg_core.config import InputSettings
from stvg_core.errors import DeviceMemoryError
from stvg_core.identity import LoadOptions, ModelReference
from stvg_huggingface.loading import LoadedCheckpoint, load_checkpoint
from stvg_huggingface.testing import save_tiny_qwen2_vl, tiny_tokenizer
from stvg_huggingface.testing.sessions import CONFIGS

DATA = Path(__file__).parent / "data" / "full_size"
FACTS: dict[str, dict[str, Any]] = json.loads((DATA / "facts.json").read_text())
QUICK = {
    "Qwen/Qwen2-VL-2B-Instruct",
    "Qwen/Qwen2.5-VL-3B-Instruct",
    "llava-hf/LLaVA-NeXT-Video-7B-hf",
    "OpenGVLab/InternVL3-1B-hf",
}
"""One of each family, a few seconds each; the others are slow only together."""
FAMILIES = {
    "Qwen2VLForConditionalGeneration": ("stvg_qwen2_vl.family", "Qwen2VLFamily"),
    "Qwen2_5_VLForConditionalGeneration": ("stvg_qwen2_vl.family", "Qwen2VLFamily"),
    "LlavaNextVideoForConditionalGeneration": ("stvg_llava_next.family", "LlavaNextVideoFamily"),
    "InternVLForConditionalGeneration": ("stvg_internvl.family", "InternVLFamily"),
}
MARKERS = {
    "<video>": 32000,
    "<|vision_start|>": 151652,
    "<|video_pad|>": 151656,
    "<img>": 151665,
    "</img>": 151666,
    "<IMG_CONTEXT>": 151667,
}
"""Special tokens of the published tokenizers that a video needs."""


def weights_of(name: str) -> dict[str, list[int]]:
    """Return the names and shapes of a checkpoint's weights, as its files on the hub have them."""
    facts = FACTS[name]
    sizes: Mapping[str, int] = facts["sizes"]
    found = {}
    for pattern, shape in json.loads((DATA / f"{facts['weights']}.weights.json").read_text()).items():
        if pattern in facts["absent"]:
            continue
        counter = re.search(r"{(\w+)}", pattern)
        for number in range(sizes[counter[1]] if counter else 1):
            own = pattern.replace(counter[0], str(number)) if counter else pattern
            found[own] = [sizes[word] if word in sizes else int(word) for word in shape.split()]
    return found


def write_sparse(path: Path, shapes: Mapping[str, list[int]]) -> None:
    """Write bfloat16 zeros that take no place; heads begin with a one, or they would equal the embeddings."""
    offset, header = 0, {}
    for name, shape in shapes.items():
        size = math.prod(shape) * 2
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    try:
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(start + 2**30)
            if path.stat().st_blocks * 512 > 2**28:
                pytest.skip("this file system has no sparse files")
            file.truncate(start + offset)
            for name in shapes:
                if "lm_head" in name:
                    file.seek(start + header[name]["data_offsets"][0])
                    file.write(b"\x80\x3f")
    except OSError as error:
        pytest.skip(f"this file system holds no file of {offset} bytes: {error}")


def write_folder(name: str, folder: Path, shapes: Mapping[str, list[int]]) -> list[str]:
    config = json.loads((CONFIGS / f"{FACTS[name]['config']}.config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))
    tiny_tokenizer().save_pretrained(folder)
    write_sparse(folder / "model.safetensors", shapes)
    return list(config["architectures"])


def load(name: str, folder: Path, shapes: Mapping[str, list[int]]) -> LoadedCheckpoint:
    architectures = write_folder(name, folder, shapes)
    return load_checkpoint(ModelReference(name, folder), LoadOptions("cpu", "bfloat16"), architectures)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in FACTS])
def test_every_weight_has_its_place(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing missing or of another shape (an error), nothing left over (a warning)."""
    shapes, facts = weights_of(name), FACTS[name]
    total = sum(math.prod(shape) for shape in shapes.values())
    if facts["parameters"] is not None:
        assert total == facts["parameters"]
    try:
        checkpoint = load(name, tmp_path, shapes)
        assert not caplog.records
        model: Any = checkpoint.model
        assert sum(weight.numel() for weight in model.parameters()) == total
        head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        assert (head is embedding) == any("lm_head" in pattern for pattern in facts["absent"])
        assert float(head[0, 0]) == (0 if head is embedding else 1)
        text = checkpoint.text_config
        assert text.num_hidden_layers == facts["sizes"]["layer"] == len(checkpoint.language_model.layers)
        assert text.num_attention_heads == facts["heads"]
        assert checkpoint.dtype == torch.bfloat16
    finally:
        (tmp_path / "model.safetensors").unlink(missing_ok=True)


def test_a_weight_too_many_or_too_few_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The check above can fail."""
    name = "OpenGVLab/InternVL3-1B-hf"
    shapes = weights_of(name)
    load(name, tmp_path, {**shapes, "vision_tower.embeddings.mask_token": [1, 1, 1024]})
    assert "no place for, ['model.vision_tower.embeddings.mask_token']" in caplog.text
    for change in (
        {"vision_tower.embeddings.cls_token": [1, 1, 1023]},
        {"multi_modal_projector.linear_1.bias": [895]},
    ):
        with pytest.raises(Exception, match="cannot load"):
            load(name, tmp_path, {**shapes, **change})
    del shapes["language_model.model.layers.23.self_attn.q_proj.bias"]
    with pytest.raises(Exception, match=r"1 weights are missing .* model\.language_model\.layers\.23\.self_attn"):
        load(name, tmp_path, shapes)


def test_llava_has_the_size_that_the_hub_tells() -> None:
    total = sum(math.prod(shape) for shape in weights_of("llava-hf/LLaVA-NeXT-Video-7B-hf").values())
    assert round(total / 1e9, 2) == 7.06


@pytest.mark.parametrize("name", FACTS)
def test_a_family_finds_its_way(name: str, tmp_path: Path) -> None:
    facts = FACTS[name]
    (tmp_path / "config.json").write_text((CONFIGS / f"{facts['config']}.config.json").read_text())
    config = AutoConfig.from_pretrained(tmp_path)
    module, attribute = FAMILIES[config.architectures[0]]
    family = getattr(pytest.importorskip(module), attribute)()
    assert config.architectures[0] in family.architectures
    assert family.visual_token_id(config) == facts["visual_token_id"]
    size = family.frame_size_pixels(config, None)
    assert size == facts["frame_size_pixels"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<unk>": 0, **MARKERS}, unk_token="<unk>")),
        extra_special_tokens=[*MARKERS],
    )
    assert {marker: tokenizer.convert_tokens_to_ids(marker) for marker in MARKERS} == MARKERS
    layout = family.layout(config, 3, size, InputSettings())
    assert layout.shape == (3, *facts["frame_grid"])
    ids = tokenizer(family.clip_text(config, tokenizer, layout))["input_ids"]
    assert ids.count(facts["visual_token_id"]) == layout.cell_count


def test_vision_positions_of_the_full_grid() -> None:
    """The towers that count positions have one for every patch of the default frame, and one for the class."""
    for name in ("llava-hf/LLaVA-NeXT-Video-7B-hf", "OpenGVLab/InternVL3-8B-hf"):
        facts = FACTS[name]
        positions = next(shape for weight, shape in weights_of(name).items() if "position_embedding" in weight)
        assert positions[-2] == (facts["frame_size_pixels"] // 14) ** 2 + 1


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [False, True])
def test_memory_really_runs_out(quantized: bool, tmp_path: Path) -> None:
    """A file of three quarters of the machine's memory, which float32 would double."""
    memory = Path("/proc/meminfo")
    if not memory.is_file() or Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1":
        pytest.skip("this system promises more memory than it has")
    if quantized:
        pytest.importorskip("bitsandbytes")
        pytest.importorskip("accelerate")
    there = 1024 * sum(int(size) for size in re.findall(r"(?:MemTotal|SwapTotal): +(\d+)", memory.read_text()))
    folder = save_tiny_qwen2_vl(tmp_path, layers=1)
    with safe_open(folder / "model.safetensors", "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    embedding = next(name for name in shapes if "embed_tokens" in name)
    rows = there * 3 // 4 // (2 * shapes[embedding][1])
    shapes = {name: shape for name, shape in shapes.items() if "lm_head" not in name} | {
        embedding: [rows, shapes[embedding][1]]
    }
    config = json.loads((folder / "config.json").read_text())
    config |= {"tie_word_embeddings": True, "text_config": {**config["text_config"], "vocab_size": rows}}
    (folder / "config.json").write_text(json.dumps(config))
    write_sparse(folder / "model.safetensors", shapes)
    options = LoadOptions("cpu", quantization="4bit" if quantized else None)
    try:
        with pytest.raises(DeviceMemoryError, match=r"loading the model .*smaller dtype, quantization 8bit") as raised:
            load_checkpoint(ModelReference("tiny", folder), options, ("Qwen2VLForConditionalGeneration",))
        assert "\n" not in str(raised.value)
    finally:
        (folder / "model.safetensors").unlink()


def test_sizes_without_any_file(tmp_path: Path) -> None:
    """The largest configurations, built on the meta device, have the parameters that their files hold."""
    for name in ("Qwen/Qwen2-VL-7B-Instruct", "llava-hf/LLaVA-NeXT-Video-7B-hf", "OpenGVLab/InternVL3-8B-hf"):
        (tmp_path / "config.json").write_text((CONFIGS / f"{FACTS[name]['config']}.config.json").read_text())
        config = AutoConfig.from_pretrained(tmp_path)
        # What the hub's InternVL files say by holding a head of their own.
        config.tie_word_embeddings = False
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        total = sum(math.prod(shape) for shape in weights_of(name).values())
        assert sum(weight.numel() for weight in model.parameters()) == total
