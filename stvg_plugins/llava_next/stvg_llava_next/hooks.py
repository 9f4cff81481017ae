"""The backend that the entry point `stvg.backends: llava-next` names."""

from typing import TYPE_CHECKING

from stvg_huggingface.hooks import HuggingFaceHooks
from stvg_llava_next.family import LlavaNextVideoFamily

if TYPE_CHECKING:
    from stvg_core.plugin.hookspecs import BackendHooks


class LlavaNextVideoBackend(HuggingFaceHooks):
    """Hooks of LLaVA-NeXT-Video; `stvg_augment_frames` flips the encoded tokens."""

    def __init__(self) -> None:
        """Bind the family's table of differences."""
        super().__init__(LlavaNextVideoFamily())


if TYPE_CHECKING:
    _: BackendHooks = LlavaNextVideoBackend()
