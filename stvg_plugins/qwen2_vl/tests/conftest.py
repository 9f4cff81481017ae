"""Tiny random models and a clip; what they compute is checked in tests/backends of the repository."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.values import Frames, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.testing import save_tiny_model
from stvg_qwen2_vl.hooks import Qwen2VLBackend

SIZE = 24

torch.set_num_threads(1)


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
