"""What the family makes of a clip and of its checkpoint's files, and what its adapter refuses."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from stvg_core.errors import QueryError, SettingsError, TokenLayoutError, UsageError
from stvg_core.plugin.adapter import AttentionRequest, EncodedClip
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.testing import save_tiny_model
from stvg_qwen2_vl.family import Qwen2VLBackend

SIZE = 24

torch.set_num_threads(1)
SETTINGS = InputSettings(frame_size_pixels=SIZE)


@dataclass(frozen=True)
class Subject:
    """One tiny model, opened."""

    version: str
    adapter: HuggingFaceAdapter


def open_adapter(folder: Path, **options: str) -> HuggingFaceAdapter:
    adapter = Qwen2VLBackend().stvg_create_adapter(ModelReference(str(folder), folder), LoadOptions("cpu", **options))
    assert isinstance(adapter, HuggingFaceAdapter)
    return adapter


@pytest.fixture(scope="session", params=["2", "2.5"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = save_tiny_model(f"qwen{request.param}-vl", tmp_path_factory.mktemp("qwen"))
    return Subject(request.param, open_adapter(folder))


@pytest.fixture(scope="session")
def frames() -> Frames:
    """Five frames, one second apart, already of the size that the model sees."""
    info = VideoInfo("clip.mp4", SIZE, SIZE, 10.0, 5.0, np.arange(50) / 10)
    pixels = np.random.default_rng(7).integers(0, 255, (5, SIZE, SIZE, 3), dtype=np.uint8)
    return Frames(info, np.arange(5) * 10, pixels)


def test_layouts_of_both_merges(subject: Subject, frames: Frames) -> None:
    order = (0, 1, 2, 3, 4)
    assert subject.adapter.encode(frames, SETTINGS, order).layout.time_step_of_frame == (0, 1, 2, 3, 4)
    merged = InputSettings(frame_size_pixels=SIZE, family={"temporal_merge": "merge"})
    layout = subject.adapter.encode(frames, merged, order).layout
    assert layout.time_step_of_frame == (0, 0, 1, 1, 2)
    assert layout.shape == (3, 3, 3)


def test_default_size_is_the_familys(subject: Subject, frames: Frames) -> None:
    one = Frames(frames.info, frames.indices[:1], frames.pixels[:1])
    assert subject.adapter.encode(one, InputSettings(), (0,)).layout.shape == (1, 8, 8)


def test_template_beside_the_tokenizer(tmp_path: Path, subject: Subject, frames: Frames) -> None:
    folder = save_tiny_model(f"qwen{subject.version}-vl", tmp_path, template_file="chat_template.json")
    adapter = open_adapter(folder)
    results = [
        one.answer_logits(one.encode(frames, SETTINGS, (0, 1, 2, 3, 4)), ["Is there a man?"], None).margins
        for one in (adapter, subject.adapter)
    ]
    torch.testing.assert_close(*results)


@pytest.fixture
def clip(subject: Subject, frames: Frames) -> EncodedClip:
    return subject.adapter.encode(frames, SETTINGS, (0, 1, 2, 3, 4))


def test_misuse_is_told_in_one_line(subject: Subject, frames: Frames, clip: EncodedClip) -> None:
    adapter = subject.adapter
    with pytest.raises(UsageError, match="at least one question"):
        adapter.answer_logits(clip, [], None)
    with pytest.raises(QueryError, match="got nothing"):
        adapter.answer_logits(clip, ["  "], None)
    for marker in ("<|video_pad|>", "<|im_end|>"):
        with pytest.raises(QueryError, match="special token"):
            adapter.answer_logits(clip, [f"Is there {marker} a man?"], None)
    with pytest.raises(TokenLayoutError, match="prompt of shape"):
        adapter.answer_logits(clip, ["a man?"], torch.zeros(3, 3))
    with pytest.raises(SettingsError, match="layers within"):
        adapter.attention_rows(AttentionRequest(clip, ("a man?",), None, (99,)))
    with pytest.raises(UsageError, match="frame_order"):
        adapter.encode(frames, SETTINGS, (0, 0, 1, 2, 3))
    stranger = EncodedClip(clip.visual_tokens, clip.layout, clip.frame_order)
    with pytest.raises(UsageError, match="another backend"):
        adapter.answer_logits(stranger, ["a man?"], None)
    with pytest.raises(UsageError, match="maximum_tokens"):
        adapter.generate_text("describe", 0)
