"""Families that encode every frame by itself: one square grid of tokens a frame, ordinary positions.

LLaVA-NeXT-Video and InternVL are such; each is what it does differently from this. As no frame
sees another before the language model, a reversed clip is the flipped tokens, exactly.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.settings import FamilyOptions, InputSettings
from stvg_core.values import TokenLayout
from stvg_huggingface.family import PositionRule, SequentialPositions, VisualInputs, marker_text
from stvg_huggingface.interception import intercept_visual_tokens


@dataclass(frozen=True)
class PerFrameFamily(ABC):
    """Implements `FamilyDifferences`, but for what a family must say itself."""

    architectures: tuple[str, ...]
    token_position: int
    options: type[FamilyOptions] = FamilyOptions
    reversal: Literal["flip", "encode"] = "flip"
    content_type: Literal["video", "image"] = "video"

    @abstractmethod
    def frame_size_pixels(self, config: PreTrainedConfig, wanted: int | None) -> int:
        """Return the side of the square that frames are squashed to; None wants the family's default."""

    @abstractmethod
    def cells_per_side(self, config: PreTrainedConfig, size_pixels: int, settings: InputSettings) -> int:
        """Return how many visual tokens stand along one side of a frame."""

    @abstractmethod
    def pixel_tensors(
        self, config: PreTrainedConfig, pixels: Float[Tensor, "frame 3 size size"], settings: InputSettings
    ) -> Mapping[str, Tensor]:
        """Return the pixels under the name and in the shape that the model's forward takes."""

    def visual_token_id(self, config: PreTrainedConfig) -> int:
        """Return the id of the video token."""
        token: int = config.video_token_id
        return token

    def placeholder(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return what the chat template writes for a video: the visual token."""
        return marker_text(tokenizer, self.visual_token_id(config))

    def layout(
        self, config: PreTrainedConfig, frame_count: int, size_pixels: int, settings: InputSettings
    ) -> TokenLayout:
        """Return one grid per frame."""
        side = self.cells_per_side(config, size_pixels, settings)
        return TokenLayout(frame_count, side, side, tuple(range(frame_count)))

    def clip_text(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, layout: TokenLayout) -> str:
        """Return all visual tokens in one row."""
        return marker_text(tokenizer, self.visual_token_id(config)) * layout.cell_count

    def positions(
        self,
        config: PreTrainedConfig,
        layout: TokenLayout,
        seconds: Float64[np.ndarray, " frame"],
        settings: InputSettings,
    ) -> PositionRule:
        """Return ordinary positions."""
        return SequentialPositions()

    def visual_tokens(
        self, model: PreTrainedModel, ids: Int[Tensor, " token"], inputs: VisualInputs, settings: InputSettings
    ) -> Float[Tensor, "clip_token width"]:
        """Return the clip's tokens at the language model's door."""
        return intercept_visual_tokens(model, ids, self.visual_token_id(model.config), inputs)
