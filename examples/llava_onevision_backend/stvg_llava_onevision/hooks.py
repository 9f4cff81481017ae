"""The backend that the entry point `stvg.backends: llava-onevision` names."""

from typing import TYPE_CHECKING

from stvg_huggingface.hooks import HuggingFaceHooks
from stvg_llava_onevision.family import LlavaOnevisionFamily

if TYPE_CHECKING:
    from stvg_core.plugin.hookspecs import BackendHooks


class LlavaOnevisionBackend(HuggingFaceHooks):
    """Hooks of LLaVA-OneVision, all of them as stvg-huggingface has them."""

    def __init__(self) -> None:
        """Bind the table of differences; nothing is loaded yet."""
        super().__init__(LlavaOnevisionFamily())


if TYPE_CHECKING:
    _: BackendHooks = LlavaOnevisionBackend()
