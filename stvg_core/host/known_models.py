"""What is known of published models: which backend reads an architecture, and what to do where none does.

Advice for those who lack something. Where a backend is installed, its manifest decides and nothing here is read.
"""

import difflib
import re
from pathlib import PurePath
from typing import Final

PUBLISHED_BACKENDS: Final = {
    "InternVLForConditionalGeneration": "stvg-internvl",
    "LlavaNextVideoForConditionalGeneration": "stvg-llava-next",
    "Qwen2VLForConditionalGeneration": "stvg-qwen2-vl",
    "Qwen2_5_VLForConditionalGeneration": "stvg-qwen2-vl",
}
"""Which distribution to install for an architecture."""

EXAMPLE_BACKENDS: Final = {"LlavaOnevisionForConditionalGeneration": "examples/llava_onevision_backend"}
"""Which folder of the source tree holds a backend for an architecture."""

AUTHORS_FORMATS: Final = {
    "InternVLChatModel": "OpenGVLab/InternVL3-8B-hf",
    "LlavaLlamaForCausalLM": "llava-hf/LLaVA-NeXT-Video-7B-hf",
    "LlavaMistralForCausalLM": "llava-hf/LLaVA-NeXT-Video-7B-32K-hf",
    "LlavaQwenForCausalLM": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
}
"""Architectures that only their authors' code reads, each with one conversion to transformers' own format."""

KNOWN_CHECKPOINTS: Final = (
    *(f"Qwen/Qwen2-VL-{size}-Instruct" for size in ("2B", "7B", "72B")),
    *(f"Qwen/Qwen2.5-VL-{size}-Instruct" for size in ("3B", "7B", "32B", "72B")),
    *(f"OpenGVLab/InternVL2_5-{size}-MPO-hf" for size in ("2B", "4B")),
    *(f"OpenGVLab/InternVL3-{size}-hf" for size in ("1B", "2B", "8B", "14B", "38B", "78B")),
    *(f"OpenGVLab/InternVL3_5-{size}-HF" for size in ("1B", "2B", "4B", "8B", "14B", "38B")),
    *(f"llava-hf/LLaVA-NeXT-Video-{size}-hf" for size in ("7B", "7B-DPO", "7B-32K", "34B", "34B-DPO")),
    *(f"llava-hf/llava-onevision-qwen2-{size}-ov-hf" for size in ("0.5b", "7b", "72b")),
)
"""Hub ids of the families above, to tell a slip of the pen."""

_SIMILAR: Final = 0.85
_TWIN_ENDINGS: Final = ("-hf", "-HF")
_LANGUAGE_MODELS: Final = ("ForCausalLM", "LMHeadModel")


def closest_checkpoint(model: str) -> str | None:
    """Return the known hub id that a name which is none was probably meant for; None where nothing is close.

    >>> closest_checkpoint("Qwen/Qwen2-VL-7B-Instuct")
    'Qwen/Qwen2-VL-7B-Instruct'
    >>> closest_checkpoint("Qwen2.5-VL-7B-Instruct")
    'Qwen/Qwen2.5-VL-7B-Instruct'
    >>> closest_checkpoint("qwen2-vl-7b"), closest_checkpoint("Qwen/Qwen3-VL-8B-Instruct")
    ('Qwen/Qwen2-VL-7B-Instruct', None)
    >>> closest_checkpoint("nobody/nothing")
    """
    known = {name: each for each in KNOWN_CHECKPOINTS for name in (each.lower(), _last_part(each).lower())}
    for name in (model.lower(), _last_part(model).lower()):
        # Another number is another generation or size, no slip.
        numbers = re.findall(r"\d+", name)
        alike = [each for each in known if re.findall(r"\d+", each) == numbers]
        begun = [each for each in alike if each.startswith(name)] if numbers else []
        if near := begun or difflib.get_close_matches(name, alike, n=1, cutoff=_SIMILAR):
            return known[near[0]]
    return None


def backend_advice(architecture: str, model: str | None = None, *, is_language_model: bool = False) -> str | None:
    """Return what somebody does whose model no installed backend reads; None where nothing is known of it.

    Args:
        architecture: as config.json names it.
        model: a folder or hub id of that architecture, where one is meant.
        is_language_model: its config.json describes nothing that sees.

    >>> backend_advice("Qwen2VLForConditionalGeneration")
    'pip install stvg-qwen2-vl'
    >>> backend_advice("InternVLChatModel", "OpenGVLab/InternVL3_5-4B")
    "it is the authors' own format, whose code is never run; use its conversion OpenGVLab/InternVL3_5-4B-HF"
    """
    if architecture in PUBLISHED_BACKENDS:
        return f"pip install {PUBLISHED_BACKENDS[architecture]}"
    if architecture in EXAMPLE_BACKENDS:
        return f"the source tree has an example for it: pip install ./{EXAMPLE_BACKENDS[architecture]}"
    if architecture in AUTHORS_FORMATS:
        name = "" if model is None else _last_part(model).removesuffix("-Instruct")
        names = tuple(name + ending for ending in _TWIN_ENDINGS)
        twins = [known for known in KNOWN_CHECKPOINTS if _last_part(known) in names]
        use = (
            f"its conversion {twins[0]}"
            if twins
            else f"a conversion to transformers' own format (-hf), such as {AUTHORS_FORMATS[architecture]}"
        )
        return f"it is the authors' own format, whose code is never run; use {use}"
    if is_language_model:
        return "it is a language model that sees no video; use a multimodal one, such as Qwen/Qwen2-VL-7B-Instruct"
    return None


def describes_language_model(architecture: str, config_names: frozenset[str]) -> bool:
    """Return whether a configuration is of a model that only reads text.

    Args:
        architecture: as config.json names it.
        config_names: the names at the top of config.json.

    >>> describes_language_model("Qwen2ForCausalLM", frozenset({"hidden_size"}))
    True
    >>> describes_language_model("Phi3VForCausalLM", frozenset({"hidden_size", "auto_map"}))
    False
    """
    # Code of its own may see; so may what names a tower, a processor or a placeholder of images.
    sees = any(part in name for name in config_names for part in ("auto_map", "vision", "visual", "image", "mm_"))
    return architecture.endswith(_LANGUAGE_MODELS) and not sees


def _last_part(model: str) -> str:
    return PurePath(model).name
