"""What the adapter refuses, and how options reach the language model."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend
from transformers import AutoTokenizer

import stvg_huggingface.adapter
import stvg_huggingface.capture
from stvg_core.errors import ModelError, QueryError, SettingsError
from stvg_core.plugin.adapter import EncodedClip
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.testing import save_tiny_qwen2_vl
from stvg_qwen2_vl.family import Qwen2VLBackend

SIZE = 24
QUESTION = "Is there a man standing by the stairs in this video?"
ON_CPU = LoadOptions("cpu")
SETTINGS = InputSettings(frame_size_pixels=SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen2_vl(tmp_path_factory.mktemp("adapter"), layers=2)


def opened(folder: Path, options: LoadOptions | None = None, context: int | None = None) -> HuggingFaceAdapter:
    if context is not None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["max_position_embeddings"] = context
        (folder / "config.json").write_text(json.dumps(config))
    adapter = Qwen2VLBackend().stvg_create_adapter(ModelReference(str(folder), folder), options or ON_CPU)
    assert isinstance(adapter, HuggingFaceAdapter)
    return adapter


def clip_of(adapter: HuggingFaceAdapter, count: int, settings: InputSettings = SETTINGS) -> EncodedClip:
    info = VideoInfo("clip.mp4", SIZE, SIZE, 10.0, 100.0, np.arange(1000) / 10)
    pixels = np.random.default_rng(7).integers(0, 255, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return adapter.encode(Frames(info, np.arange(count), pixels), settings, tuple(range(count)))


def test_added_words_without_an_embedding_are_refused_where_a_question_holds_them(tmp_path: Path) -> None:
    """The checkpoint opens all the same: no other question needs them."""
    folder = save_tiny_qwen2_vl(tmp_path, layers=1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<late{number}>" for number in range(600 - len(tokenizer))])
    tokenizer.save_pretrained(folder)
    adapter = opened(folder)
    clip = clip_of(adapter, 2)
    adapter.answer_logits(clip, [QUESTION], None)
    last = tokenizer.convert_ids_to_tokens(599)
    with pytest.raises(QueryError, match=rf"\(512 rows\), got token 599 \('{last}'\); leave it out of the text"):
        adapter.answer_logits(clip, [QUESTION, f"Is there {last}?"], None)
    turn = SETTINGS.model_copy(update={"system_prompt": f"Be {last}."})
    with pytest.raises(SettingsError, match=rf"input\.system_prompt.*\(512 rows\).* token 599 \('{last}'\)"):
        clip_of(adapter, 2, turn)


def test_answers_without_a_logit_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_qwen2_vl(tmp_path, layers=1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([*(f"<late{number}>" for number in range(512 - len(tokenizer))), "Yes"])
    tokenizer.save_pretrained(folder)
    adapter = opened(folder)
    clip_of(adapter, 2)
    with pytest.raises(ModelError, match=r"answers \(any_case\) below 512 .*got 512 \('Yes'\)"):
        clip_of(adapter, 2, SETTINGS.model_copy(update={"answer_words": "any_case"}))


def test_more_frames_than_the_context_holds_are_refused_and_the_advice_fits(tmp_path: Path) -> None:
    adapter = opened(save_tiny_qwen2_vl(tmp_path, layers=1), context=400)
    with pytest.raises(SettingsError, match=r"at most 400 tokens .* 60 frames make 540 and the text") as raised:
        clip_of(adapter, 60)
    advised = re.search(r"with (\d+) frames", str(raised.value))
    assert advised is not None
    most = int(advised.group(1))
    adapter.answer_logits(clip_of(adapter, most), [QUESTION], None)
    assert most > 0.7 * (400 // 9), "not fewer than needed"


def test_a_clip_that_is_far_too_long_is_refused_before_its_pixels_are_touched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = opened(folder)

    def fail(*_: object) -> None:
        raise AssertionError("pixels were touched")

    monkeypatch.setattr(stvg_huggingface.adapter, "square_frames", fail)
    with pytest.raises(SettingsError, match="the model's context"):
        clip_of(adapter, 1000)


def test_a_question_that_no_longer_fits_is_refused_too(tmp_path: Path) -> None:
    adapter = opened(save_tiny_qwen2_vl(tmp_path, layers=1), context=200)
    clip = clip_of(adapter, 10)
    adapter.answer_logits(clip, [QUESTION], None)
    with pytest.raises(SettingsError, match="at most 200 tokens"):
        adapter.answer_logits(clip, [QUESTION, "a man and " * 60], None)


def test_the_eager_option_reaches_both_towers_and_changes_no_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels: list[object] = []
    original = stvg_huggingface.capture.sdpa_kernel

    def spy(kernel: SDPBackend) -> object:
        kernels.append(kernel)
        return original(kernel)

    monkeypatch.setattr(stvg_huggingface.capture, "sdpa_kernel", spy)
    fast, exact = opened(folder), opened(folder, LoadOptions("cpu", attn_implementation="eager"))
    margins = fast.answer_logits(clip_of(fast, 4), [QUESTION], None).margins
    assert not kernels
    expected = exact.answer_logits(clip_of(exact, 4), [QUESTION], None).margins
    assert kernels == [SDPBackend.MATH] * 2, "once per layer"
    assert exact.checkpoint.model.config.vision_config._attn_implementation == "eager"
    torch.testing.assert_close(margins, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_description_tells_where_and_how_it_runs(folder: Path, dtype: str) -> None:
    description = opened(folder, LoadOptions("cpu", dtype)).description
    assert (description.device, description.dtype) == ("cpu", dtype)
