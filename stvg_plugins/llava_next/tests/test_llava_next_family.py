"""Sizes, strides and pooling places of LLaVA-NeXT-Video; exactness is checked in tests/backends of the repository."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stvg_core.errors import ModelError, SettingsError
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.testing import IMAGE_PIXELS, save_tiny_model, tiny_tokenizer
from stvg_llava_next.family import LlavaNextVideoBackend, LlavaNextVideoFamily


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model("llava-next-video", tmp_path_factory.mktemp("llava"), layers=1)


@pytest.fixture
def adapter(folder: Path) -> HuggingFaceAdapter:
    opened = LlavaNextVideoBackend().stvg_create_adapter(ModelReference("tiny", folder), LoadOptions("cpu"))
    assert isinstance(opened, HuggingFaceAdapter)
    return opened


@pytest.fixture
def model(adapter: HuggingFaceAdapter) -> Any:
    return adapter.checkpoint.model


@pytest.fixture(scope="module")
def frames() -> Frames:
    info = VideoInfo("clip.mp4", IMAGE_PIXELS, IMAGE_PIXELS, 10.0, 1.0, np.arange(10) / 10)
    pixels = np.random.default_rng(1).integers(0, 255, (2, IMAGE_PIXELS, IMAGE_PIXELS, 3), dtype=np.uint8)
    return Frames(info, np.arange(2), pixels)


def encode(adapter: HuggingFaceAdapter, frames: Frames, **settings: object) -> torch.Tensor:
    return adapter.encode(frames, InputSettings.model_validate(settings), (0, 1)).visual_tokens


def hooks_of(model: Any) -> int:
    """Count hooks where pooling puts its own; transformers leaves some elsewhere."""
    parts = (model.model.vision_resampler, model.model.multi_modal_projector, model.model.language_model)
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in parts)


@pytest.mark.parametrize(("stride", "side"), [(None, 3), (4, 3), (3, 4), (2, 6), (1, 12), (12, 1)])
def test_grids(adapter: HuggingFaceAdapter, frames: Frames, stride: int | None, side: int) -> None:
    clip = adapter.encode(frames, InputSettings(pooling_stride=stride), (0, 1))
    assert clip.layout.shape == (2, side, side)
    assert clip.layout.time_step_of_frame == (0, 1)


def test_the_default_is_the_released_codes(adapter: HuggingFaceAdapter, frames: Frames) -> None:
    assert torch.equal(
        encode(adapter, frames), encode(adapter, frames, pooling_stride=4, pooling_order="before_projector")
    )


def test_orders_differ(adapter: HuggingFaceAdapter, frames: Frames) -> None:
    before, after = (
        encode(adapter, frames, pooling_stride=4, pooling_order=order)
        for order in ("before_projector", "after_projector")
    )
    assert (before - after).norm() > 0.01 * before.norm()


def test_a_stride_that_does_not_divide_is_refused(adapter: HuggingFaceAdapter, frames: Frames) -> None:
    with pytest.raises(SettingsError, match="divides 12 patches, got 5"):
        encode(adapter, frames, pooling_stride=5)


def test_another_frame_size_is_refused(adapter: HuggingFaceAdapter, frames: Frames) -> None:
    assert torch.equal(encode(adapter, frames, frame_size_pixels=IMAGE_PIXELS), encode(adapter, frames))
    with pytest.raises(SettingsError, match=r"frame_size_pixels=48, the only size .* got 64"):
        encode(adapter, frames, frame_size_pixels=64)


@pytest.mark.parametrize("order", ["before_projector", "after_projector"])
def test_pooling_leaves_the_model_as_it_was(
    adapter: HuggingFaceAdapter, model: Any, frames: Frames, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = encode(adapter, frames, pooling_stride=2)
    before = hooks_of(model)
    encode(adapter, frames, pooling_stride=4, pooling_order=order)
    assert hooks_of(model) == before

    def fail(*_arguments: object, **_keywords: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.model.vision_tower, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        encode(adapter, frames, pooling_stride=4, pooling_order=order)
    monkeypatch.undo()
    assert hooks_of(model) == before
    assert torch.equal(encode(adapter, frames, pooling_stride=2), native)


def test_maximum_pooling_of_a_checkpoint_is_kept(adapter: HuggingFaceAdapter, model: Any, frames: Frames) -> None:
    average = encode(adapter, frames, pooling_stride=4, pooling_order="after_projector")
    fine = encode(adapter, frames, pooling_stride=1, pooling_order="after_projector").reshape(2, 3, 4, 3, 4, -1)
    torch.testing.assert_close(average, fine.mean((2, 4)).flatten(0, 2), rtol=0, atol=1e-5)
    model.config.spatial_pool_mode = "max"
    largest = encode(adapter, frames, pooling_stride=4, pooling_order="after_projector")
    torch.testing.assert_close(largest, fine.amax((2, 4)).flatten(0, 2), rtol=0, atol=1e-5)


def test_trained_pooling_cannot_be_changed(adapter: HuggingFaceAdapter, model: Any, frames: Frames) -> None:
    model.config.spatial_pool_mode = "conv"
    for settings in ({}, {"pooling_stride": 2, "pooling_order": "after_projector"}):
        with pytest.raises(SettingsError, match="pooling_stride=2 before the projector"):
            encode(adapter, frames, **settings)
    encode(adapter, frames, pooling_stride=2)


def test_a_strangers_tokenizer_is_refused(model: Any) -> None:
    with pytest.raises(ModelError, match="download the whole checkpoint again"):
        LlavaNextVideoFamily().placeholder(model.config, tiny_tokenizer())
