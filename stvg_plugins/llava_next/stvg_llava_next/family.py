"""What sets LLaVA-NeXT-Video apart: frames of one size, and tokens pooled within each frame."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from stvg_core.errors import SettingsError
from stvg_core.settings import FamilyOptions, InputSettings
from stvg_huggingface.family import PerFrameFamily, VisualInputs
from stvg_huggingface.hooks import HuggingFaceBackend
from stvg_llava_next.pooling import pool_frames


class LlavaNextVideoOptions(FamilyOptions):
    """Options of `input.family`."""

    pooling_stride: int = Field(
        4,
        ge=1,
        le=64,
        description="patches per token side; 4: 24 x 24 patches of a frame become 6 x 6 tokens (C); transformers and "
        "the checkpoints' training: 2",
    )
    pooling_order: Literal["before_projector", "after_projector"] = Field(
        "before_projector", description="tokens are pooled before the projector (transformers) or after it (C)"
    )


@dataclass(frozen=True)
class LlavaNextVideoFamily(PerFrameFamily):
    """The family's table of differences."""

    architectures: tuple[str, ...] = ("LlavaNextVideoForConditionalGeneration",)
    options: type[FamilyOptions] = LlavaNextVideoOptions
    token_position: int = -5

    def frame_size_pixels(self, config: PreTrainedConfig, requested: int | None) -> int:
        """Return the one side that the vision tower has positions for (336).

        Raises:
            SettingsError: another one is requested.
        """
        size: int = config.vision_config.image_size
        if requested not in (None, size):
            raise SettingsError(
                f"expected input.frame_size_pixels={size}, the only size of this LLaVA-NeXT-Video, got {requested}"
            )
        return size

    def cells_per_side(self, config: PreTrainedConfig, size_pixels: int, settings: InputSettings) -> int:
        """Return patches per side over the pooling stride.

        Raises:
            SettingsError: the stride does not divide the patches.
        """
        patches = int(size_pixels // config.vision_config.patch_size)
        stride = LlavaNextVideoOptions.of(settings).pooling_stride
        if patches % stride:
            raise SettingsError(f"expected an input.family.pooling_stride that divides {patches} patches, got {stride}")
        return patches // stride

    def pixel_tensors(
        self, config: PreTrainedConfig, pixels: Float[Tensor, "frame 3 size size"], settings: InputSettings
    ) -> Mapping[str, Tensor]:
        """Return one video of all frames."""
        return {"pixel_values_videos": pixels[None]}

    def visual_tokens(
        self, model: PreTrainedModel, ids: Int[Tensor, " token"], inputs: VisualInputs, settings: InputSettings
    ) -> Float[Tensor, "cell width"]:
        """Return the visual tokens at the language model's door, pooled as the settings say."""
        with _pooling(model, LlavaNextVideoOptions.of(settings)):
            return super().visual_tokens(model, ids, inputs, settings)


class LlavaNextVideoBackend(HuggingFaceBackend):
    """Backend of LLaVA-NeXT-Video."""

    def __init__(self) -> None:
        """Bind the family."""
        super().__init__(LlavaNextVideoFamily())


@contextmanager
def _pooling(model: PreTrainedModel, options: LlavaNextVideoOptions) -> Iterator[None]:
    """Let the model's own forward pool with another stride, or behind its projector, while inside.

    Raises:
        SettingsError: the checkpoint pools by a trained convolution, which has one stride and one place.
    """
    mode, stride, order = model.config.spatial_pool_mode, options.pooling_stride, options.pooling_order
    if stride == model.config.spatial_pool_stride and order == "before_projector":
        yield
        return
    if mode == "conv":
        raise SettingsError(
            f"expected input.family.pooling_stride={model.config.spatial_pool_stride} before the projector, the only "
            f"pooling that this checkpoint was trained for, got {stride}, {order}"
        )
    inner: Any = model.model
    with ExitStack() as hooks:
        resampler, projector = inner.vision_resampler, inner.multi_modal_projector
        if order == "before_projector":
            handles = [resampler.register_forward_hook(lambda _m, given, _out: pool_frames(given[0], stride, mode))]
        else:
            handles = [
                resampler.register_forward_hook(lambda _m, given, _out: given[0]),
                projector.register_forward_hook(lambda _m, _given, out: pool_frames(out, stride, mode)),
            ]
        for handle in handles:
            hooks.callback(handle.remove)
        yield
