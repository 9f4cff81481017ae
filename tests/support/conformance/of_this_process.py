"""A backend that another process can import, with a bug that shows only there."""

from stvg_huggingface.hooks import HuggingFaceHooks
from stvg_qwen2_vl.family import Qwen2VLFamily

from .mutants_of_adapters import OfThisProcess
from .planting import with_adapter


class Backend(HuggingFaceHooks):
    """Made anew by `with_adapter`, so that a class stands here for the entry point."""

    def __new__(cls) -> HuggingFaceHooks:  # type: ignore[misc]
        return with_adapter(HuggingFaceHooks(Qwen2VLFamily()), OfThisProcess)
