"""Tiny random models in hub layout, for tests of backends; made in place, some hundred kilobytes each.

`python -m stvg_huggingface.testing FAMILY FOLDER` writes one.
"""

from stvg_huggingface.testing.models import (
    FRAMES_PER_STEP,
    IMAGE_PIXELS,
    MERGE_PATCHES,
    PATCH_PIXELS,
    TINY_FAMILIES,
    TOKENS_PER_SECOND,
    save_tiny_model,
    tiny_internvl,
    tiny_llava_next_video,
    tiny_qwen2_vl,
)
from stvg_huggingface.testing.tokenizers import (
    INTERNVL_TEMPLATE,
    LLAVA_TEMPLATE,
    QWEN_TEMPLATE,
    tiny_internvl_tokenizer,
    tiny_llava_tokenizer,
    tiny_tokenizer,
)

__all__ = [
    "FRAMES_PER_STEP",
    "IMAGE_PIXELS",
    "INTERNVL_TEMPLATE",
    "LLAVA_TEMPLATE",
    "MERGE_PATCHES",
    "PATCH_PIXELS",
    "QWEN_TEMPLATE",
    "TINY_FAMILIES",
    "TOKENS_PER_SECOND",
    "save_tiny_model",
    "tiny_internvl",
    "tiny_internvl_tokenizer",
    "tiny_llava_next_video",
    "tiny_llava_tokenizer",
    "tiny_qwen2_vl",
    "tiny_tokenizer",
]
