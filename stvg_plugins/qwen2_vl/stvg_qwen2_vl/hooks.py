"""The backend that the entry point `stvg.backends: qwen2-vl` names."""

from typing import TYPE_CHECKING

from stvg_huggingface.hooks import HuggingFaceHooks
from stvg_qwen2_vl.family import Qwen2VLFamily

if TYPE_CHECKING:
    from stvg_core.plugin.hookspecs import BackendHooks


class Qwen2VLBackend(HuggingFaceHooks):
    """Hooks of Qwen2-VL and Qwen2.5-VL; `stvg_augment_frames` encodes the reversed frames again."""

    def __init__(self) -> None:
        """Bind the family's table of differences."""
        super().__init__(Qwen2VLFamily())


if TYPE_CHECKING:
    _: BackendHooks = Qwen2VLBackend()
