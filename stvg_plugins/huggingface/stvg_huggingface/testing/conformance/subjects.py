"""The subjects that the transformers backends register in the entry-point group `stvg.conformance`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from stvg_core.devtools.testing.subject import PlainAnswer, ShownClip
from stvg_core.errors import ModelError
from stvg_core.plugin.adapter import MLLMAdapter
from stvg_core.settings import InputSettings
from stvg_huggingface.testing.conformance.inputs import PlainFamily, PlainIntern, PlainLlava, PlainQwen
from stvg_huggingface.testing.conformance.plain import PlainModel, load_plain, without_progress_bar
from stvg_huggingface.testing.models import save_tiny_model

_LAYERS: Final = 3
_CALM: Final = 0.125
_MIXING: Final = ("self_attn.out_proj.weight", "attn.proj.weight", "attention.projection_layer.weight")


@dataclass(frozen=True)
class HuggingFaceSubject:
    """Implements `stvg_core.devtools.testing.ConformanceSubject` for a backend of stvg-huggingface.

    Attributes:
        tiny: name of the tiny model (stvg_huggingface.testing.TINY_FAMILIES).
        family: what its model is fed.
        settings: the ways to show a clip that are compared; each gives frame_size_pixels.
        known_gaps: checks that fail and may.
    """

    tiny: str
    family: PlainFamily
    settings: tuple[InputSettings, ...]
    known_gaps: Mapping[str, str] = field(default_factory=dict)

    def save_checkpoint(self, folder: Path) -> None:
        """Write the tiny model."""
        with without_progress_bar():
            save_tiny_model(self.tiny, folder, layers=_LAYERS, prepare=calm_vision)

    def plain(
        self,
        adapter: MLLMAdapter,
        clip: ShownClip,
        question: str,
        prompt: Float[Tensor, "cell width"] | None,
        layers: tuple[int, ...],
    ) -> PlainAnswer:
        """Run the checkpoint, loaded by transformers alone.

        Raises:
            ModelError: the adapter does not say where its checkpoint is.
        """
        description = adapter.description
        if description.checkpoint is None:
            raise ModelError("expected the adapter's description to name its checkpoint's folder")
        model = _plain_model(type(self.family), description.checkpoint, description.dtype, description.device)
        return model.answer(clip, question, prompt, layers)


@lru_cache(maxsize=2)
def _plain_model(family: type[PlainFamily], folder: Path, dtype: str, device: str) -> PlainModel:
    return load_plain(family(), folder, getattr(torch, dtype), device)


def calm_vision(model: PreTrainedModel) -> None:
    """Let patches mix little in a random vision tower, so that a changed patch shows in its own token most.

    Random weights that are scaled up for uneven attention mix patches more than trained ones do.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ("vision" in name or "visual" in name) and name.endswith(_MIXING):
                weight.mul_(_CALM)


def llava_next() -> HuggingFaceSubject:
    """Return the subject of stvg-llava-next: tokens pooled as transformers pools them."""
    return HuggingFaceSubject(
        "llava-next-video", PlainLlava(), (InputSettings(frame_size_pixels=48, family={"pooling_stride": 2}),)
    )


def qwen2_vl() -> HuggingFaceSubject:
    """Return the subject of stvg-qwen2-vl for Qwen2-VL."""
    return HuggingFaceSubject("qwen2-vl", PlainQwen(), _qwen_settings())


def qwen2_5_vl() -> HuggingFaceSubject:
    """Return the subject of stvg-qwen2-vl for Qwen2.5-VL."""
    return HuggingFaceSubject("qwen2.5-vl", PlainQwen(), _qwen_settings())


def internvl() -> HuggingFaceSubject:
    """Return the subject of stvg-internvl: frames of the size that it has positions for, and of another."""
    return HuggingFaceSubject(
        "internvl", PlainIntern(), tuple(InputSettings(frame_size_pixels=size) for size in (24, 48))
    )


def _qwen_settings() -> tuple[InputSettings, ...]:
    return (
        InputSettings(frame_size_pixels=24, family={"temporal_merge": "duplicate", "position_rule": "transformers"}),
        InputSettings(frame_size_pixels=24, family={"temporal_merge": "merge", "position_rule": "transformers"}),
        InputSettings(frame_size_pixels=24, family={"temporal_merge": "duplicate", "position_rule": "original"}),
        InputSettings(frame_size_pixels=24, family={"temporal_merge": "duplicate", "position_rule": "sequential"}),
    )
