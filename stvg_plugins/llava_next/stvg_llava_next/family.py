"""What sets LLaVA-NeXT-Video apart: frames of one size, and tokens pooled within each frame."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from stvg_core.errors import SettingsError
from stvg_core.settings import InputSettings
from stvg_huggingface.family import VisualInputs
from stvg_huggingface.hooks import HuggingFaceBackend
from stvg_huggingface.per_frame import PerFrameFamily
from stvg_llava_next.pooling import pool_frames

DEFAULT_POOLING_STRIDE: Final = 4
"""Released research code: 24 x 24 patches of a frame become 6 x 6 tokens."""


@dataclass(frozen=True)
class LlavaNextVideoFamily(PerFrameFamily):
    """The family's table of differences."""

    architectures: tuple[str, ...] = ("LlavaNextVideoForConditionalGeneration",)
    token_position: int = -5

    def frame_size_pixels(self, config: PreTrainedConfig, wanted: int | None) -> int:
        """Return the one side that the vision tower has positions for (336).

        Raises:
            SettingsError: another one is wanted.
        """
        size: int = config.vision_config.image_size
        if wanted not in (None, size):
            raise SettingsError(
                f"expected input.frame_size_pixels={size}, the only size that this LLaVA-NeXT-Video reads, got {wanted}"
            )
        return size

    def cells_per_side(self, config: PreTrainedConfig, size_pixels: int, settings: InputSettings) -> int:
        """Return patches per side over the pooling stride.

        Raises:
            SettingsError: the stride does not divide the patches.
        """
        patches, stride = int(size_pixels // config.vision_config.patch_size), pooling_stride(settings)
        if patches % stride:
            raise SettingsError(f"expected an input.pooling_stride that divides {patches} patches, got {stride}")
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
        with _pooling(model, settings):
            return super().visual_tokens(model, ids, inputs, settings)


class LlavaNextVideoBackend(HuggingFaceBackend):
    """Backend of LLaVA-NeXT-Video."""

    def __init__(self) -> None:
        """Bind the family."""
        super().__init__(LlavaNextVideoFamily())


def pooling_stride(settings: InputSettings) -> int:
    """Return patches per token side: the setting's, by default the released research code's."""
    return DEFAULT_POOLING_STRIDE if settings.pooling_stride is None else settings.pooling_stride


@contextmanager
def _pooling(model: PreTrainedModel, settings: InputSettings) -> Iterator[None]:
    """Let the model's own forward pool with another stride, or behind its projector, while inside.

    Raises:
        SettingsError: the checkpoint pools by a trained convolution, which has one stride and one place.
    """
    mode, stride, order = model.config.spatial_pool_mode, pooling_stride(settings), settings.pooling_order
    if stride == model.config.spatial_pool_stride and order == "before_projector":
        yield
        return
    if mode == "conv":
        raise SettingsError(
            f"expected input.pooling_stride={model.config.spatial_pool_stride} before the projector, the only pooling "
            f"that this checkpoint was trained for, got {stride}, {order}"
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
