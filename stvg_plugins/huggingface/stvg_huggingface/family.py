"""What an author writes for a family of models: a small table of differences; the adapter does the rest.

`FamilyDifferences` is the interface, `PerFrameFamily` its base class for families that encode each frame on its own.
Visual tokens need not be contiguous (there may be text between frames): they are located by their id, never sliced.

`intercept_visual_tokens` returns visual tokens as the language model receives them: the ordinary multimodal forward
runs up to the language model and is stopped there, so no family's feature functions (whose results change between
transformers versions) are called.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.errors import ModelError, TokenLayoutError
from stvg_core.settings import FamilyOptions, InputSettings
from stvg_core.values import TokenLayout
from stvg_huggingface.loading import language_model_of


@runtime_checkable
class PositionRule(Protocol):
    """Rotary positions of a prompt with visual tokens at known places."""

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
        layout: the grid of visual tokens.
        positions: rotary positions of a prompt with this clip.
    """

    tensors: Mapping[str, Tensor]
    layout: TokenLayout
    positions: PositionRule


@runtime_checkable
class FamilyDifferences(Protocol):
    """What sets one family of models apart; implement it as a frozen dataclass."""

    @property
    def architectures(self) -> tuple[str, ...]:
        """Names in `architectures` of config.json that the family handles."""
        ...

    @property
    def options(self) -> type[FamilyOptions]:
        """The model that validates `input.family`; its defaults are also in the backend's manifest."""
        ...

    @property
    def reversal(self) -> Literal["flip", "encode"]:
        """How a clip is reversed: flip its tokens (exact where each frame is encoded on its own), or encode again."""
        ...

    @property
    def content_type(self) -> Literal["video", "image"]:
        """What a clip is called in the chat template; families without videos show its frames as images."""
        ...

    @property
    def token_position(self) -> int:
        """Place of the grounding token from the prompt's end, for the rule `fixed` (released research code)."""
        ...

    def visual_token_id(self, config: PreTrainedConfig) -> int:
        """Return the token id that stands for a visual token."""
        ...

    def placeholder(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return what the chat template writes for a video."""
        ...

    def frame_size_pixels(self, config: PreTrainedConfig, requested: int | None) -> int:
        """Return the side of the square that frames are squashed to; None: the family's default."""
        ...

    def layout(
        self, config: PreTrainedConfig, frame_count: int, size_pixels: int, settings: InputSettings
    ) -> TokenLayout:
        """Return the grid of a clip's visual tokens, before any pixel is processed.

        Args:
            config: the checkpoint's configuration.
            frame_count: frames shown.
            size_pixels: side of a frame, as `frame_size_pixels` gives it.
            settings: the family's options are in `settings.family`.

        Raises:
            SettingsError: the family cannot encode frames with these settings.
        """
        ...

    def clip_text(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, layout: TokenLayout) -> str:
        """Return what replaces the placeholder: one visual token's text per cell, and text between frames.

        A separator (`ClipSeparators`) is written as a visual token too.

        Raises:
            ModelError: the tokenizer lacks a marker of the family.
        """
        ...

    def positions(
        self,
        config: PreTrainedConfig,
        layout: TokenLayout,
        seconds: Float64[np.ndarray, " frame"],
        settings: InputSettings,
    ) -> PositionRule:
        """Return the rotary positions of a prompt with a clip.

        Args:
            config: the checkpoint's configuration.
            layout: the clip's tokens.
            seconds: presentation times of the sampled frames, in source order.
            settings: the family's options are in `settings.family`.
        """
        ...

    def pixel_tensors(
        self, config: PreTrainedConfig, pixels: Float[Tensor, "frame 3 size size"], settings: InputSettings
    ) -> Mapping[str, Tensor]:
        """Return the vision tower's inputs as keyword arguments of the model's forward.

        Args:
            config: the checkpoint's configuration.
            pixels: normalised frames in the order the model sees them, on the CPU.
            settings: the family's options are in `settings.family`.
        """
        ...

    def visual_tokens(
        self, model: PreTrainedModel, ids: Int[Tensor, " token"], inputs: VisualInputs, settings: InputSettings
    ) -> Float[Tensor, "clip_token width"]:
        """Return the clip's tokens as the language model receives them: the visual tokens, and separators.

        Most families call `intercept_visual_tokens`.

        Args:
            model: the loaded model.
            ids: the prompt up to its last visual token, on the model's device.
            inputs: tensors on the model's device.
            settings: how frames become tokens.
        """
        ...


@runtime_checkable
class ClipSeparators(Protocol):
    """Additional interface of families whose clips contain tokens that show no part of a frame.

    A learned newline behind the last frame (LLaVA-OneVision) is one. It has no row in the table of
    embeddings and no cell in the layout: it stays in its place as it is, no visual prompt is added to
    it, and attention to it is ignored.
    """

    def cells_of_clip(self, layout: TokenLayout) -> Bool[Tensor, " clip_token"]:
        """Return which of the clip's tokens are cells, in the order of the prompt; the others are separators."""
        ...


def cells_of_clip(family: FamilyDifferences, layout: TokenLayout) -> Bool[Tensor, " clip_token"]:
    """Return which of a clip's tokens are cells: all of them, unless the family has separators.

    Raises:
        TokenLayoutError: the family names more cells or fewer than the layout.
    """
    if not isinstance(family, ClipSeparators):
        return torch.ones(layout.cell_count, dtype=torch.bool)
    cells = family.cells_of_clip(layout)
    if int(cells.sum()) != layout.cell_count:
        raise TokenLayoutError(
            f"a grid of {layout.shape} has {layout.cell_count} cells, the family's cells_of_clip names "
            f"{int(cells.sum())}; count separators as False"
        )
    return cells


def marker_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """Return how a tokenizer writes a special token that config.json names by its id.

    Raises:
        ModelError: the tokenizer has no marker of that id, so it is not this checkpoint's.
    """
    marker = tokenizer.added_tokens_decoder.get(token_id)
    if marker is None or tokenizer.convert_tokens_to_ids(marker.content) != token_id:
        raise ModelError(
            f"expected a tokenizer with the visual token {token_id} that config.json names, it has none; the "
            "tokenizer files are not this checkpoint's, download the whole checkpoint again"
        )
    return str(marker.content)


class _Intercepted(Exception):  # noqa: N818 - it ends a pass early and is no error
    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings


def intercept_visual_tokens(
    model: PreTrainedModel, ids: Int[Tensor, " token"], visual_token_id: int, inputs: VisualInputs
) -> Float[Tensor, "clip_token width"]:
    """Return what a model puts at the visual tokens' places of a prompt.

    Args:
        model: a multimodal model of transformers.
        ids: the prompt up to its last visual token.
        visual_token_id: id that stands for a visual token.
        inputs: the clip, on the model's device.

    Raises:
        TokenLayoutError: the vision tower gives another number of tokens than the layout says.
        ModelError: the model never calls its language model.
    """
    visual = ids == visual_token_id
    positions = as_position_ids(inputs.positions(visual))
    handle = language_model_of(model).register_forward_pre_hook(_stop, with_kwargs=True)
    try:
        with torch.no_grad():
            model(input_ids=ids[None], position_ids=positions, use_cache=False, **inputs.tensors)
    except _Intercepted as intercepted:
        return intercepted.embeddings[0].index_select(0, visual.nonzero()[:, 0])
    except ValueError as error:
        raise TokenLayoutError(f"the vision tower and the layout {inputs.layout.shape} disagree: {error}") from error
    finally:
        handle.remove()
    raise ModelError(f"{type(model).__name__} did not call its language model; check the transformers version")


def as_position_ids(positions: Int[Tensor, "axis token"]) -> Int[Tensor, "..."]:
    """Return positions as language models take them: (1, token), or (axis, 1, token) for several axes."""
    return positions if positions.shape[0] == 1 else positions[:, None]


def _stop(_module: nn.Module, _arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    raise _Intercepted(keywords["inputs_embeds"])


@dataclass(frozen=True)
class PerFrameFamily(ABC):
    """Implements `FamilyDifferences`, but for what a family must say itself."""

    architectures: tuple[str, ...]
    token_position: int
    options: type[FamilyOptions] = FamilyOptions
    reversal: Literal["flip", "encode"] = "flip"
    content_type: Literal["video", "image"] = "video"

    @abstractmethod
    def frame_size_pixels(self, config: PreTrainedConfig, requested: int | None) -> int:
        """Return the side of the square that frames are squashed to; None: the family's default."""

    @abstractmethod
    def cells_per_side(self, config: PreTrainedConfig, size_pixels: int, settings: InputSettings) -> int:
        """Return the number of visual tokens along one side of a frame."""

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
        """Return the clip's tokens as the language model receives them."""
        return intercept_visual_tokens(model, ids, self.visual_token_id(model.config), inputs)
