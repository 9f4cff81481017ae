"""What a backend says of its family of models: a small table of differences, nothing else.

The adapter (stvg_huggingface.adapter) does the rest for all families. Visual tokens may lie
apart from one another (text between frames): they are found by their id, never sliced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.config import InputSettings
from stvg_core.values import TokenLayout


@runtime_checkable
class PositionRule(Protocol):
    """Rotary positions of a prompt whose visual tokens are known."""

    def __call__(self, visual: Bool[Tensor, " token"]) -> Int[Tensor, "axis token"]:
        """Return positions of every token, one row per rotary axis (one row: ordinary positions).

        A token's position must not depend on the tokens after it.
        """
        ...


@dataclass(frozen=True)
class SequentialPositions:
    """Ordinary positions 0, 1, 2, ... (LLaVA-NeXT-Video, InternVL).

    >>> SequentialPositions()(torch.tensor([False, True, False])).tolist()
    [[0, 1, 2]]
    """

    def __call__(self, visual: Bool[Tensor, " token"]) -> Int[Tensor, "axis token"]:
        """Return one row of positions."""
        return torch.arange(visual.numel(), device=visual.device)[None]


@dataclass(frozen=True, eq=False)
class VisualInputs:
    """One clip, ready for a family's vision tower.

    Attributes:
        tensors: keyword arguments of the model's forward that carry the pixels.
        layout: where each visual token will lie.
        placeholder: replaces the clip's placeholder in the template; holds one visual token's
            text per cell, and whatever text the family writes between frames.
        positions: rotary positions of a prompt with this clip.
    """

    tensors: Mapping[str, Tensor]
    layout: TokenLayout
    placeholder: str
    positions: PositionRule


@runtime_checkable
class FamilyDifferences(Protocol):
    """What sets one family of models apart; implement it as a frozen dataclass."""

    @property
    def architectures(self) -> tuple[str, ...]:
        """Names in `architectures` of config.json that the family reads."""
        ...

    @property
    def reversal(self) -> Literal["flip", "encode"]:
        """How a clip is reversed: flip the tokens (encoding is per frame: exact) or encode again."""
        ...

    def visual_token_id(self, config: PreTrainedConfig) -> int:
        """Return the token id that stands for a visual token."""
        ...

    def placeholder(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return what the chat template writes for a video."""
        ...

    def frame_size_pixels(self, config: PreTrainedConfig, wanted: int | None) -> int:
        """Return the side of the square that frames are squashed to; None wants the family's default."""
        ...

    def visual_inputs(
        self,
        config: PreTrainedConfig,
        tokenizer: PreTrainedTokenizerBase,
        pixels: Float[Tensor, "frame 3 size size"],
        seconds: Float64[np.ndarray, " frame"],
        settings: InputSettings,
    ) -> VisualInputs:
        """Return what the vision tower reads.

        Args:
            config: the checkpoint's configuration.
            tokenizer: the checkpoint's tokenizer.
            pixels: normalised frames in the order the model sees them, on the CPU.
            seconds: presentation times of the sampled frames, in source order.
            settings: temporal merging and position rule.
        """
        ...

    def visual_tokens(
        self, model: PreTrainedModel, ids: Int[Tensor, " token"], inputs: VisualInputs
    ) -> Float[Tensor, "cell width"]:
        """Return the visual tokens as the language model receives them.

        Most families call `intercept_visual_tokens`.

        Args:
            model: the loaded model.
            ids: the prompt up to its last visual token, on the model's device.
            inputs: tensors on the model's device.
        """
        ...
