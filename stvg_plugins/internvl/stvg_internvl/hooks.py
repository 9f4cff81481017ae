"""The backend that the entry point `stvg.backends: internvl` names."""

from typing import TYPE_CHECKING

from stvg_huggingface.hooks import HuggingFaceHooks
from stvg_internvl.family import InternVLFamily

if TYPE_CHECKING:
    from stvg_core.plugin.hookspecs import BackendHooks


class InternVLBackend(HuggingFaceHooks):
    """Hooks of InternVL; `stvg_augment_frames` flips the encoded tokens."""

    def __init__(self) -> None:
        """Bind the family's table of differences."""
        super().__init__(InternVLFamily())


if TYPE_CHECKING:
    _: BackendHooks = InternVLBackend()
