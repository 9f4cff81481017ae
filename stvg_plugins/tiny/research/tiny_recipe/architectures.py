"""The architectures that can be trained: one row of the table each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stvg_core.settings import InputSettings
from stvg_huggingface.family import FamilyDifferences
from stvg_internvl.family import InternVLFamily
from stvg_llava_next.family import LlavaNextVideoFamily
from stvg_qwen2_vl.family import Qwen2VLFamily
from tiny_recipe.errors import CheckpointError
from tiny_recipe.grid import VideoGrid
from tiny_recipe.networks import internvl, llava_next_video, qwen2_vl
from tiny_recipe.tokenizer import INTERNVL_FORMAT, LLAVA_FORMAT, QWEN_FORMAT, ChatFormat
from tiny_recipe.vision import Encoder, batch_qwen2_vl, encode_internvl, encode_llava_next_video, encode_qwen2_vl


@dataclass(frozen=True)
class Architecture:
    """One trainable architecture.

    Attributes:
        name: What it is called on the command line; also its checkpoint folder.
        grid: Its video size and visual tokens.
        chat: How its conversations are written.
        family: The framework's own table of differences: prompts, positions and pixels come from it.
        inputs: How the framework must read frames to show the model what it was trained on.
        build: Makes the model, with random weights from the given seed.
        encode: Makes visual tokens with gradients.
        hasten: Makes the vision tower faster in training, where the family's own is slow.
        processor: Class names for the preprocessor file.
    """

    name: str
    grid: VideoGrid
    chat: ChatFormat
    family: FamilyDifferences
    inputs: InputSettings
    build: Callable[[VideoGrid, PreTrainedTokenizerFast, int], PreTrainedModel]
    encode: Encoder
    hasten: Callable[[PreTrainedModel], None] | None
    processor: Mapping[str, Any]


_FRAMES: Final = VideoGrid(frame_count=8, token_frames=1)

ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        row.name: row
        for row in (
            Architecture(
                "qwen2-vl",
                VideoGrid(),
                QWEN_FORMAT,
                Qwen2VLFamily(),
                InputSettings(frame_size_pixels=96, family={"temporal_merge": "merge"}),
                qwen2_vl,
                encode_qwen2_vl,
                batch_qwen2_vl,
                {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor"},
            ),
            Architecture(
                "llava-next",
                _FRAMES,
                LLAVA_FORMAT,
                LlavaNextVideoFamily(),
                InputSettings(frame_size_pixels=96, family={"pooling_stride": 2}),
                llava_next_video,
                encode_llava_next_video,
                None,
                {"image_processor_type": "LlavaNextImageProcessor", "processor_class": "LlavaNextVideoProcessor"},
            ),
            Architecture(
                "internvl",
                _FRAMES,
                INTERNVL_FORMAT,
                InternVLFamily(),
                InputSettings(frame_size_pixels=96),
                internvl,
                encode_internvl,
                None,
                {"image_processor_type": "GotOcr2ImageProcessor", "processor_class": "InternVLProcessor"},
            ),
        )
    }
)
"""Every trainable architecture by name."""


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Return the row that a checkpoint's config.json belongs to.

    Raises:
        CheckpointError: No row is of its architecture.
    """
    named = config.get("architectures") or []
    for row in ARCHITECTURES.values():
        if set(named) & set(row.family.architectures):
            return row
    raise CheckpointError(f"expected a checkpoint of {', '.join(ARCHITECTURES)}, its config.json says {named}")
