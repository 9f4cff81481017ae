"""Subjects for the conformance kit: each family's tiny model, and transformers running it by itself.

Nothing of the adapter is used, nor of any backend's table of differences.
"""

from stvg_huggingface.testing.conformance.subjects import HuggingFaceSubject, internvl, llava_next, qwen2_5_vl, qwen2_vl

__all__ = ["HuggingFaceSubject", "internvl", "llava_next", "qwen2_5_vl", "qwen2_vl"]
