"""A backend that another process can import, with a bug that shows only there."""

from stvg_huggingface.hooks import HuggingFaceBackend
from stvg_qwen2_vl.family import Qwen2VLFamily

from .mutants_of_adapters import OfThisProcess
from .planting import with_adapter


class Backend(HuggingFaceBackend):
    """Made anew by `with_adapter`, so that a class stands here for the entry point."""

    def __new__(cls) -> HuggingFaceBackend:  # type: ignore[misc]
        return with_adapter(HuggingFaceBackend(Qwen2VLFamily()), OfThisProcess)
