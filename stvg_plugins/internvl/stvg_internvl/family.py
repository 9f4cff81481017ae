"""What sets InternVL apart: text between frames, a token name of its own, patches folded into tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from stvg_core.errors import ModelError
from stvg_core.settings import InputSettings
from stvg_core.values import TokenLayout
from stvg_huggingface.family import marker_text
from stvg_huggingface.hooks import HuggingFaceBackend
from stvg_huggingface.per_frame import PerFrameFamily

_VIDEO: Final = "<video>"
_IMAGE_START: Final = "<img>"
_IMAGE_END: Final = "</img>"


@dataclass(frozen=True)
class InternVLFamily(PerFrameFamily):
    """The family's table of differences."""

    architectures: tuple[str, ...] = ("InternVLForConditionalGeneration",)
    token_position: int = -3

    def visual_token_id(self, config: PreTrainedConfig) -> int:
        """Return the id of `<IMG_CONTEXT>`: images and frames share one token."""
        token: int = config.image_token_id
        return token

    def placeholder(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return `<video>`."""
        return _VIDEO

    def frame_size_pixels(self, config: PreTrainedConfig, wanted: int | None) -> int:
        """Return the wanted side (by default the checkpoint's, 448) rounded to whole tokens.

        The vision tower interpolates its positions for sizes that it was not trained on.
        """
        token = _token_pixels(config)
        size = config.vision_config.image_size[0] if wanted is None else wanted
        return max(1, round(size / token)) * token

    def cells_per_side(self, config: PreTrainedConfig, size_pixels: int, settings: InputSettings) -> int:
        """Return whole tokens per side."""
        return size_pixels // _token_pixels(config)

    def pixel_tensors(
        self, config: PreTrainedConfig, pixels: Float[Tensor, "frame 3 size size"], settings: InputSettings
    ) -> Mapping[str, Tensor]:
        """Return the frames as so many images."""
        return {"pixel_values": pixels}

    def clip_text(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, layout: TokenLayout) -> str:
        """Return a line for each frame: its number, then its tokens between image markers.

        Raises:
            ModelError: the tokenizer lacks a marker.
        """
        for marker in (_IMAGE_START, _IMAGE_END):
            if marker not in tokenizer.get_added_vocab():
                raise ModelError(
                    f"expected a tokenizer with the marker {marker!r}, it has none; the tokenizer files are not an "
                    "InternVL's (-hf), download the whole checkpoint again"
                )
        tokens = marker_text(tokenizer, self.visual_token_id(config)) * (layout.rows * layout.columns)
        return "\n".join(
            f"Frame{number + 1}: {_IMAGE_START}{tokens}{_IMAGE_END}" for number in range(layout.frame_count)
        )


class InternVLBackend(HuggingFaceBackend):
    """Backend of InternVL."""

    def __init__(self) -> None:
        """Bind the family."""
        super().__init__(InternVLFamily())


def _token_pixels(config: PreTrainedConfig) -> int:
    pixels: float = config.vision_config.patch_size[0] / config.downsample_ratio
    return round(pixels)
