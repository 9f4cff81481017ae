"""Tiny random models, a clip, and the plain way to ask transformers about it."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoTokenizer

from stvg_core.identity import LoadOptions, ModelReference
from stvg_core.values import Frames, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.hooks import HuggingFaceHooks
from stvg_huggingface.testing import save_tiny_qwen2_vl
from stvg_qwen2_vl.hooks import Qwen2VLBackend

SIZE, PATCH, MERGE = 24, 4, 2
MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.25, 0.3, 0.35)

torch.set_num_threads(1)


@dataclass(frozen=True)
class Plain:
    """The same checkpoint as transformers loads it by itself, with eager attention."""

    model: Any
    tokenizer: Any

    def inputs(self, pictures: np.ndarray, question: str) -> dict[str, Tensor]:
        """Build inputs with loops; `pictures` already repeated so that their number is even."""
        patches = []
        values = (pictures.astype(np.float64) / 255 - np.array(MEAN)) / np.array(DEVIATION)
        blocks = SIZE // (PATCH * MERGE)
        steps = len(pictures) // 2
        for step, block_row, block_column, row, column in itertools.product(
            range(steps), range(blocks), range(blocks), range(MERGE), range(MERGE)
        ):
            top, left = (block_row * MERGE + row) * PATCH, (block_column * MERGE + column) * PATCH
            cube = values[2 * step : 2 * step + 2, top : top + PATCH, left : left + PATCH]
            patches.append(cube.transpose(3, 0, 1, 2).reshape(-1))
        count = steps * blocks * blocks
        text = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
            + "<|video_pad|>" * count
            + f"<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
        )
        ids = self.tokenizer(text, return_tensors="pt").input_ids
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values_videos": torch.tensor(np.stack(patches), dtype=torch.float32),
            "video_grid_thw": torch.tensor([[steps, SIZE // PATCH, SIZE // PATCH]]),
            "mm_token_type_ids": (ids == self.model.config.video_token_id).int() * 2,
        }

    def visual(self, inputs: dict[str, Tensor]) -> Tensor:
        """Places of the visual tokens."""
        return (inputs["input_ids"][0] == self.model.config.video_token_id).nonzero()[:, 0]


@dataclass(frozen=True)
class Subject:
    """One tiny model, seen through the backend and plainly."""

    version: str
    folder: Path
    backend: HuggingFaceHooks
    adapter: HuggingFaceAdapter
    plain: Plain


def open_adapter(folder: Path, **options: str) -> HuggingFaceAdapter:
    adapter = Qwen2VLBackend().stvg_create_adapter(ModelReference(str(folder), folder), LoadOptions("cpu", **options))
    assert isinstance(adapter, HuggingFaceAdapter)
    return adapter


@pytest.fixture(scope="session", params=["2", "2.5"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = save_tiny_qwen2_vl(tmp_path_factory.mktemp("qwen"), request.param)
    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    plain = Plain(model.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder))
    return Subject(request.param, folder, Qwen2VLBackend(), open_adapter(folder), plain)


@pytest.fixture(scope="session")
def frames() -> Frames:
    """Five frames, one second apart, already of the size that the model sees."""
    info = VideoInfo("clip.mp4", SIZE, SIZE, 10.0, 5.0, np.arange(50) / 10)
    pixels = np.random.default_rng(7).integers(0, 255, (5, SIZE, SIZE, 3), dtype=np.uint8)
    return Frames(info, np.arange(5) * 10, pixels)
