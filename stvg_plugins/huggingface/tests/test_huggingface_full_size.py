"""Published checkpoints in their full size: vocabularies, prompts, names, shapes, counts, and memory that runs out.

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
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
)

from stvg_core.errors import DeviceMemoryError, ModelError, QueryError
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.files import read_chat_template
from stvg_huggingface.loading import LoadedCheckpoint, load_checkpoint, load_config, refuse_foreign_vocabulary
from stvg_huggingface.pixels import PixelStatistics
from stvg_huggingface.questions import tokenize_question
from stvg_huggingface.testing import save_tiny_model

DATA = Path(__file__).parent / "data" / "full_size"
FACTS: dict[str, dict[str, Any]] = json.loads((DATA / "facts.json").read_text())
QUICK = "OpenGVLab/InternVL3-1B-hf"
"""The smallest; the others are slow only together."""
SHARD_BYTES = 4 * 2**30
QUESTION = "Is there a man in a red shirt who walks to the car in this video?"


def weights_of(name: str) -> dict[str, list[int]]:
    """Return the names and shapes of a checkpoint's weights, as its files on the hub have them."""
    facts = FACTS[name]
    sizes: Mapping[str, int] = facts["sizes"]
    found = {}
    patterns = json.loads((DATA / f"{facts['weights']}.weights.json").read_text()) | facts.get("added", {})
    for pattern, shape in patterns.items():
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


def write_shards(folder: Path, shapes: Mapping[str, list[int]]) -> None:
    """Write sparse weights as the hub has them: several files and their index, or one where it is small."""
    shards: list[dict[str, list[int]]] = [{}]
    size = 0
    for name, shape in shapes.items():
        size += math.prod(shape) * 2
        if size > SHARD_BYTES and shards[-1]:
            shards.append({})
            size = math.prod(shape) * 2
        shards[-1][name] = shape
    if len(shards) == 1:
        write_sparse(folder / "model.safetensors", shapes)
        return
    files = {f"model-{number:05}-of-{len(shards):05}.safetensors": shard for number, shard in enumerate(shards, 1)}
    for file, shard in files.items():
        write_sparse(folder / file, shard)
    index = {"metadata": {}, "weight_map": {name: file for file, shard in files.items() for name in shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_small_files(name: str, folder: Path, published: Any) -> tuple[str, ...]:
    """Write all files but the weights, and return the architectures."""
    config = published.config(name)
    (folder / "config.json").write_text(json.dumps(config))
    for path in published.folder(FACTS[name]["tokenizer"]).iterdir():
        (folder / path.name).hardlink_to(path)
    return tuple(config["architectures"])


def load(name: str, folder: Path, shapes: Mapping[str, list[int]], published: Any) -> LoadedCheckpoint:
    if not (folder / "config.json").is_file():
        write_small_files(name, folder, published)
    write_shards(folder, shapes)
    architectures = json.loads((folder / "config.json").read_text())["architectures"]
    return load_checkpoint(ModelReference(name, folder), LoadOptions("cpu", "bfloat16"), architectures)


def without_weights(name: str, folder: Path, published: Any, rows: int | None = None) -> LoadedCheckpoint:
    """Return what `load_checkpoint` does, the model on the meta device, perhaps with other embedding rows."""
    architectures = write_small_files(name, folder, published)
    reference = ModelReference(name, folder)
    config = load_config(reference, folder, architectures)
    if rows is not None:
        config.get_text_config().vocab_size = rows
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    checkpoint = LoadedCheckpoint(
        reference,
        model,
        published.tokenizer(FACTS[name]["tokenizer"]),
        read_chat_template(folder),
        PixelStatistics(),
        LoadOptions("cpu"),
        folder,
    )
    refuse_foreign_vocabulary(reference, checkpoint.tokenizer, checkpoint.embedding_rows)
    return checkpoint


def check_prompt(name: str, checkpoint: LoadedCheckpoint, published: Any) -> None:
    """Open the adapter, which asks for template, markers, answers and rows, and write a prompt with three frames."""
    facts, config, tokenizer = FACTS[name], checkpoint.model.config, checkpoint.tokenizer
    family = published.family(config.architectures[0])
    adapter = HuggingFaceAdapter(checkpoint, family)
    assert adapter.visual_token_id == facts["visual_token_id"]
    size = family.frame_size_pixels(config, None)
    assert size == facts["frame_size_pixels"]
    layout = family.layout(config, 3, size, InputSettings())
    assert layout.shape == (3, *facts["frame_grid"])
    frame = adapter._with_clip(adapter._frame, layout)
    prompt = tokenize_question(tokenizer, frame, QUESTION)
    separators = family.clip_text(config, tokenizer, layout).count(tokenizer.decode(facts["visual_token_id"]))
    assert prompt.ids.count(facts["visual_token_id"]) == separators >= layout.cell_count
    assert max(prompt.ids) < checkpoint.embedding_rows == facts["sizes"]["vocabulary"]
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in prompt.ids


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == QUICK else pytest.mark.slow) for n in FACTS])
def test_every_weight_has_its_place(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, published: Any
) -> None:
    """Nothing missing or of another shape (an error), nothing left over (a warning); then the prompt of a clip."""
    shapes, facts = weights_of(name), FACTS[name]
    total = sum(math.prod(shape) for shape in shapes.values())
    if facts["parameters"] is not None:
        assert total == facts["parameters"]
    try:
        checkpoint = load(name, tmp_path, shapes, published)
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
        check_prompt(name, checkpoint, published)
    finally:
        for path in tmp_path.glob("*.safetensors"):
            path.unlink()


@pytest.mark.parametrize("name", FACTS)
def test_a_published_checkpoint_opens(name: str, tmp_path: Path, published: Any) -> None:
    """What loading asks of files that are not weights: no checkpoint is refused, and its prompts can be embedded."""
    check_prompt(name, without_weights(name, tmp_path, published), published)


def test_a_placeholder_beyond_the_embedding_is_there(published: Any) -> None:
    """What the test above must get past: InternVL 3 writes `<video>` with an id that has no row."""
    tokenizer = published.tokenizer("internvl3")
    assert tokenizer.convert_tokens_to_ids("<video>") == FACTS["OpenGVLab/InternVL3-8B-hf"]["sizes"]["vocabulary"]


def test_a_configuration_that_names_another_token_than_the_template_is_told(tmp_path: Path, published: Any) -> None:
    """As the conversion script writes LLaVA-NeXT-Video-34B: 64000, where the tokenizer has `<video>` at 64003."""
    checkpoint = without_weights("llava-hf/LLaVA-NeXT-Video-34B-hf", tmp_path, published)
    config: Any = checkpoint.model.config
    config.video_token_id = 64000
    with pytest.raises(
        ModelError, match=r"placeholder '\[64000\]' once .* config.json names another token as the video"
    ):
        HuggingFaceAdapter(checkpoint, published.family(config.architectures[0]))


def test_tokens_that_a_prompt_holds_need_a_row(tmp_path: Path, published: Any) -> None:
    """One row less at a time: a word of the user's, a marker of the template, a word of the vocabulary."""
    for part in range(4):
        (tmp_path / str(part)).mkdir()
    name, family = "Qwen/Qwen2.5-VL-3B-Instruct", published.family("Qwen2_5_VLForConditionalGeneration")
    checkpoint = without_weights(name, tmp_path / "0", published, rows=151657)
    adapter: Any = HuggingFaceAdapter(checkpoint, family)
    with pytest.raises(QueryError, match=r"\(151657 rows\), got token 151657 \('<tool_call>'\); leave it out"):
        adapter.generate_text("What does <tool_call> mean?", 1)
    checkpoint = without_weights(name, tmp_path / "1", published, rows=151656)
    with pytest.raises(ModelError, match=r"template of tokens below 151656 .* writes 151656 \('<\|video_pad\|>'\)"):
        HuggingFaceAdapter(checkpoint, family)
    without_weights(name, tmp_path / "2", published, rows=151643)
    with pytest.raises(ModelError, match=r"ids below 151642 \(rows of .* got 151642 \('â½Ĺ'\); .* different models"):
        without_weights(name, tmp_path / "3", published, rows=151642)


@pytest.mark.slow
def test_a_weight_too_many_or_too_few_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, published: Any) -> None:
    """The check above can fail."""
    name = QUICK
    shapes = weights_of(name)
    load(name, tmp_path, {**shapes, "vision_tower.embeddings.mask_token": [1, 1, 1024]}, published)
    assert "no place for, ['model.vision_tower.embeddings.mask_token']" in caplog.text
    for change in (
        {"vision_tower.embeddings.cls_token": [1, 1, 1023]},
        {"multi_modal_projector.linear_1.bias": [895]},
    ):
        with pytest.raises(Exception, match="cannot load"):
            load(name, tmp_path, {**shapes, **change}, published)
    del shapes["language_model.model.layers.23.self_attn.q_proj.bias"]
    with pytest.raises(Exception, match=r"1 weights are missing .* model\.language_model\.layers\.23\.self_attn"):
        load(name, tmp_path, shapes, published)


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if "billions" in facts])
def test_a_checkpoint_has_the_size_that_the_hub_tells(name: str) -> None:
    total = sum(math.prod(shape) for shape in weights_of(name).values())
    billions = FACTS[name]["billions"]
    assert f"{total / 1e9:.{len(billions.partition('.')[2])}f}" == billions


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
    folder = save_tiny_model("qwen2-vl", tmp_path, layers=1)
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


def test_sizes_without_any_file(tmp_path: Path, published: Any) -> None:
    """The largest configurations, built on the meta device, have the parameters that their files hold."""
    for name in ("Qwen/Qwen2-VL-7B-Instruct", "llava-hf/LLaVA-NeXT-Video-7B-hf", "OpenGVLab/InternVL3-8B-hf"):
        (tmp_path / "config.json").write_text(json.dumps(published.config(name)))
        config = AutoConfig.from_pretrained(tmp_path)
        # What the hub's InternVL files say by holding a head of their own.
        config.tie_word_embeddings = False
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        total = sum(math.prod(shape) for shape in weights_of(name).values())
        assert sum(weight.numel() for weight in model.parameters()) == total
