"""What each family's model is fed, written out plainly: prompt text and pixels, with loops.

Deliberately apart from the backends' tables of differences, of which these are a second opinion.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64, Int, UInt8
from torch import Tensor
from torch.nn import functional

from stvg_core.errors import SettingsError
from stvg_core.settings import InputSettings
from stvg_huggingface.testing.models import FRAMES_PER_STEP, MERGE_PATCHES


@dataclass(frozen=True, eq=False)
class PlainClip:
    """A clip as a family's model reads it.

    Attributes:
        placeholder: what the chat template writes for a video.
        text: what stands there instead: one visual token's text per cell, and text between frames.
        tensors: the model's keyword arguments that carry the pixels.
        content_type: what the chat template calls a clip, "video" or "image".
    """

    placeholder: str
    text: str
    tensors: Mapping[str, Tensor]
    content_type: str = "video"


@runtime_checkable
class PlainFamily(Protocol):
    """What a family's model is fed; everything else is transformers' own."""

    def visual_id(self, config: Any) -> int:  # noqa: ANN401 - configurations have no common fields
        """Return the id that stands for a visual token."""
        ...

    def clip(
        self,
        config: Any,  # noqa: ANN401 - the same
        values: Float64[np.ndarray, "frame size size 3"],
        seconds: Sequence[float],
        settings: InputSettings,
    ) -> PlainClip:
        """Return a clip of normalised pictures.

        Args:
            config: the checkpoint's configuration.
            values: pixels in 0..1 minus mean over deviation, in the order that the model sees them.
            seconds: presentation times, in source order.
            settings: the family's options are in `settings.family`.
        """
        ...

    def positions(
        self,
        config: Any,  # noqa: ANN401 - the same
        ids: Int[Tensor, "1 token"],
        clip: PlainClip,
        settings: InputSettings,
    ) -> Tensor | None:
        """Return rotary positions where the model's own are not wanted."""
        ...


class _ModelsOwnPositions:
    """For families whose model counts its own positions."""

    def positions(
        self,
        config: Any,  # noqa: ANN401 - the same
        ids: Int[Tensor, "1 token"],
        clip: PlainClip,
        settings: InputSettings,
    ) -> Tensor | None:
        """Return nothing: the model counts."""
        return None


@dataclass(frozen=True)
class PlainLlava(_ModelsOwnPositions):
    """LLaVA-NeXT-Video with the pooling that its checkpoint has."""

    def visual_id(self, config: Any) -> int:  # noqa: ANN401 - configurations have no common fields
        """Return the video token's id."""
        return int(config.video_token_id)

    def clip(
        self,
        config: Any,  # noqa: ANN401 - the same
        values: Float64[np.ndarray, "frame size size 3"],
        seconds: Sequence[float],
        settings: InputSettings,
    ) -> PlainClip:
        """Return one video of all frames.

        Raises:
            SettingsError: another pooling is wanted than the model's own.
        """
        stride, order = settings.family.get("pooling_stride"), settings.family.get("pooling_order", "before_projector")
        if stride != config.spatial_pool_stride or order != "before_projector":
            raise SettingsError(
                f"expected input.family.pooling_stride={config.spatial_pool_stride} before the projector, the model's "
                f"own, got {stride}, {order}; test other poolings elsewhere"
            )
        side = values.shape[1] // config.vision_config.patch_size // stride
        frames = torch.tensor(values.transpose(0, 3, 1, 2))[None]
        return PlainClip("<video>", "<video>" * (len(values) * side * side), {"pixel_values_videos": frames})


@dataclass(frozen=True)
class PlainIntern(_ModelsOwnPositions):
    """InternVL: every frame an image, behind its number."""

    def visual_id(self, config: Any) -> int:  # noqa: ANN401 - configurations have no common fields
        """Return the image token's id."""
        return int(config.image_token_id)

    def clip(
        self,
        config: Any,  # noqa: ANN401 - the same
        values: Float64[np.ndarray, "frame size size 3"],
        seconds: Sequence[float],
        settings: InputSettings,
    ) -> PlainClip:
        """Return a line and an image for each frame."""
        side = int(values.shape[1] // config.vision_config.patch_size[0] * config.downsample_ratio)
        lines = [f"Frame{number + 1}: <img>{'<IMG_CONTEXT>' * side**2}</img>" for number in range(len(values))]
        return PlainClip("<video>", "\n".join(lines), {"pixel_values": torch.tensor(values.transpose(0, 3, 1, 2))})


@dataclass(frozen=True)
class PlainQwen:
    """Qwen2-VL and Qwen2.5-VL: two frames a token, positions of three axes."""

    def visual_id(self, config: Any) -> int:  # noqa: ANN401 - configurations have no common fields
        """Return the video token's id."""
        return int(config.video_token_id)

    def clip(
        self,
        config: Any,  # noqa: ANN401 - the same
        values: Float64[np.ndarray, "frame size size 3"],
        seconds: Sequence[float],
        settings: InputSettings,
    ) -> PlainClip:
        """Return patches: blocks that become one token side by side, cut one by one."""
        count, patch = len(values), config.vision_config.patch_size
        covers_one = settings.family.get("temporal_merge", "duplicate") == "duplicate"
        if covers_one:
            shown = [frame for frame in range(count) for _ in range(FRAMES_PER_STEP)]
        else:
            shown = [*range(count), *[count - 1] * (count % FRAMES_PER_STEP)]
        steps, blocks = len(shown) // FRAMES_PER_STEP, values.shape[1] // (patch * MERGE_PATCHES)
        patches = []
        for step, block_row, block_column, row, column in itertools.product(
            range(steps), range(blocks), range(blocks), range(MERGE_PATCHES), range(MERGE_PATCHES)
        ):
            top, left = (block_row * MERGE_PATCHES + row) * patch, (block_column * MERGE_PATCHES + column) * patch
            frames = shown[FRAMES_PER_STEP * step : FRAMES_PER_STEP * (step + 1)]
            cube = np.stack([values[frame, top : top + patch, left : left + patch] for frame in frames])
            patches.append(cube.transpose(3, 0, 1, 2).reshape(-1))
        side = blocks * MERGE_PATCHES
        tensors = {
            "pixel_values_videos": torch.tensor(np.stack(patches)),
            "video_grid_thw": torch.tensor([[steps, side, side]]),
        }
        if config.model_type == "qwen2_5_vl":
            apart = (seconds[-1] - seconds[0]) / (count - 1) if count > 1 else 0.0
            covered = apart * (1 if covers_one else FRAMES_PER_STEP)
            tensors["second_per_grid_ts"] = torch.tensor([covered], dtype=torch.float64)
        return PlainClip("<|video_pad|>", "<|video_pad|>" * (steps * blocks * blocks), tensors)

    def positions(
        self,
        config: Any,  # noqa: ANN401 - the same
        ids: Int[Tensor, "1 token"],
        clip: PlainClip,
        settings: InputSettings,
    ) -> Tensor | None:
        """Return the family's own positions, counted token by token; transformers' are the model's."""
        rule = settings.family.get("position_rule", "original")
        if rule == "transformers":
            return None
        if rule == "sequential":
            return torch.arange(ids.shape[1]).expand(3, 1, -1)
        steps, rows, columns = (int(side) for side in clip.tensors["video_grid_thw"][0])
        rows, columns = rows // MERGE_PATCHES, columns // MERGE_PATCHES
        interval = 1.0
        if "second_per_grid_ts" in clip.tensors:
            interval = float(clip.tensors["second_per_grid_ts"]) * config.vision_config.tokens_per_second
        cells = itertools.product(range(steps), range(rows), range(columns))
        counted: list[tuple[int, int, int]] = []
        following, start = 0, -1
        for token in ids[0].tolist():
            if token == config.video_token_id:
                start = following if start < 0 else start
                step, row, column = next(cells)
                counted.append((start + int(step * interval), start + row, start + column))
                following = max(following, *(axis + 1 for axis in counted[-1]))
            else:
                counted.append((following,) * 3)
                following += 1
        return torch.tensor(counted).T[:, None]


def squares(
    pictures: UInt8[np.ndarray, "frame height width 3"], size: int, mean: Sequence[float], deviation: Sequence[float]
) -> Float64[np.ndarray, "frame size size 3"]:
    """Return pictures squashed to squares (antialiased, bicubic, in whole levels) and normalised."""
    channels_first = torch.tensor(pictures).permute(0, 3, 1, 2)
    squashed = functional.interpolate(
        channels_first, size=(size, size), mode="bicubic", antialias=True, align_corners=False
    )
    levels = squashed.permute(0, 2, 3, 1).numpy().astype(np.float64)
    values: Float64[np.ndarray, "frame size size 3"] = (levels / _WHITE - np.array(mean)) / np.array(deviation)
    return values


_WHITE: Final = 255
