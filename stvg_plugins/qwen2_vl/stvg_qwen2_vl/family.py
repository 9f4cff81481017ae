"""What sets Qwen2-VL and Qwen2.5-VL apart from other families.

A visual token covers two frames and 2 x 2 patches, rotary positions have three axes, and the
temporal convolution is not symmetric, so a reversed clip must be encoded again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.settings import InputSettings
from stvg_core.values import TokenLayout
from stvg_huggingface.family import PositionRule, VisualInputs, marker_text
from stvg_huggingface.hooks import HuggingFaceBackend
from stvg_huggingface.interception import intercept_visual_tokens
from stvg_qwen2_vl.frame_sizes import DEFAULT_TOKENS_PER_SIDE, token_aligned_size
from stvg_qwen2_vl.patches import cut_patches, merge_in_time
from stvg_qwen2_vl.positions import MultimodalPositions

QWEN2_VL: Final = "Qwen2VLForConditionalGeneration"
QWEN2_5_VL: Final = "Qwen2_5_VLForConditionalGeneration"


@dataclass(frozen=True)
class Qwen2VLFamily:
    """The family's table of differences."""

    architectures: tuple[str, ...] = (QWEN2_VL, QWEN2_5_VL)
    token_position: int = -3
    reversal: Literal["flip", "encode"] = "encode"
    content_type: Literal["video", "image"] = "video"

    def visual_token_id(self, config: PreTrainedConfig) -> int:
        """Return the id of `<|video_pad|>`."""
        token: int = config.video_token_id
        return token

    def placeholder(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return `<|video_pad|>`, as the tokenizer writes it.

        Raises:
            ModelError: the tokenizer has no such token.
        """
        return marker_text(tokenizer, self.visual_token_id(config))

    def frame_size_pixels(self, config: PreTrainedConfig, wanted: int | None) -> int:
        """Return the wanted side (by default 8 tokens: 224 in published checkpoints) rounded to whole tokens."""
        token = config.vision_config.patch_size * config.vision_config.spatial_merge_size
        return token_aligned_size(DEFAULT_TOKENS_PER_SIDE * token if wanted is None else wanted, token)

    def layout(
        self, config: PreTrainedConfig, frame_count: int, size_pixels: int, settings: InputSettings
    ) -> TokenLayout:
        """Return one grid per time step; with temporal merging a step covers several frames."""
        vision = config.vision_config
        _, steps = merge_in_time(frame_count, vision.temporal_patch_size, settings.temporal_merge)
        cells = size_pixels // vision.patch_size // vision.spatial_merge_size
        return TokenLayout(max(steps) + 1, cells, cells, steps)

    def clip_text(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, layout: TokenLayout) -> str:
        """Return all visual tokens in one row."""
        return self.placeholder(config, tokenizer) * layout.cell_count

    def positions(
        self,
        config: PreTrainedConfig,
        layout: TokenLayout,
        seconds: Float64[np.ndarray, " frame"],
        settings: InputSettings,
    ) -> PositionRule:
        """Return three-axis positions; a duplicated frame is a time step of its own."""
        frames_apart = 1 if settings.temporal_merge == "duplicate" else config.vision_config.temporal_patch_size
        return MultimodalPositions(layout, time_interval(config, seconds, frames_apart), settings.position_rule)

    def pixel_tensors(
        self, config: PreTrainedConfig, pixels: Float[Tensor, "frame 3 size size"], settings: InputSettings
    ) -> Mapping[str, Tensor]:
        """Return patches of all time steps, and their grid."""
        vision = config.vision_config
        per_step, patch = vision.temporal_patch_size, vision.patch_size
        shown, _ = merge_in_time(len(pixels), per_step, settings.temporal_merge)
        side = pixels.shape[2] // patch
        return {
            "pixel_values_videos": cut_patches(pixels[list(shown)], per_step, patch, vision.spatial_merge_size),
            "video_grid_thw": torch.tensor([[len(shown) // per_step, side, side]]),
        }

    def visual_tokens(
        self, model: PreTrainedModel, ids: Int[Tensor, " token"], inputs: VisualInputs, settings: InputSettings
    ) -> Float[Tensor, "cell width"]:
        """Return the visual tokens at the language model's door."""
        return intercept_visual_tokens(model, ids, self.visual_token_id(model.config), inputs)


class Qwen2VLBackend(HuggingFaceBackend):
    """Backend of Qwen2-VL and Qwen2.5-VL."""

    def __init__(self) -> None:
        """Bind the family."""
        super().__init__(Qwen2VLFamily())


def time_interval(config: PreTrainedConfig, seconds: Float64[np.ndarray, " frame"], frames_per_step: int) -> float:
    """Return time positions per time step.

    Qwen2-VL counts steps. Qwen2.5-VL counts real time: tokens per second times the seconds that
    one step covers. Its rule knows one interval per video, so unevenly spaced presentation times
    are approximated by their mean spacing.

    Args:
        config: the checkpoint's configuration.
        seconds: presentation times of the sampled frames.
        frames_per_step: sampled frames from one time step to the next.
    """
    if QWEN2_5_VL not in (config.architectures or ()):
        return 1.0
    spacing = float(seconds[-1] - seconds[0]) / (len(seconds) - 1) if len(seconds) > 1 else 0.0
    return float(config.vision_config.tokens_per_second) * spacing * frames_per_step
