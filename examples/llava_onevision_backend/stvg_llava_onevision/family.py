"""What sets LLaVA-OneVision apart: each frame's tokens are pooled bilinearly, and a learned newline ends the clip."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.plugin import InputSettings, SettingsError, TokenLayout
from stvg_huggingface.family import VisualInputs, marker_text
from stvg_huggingface.hooks import HuggingFaceBackend
from stvg_huggingface.per_frame import PerFrameFamily

TRAINED_STRIDE: Final = 2
"""The one that transformers knows, and checkpoints were trained with: 27 x 27 patches become 14 x 14 tokens."""
DEFAULT_STRIDE: Final = 5
"""Released research code of arXiv 2509.15178: 6 x 6 tokens a frame."""


@dataclass(frozen=True)
class LlavaOnevisionFamily(PerFrameFamily):
    """The family's table of differences."""

    architectures: tuple[str, ...] = ("LlavaOnevisionForConditionalGeneration",)
    # The released research code's place: <|im_start|> in "<|im_start|>assistant\n".
    token_position: int = -3

    def frame_size_pixels(self, config: PreTrainedConfig, wanted: int | None) -> int:
        """Return the one side that SigLIP has positions for (384).

        Raises:
            SettingsError: another one is wanted.
        """
        size: int = config.vision_config.image_size
        if wanted not in (None, size):
            raise SettingsError(
                f"expected input.frame_size_pixels={size}, the only size that this LLaVA-OneVision reads, got {wanted}"
            )
        return size

    def cells_per_side(self, config: PreTrainedConfig, size_pixels: int, settings: InputSettings) -> int:
        """Return whole patches per side over the pooling stride, rounded up."""
        patches: int = size_pixels // config.vision_config.patch_size
        return math.ceil(patches / pooling_stride(settings))

    def pixel_tensors(
        self, config: PreTrainedConfig, pixels: Float[Tensor, "frame 3 size size"], settings: InputSettings
    ) -> Mapping[str, Tensor]:
        """Return one video of all frames."""
        return {"pixel_values_videos": pixels[None]}

    def clip_text(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, layout: TokenLayout) -> str:
        """Return all visual tokens and the newline, which the prompt writes as one of them."""
        return marker_text(tokenizer, self.visual_token_id(config)) * self.cells_of_clip(layout).numel()

    def cells_of_clip(self, layout: TokenLayout) -> Bool[Tensor, " clip_token"]:
        """Return every token but the last as a cell: one newline stands behind the last frame."""
        return torch.arange(layout.cell_count + 1) < layout.cell_count

    def visual_tokens(
        self, model: PreTrainedModel, ids: Int[Tensor, " token"], inputs: VisualInputs, settings: InputSettings
    ) -> Float[Tensor, "clip_token width"]:
        """Return visual tokens and newline at the language model's door, pooled as the settings say."""
        with _pooling(model, pooling_stride(settings)):
            return super().visual_tokens(model, ids, inputs, settings)


class LlavaOnevisionBackend(HuggingFaceBackend):
    """Backend of LLaVA-OneVision."""

    def __init__(self) -> None:
        """Bind the family."""
        super().__init__(LlavaOnevisionFamily())


def pooling_stride(settings: InputSettings) -> int:
    """Return patches per token side: the setting's, by default the released research code's."""
    return DEFAULT_STRIDE if settings.pooling_stride is None else settings.pooling_stride


def pool_frames(patches: Float[Tensor, "frame patch width"], stride: int) -> Float[Tensor, "frame cell width"]:
    """Return each frame's square grid of patches, resized bilinearly to one cell per stride, rounded up.

    >>> pool_frames(torch.arange(9.0).reshape(1, 9, 1), 2).flatten().tolist()
    [1.0, 2.5, 5.5, 7.0]
    """
    frames, count, width = patches.shape
    side = math.isqrt(count)
    grid = patches.transpose(1, 2).reshape(frames, width, side, side)
    pooled = functional.interpolate(grid, size=(math.ceil(side / stride),) * 2, mode="bilinear")
    return pooled.flatten(2).transpose(1, 2)


@contextmanager
def _pooling(model: PreTrainedModel, stride: int) -> Iterator[None]:
    """Let the model's own forward, which knows the stride 2 alone, pool with another while inside."""
    if stride == TRAINED_STRIDE:
        yield
        return
    inner: Any = model.model
    inner.apply_pooling = partial(pool_frames, stride=stride)
    try:
        yield
    finally:
        # The class's own method shows again.
        del inner.apply_pooling
