"""Decoder weights in 8 or 4 bits through bitsandbytes; vision tower, projector and head keep theirs."""

import importlib.util
import logging
from typing import Any, Final

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, PreTrainedConfig

from stvg_core.errors import ModelError
from stvg_core.plugin.model_reference import LoadOptions, ModelReference

_PACKAGES: Final = ("bitsandbytes", "accelerate")
_REPACKS: Final = "support_avx512bf16_for_cpu"
_FALLBACK: Final = torch.bfloat16


def is_quantized(config: PreTrainedConfig, options: LoadOptions) -> bool:
    """Return whether a model's weights are packed: as the options ask, or in the checkpoint already."""
    return options.quantization is not None or getattr(config, "quantization_config", None) is not None


def quantization_arguments(
    reference: ModelReference, config: PreTrainedConfig, options: LoadOptions, dtype: torch.dtype | None
) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` for quantization; empty without quantization.

    Args:
        reference: for messages.
        config: the checkpoint's configuration.
        options: how to load the model.
        dtype: of weights that are not quantized; None: the checkpoint's.

    Raises:
        ModelError: bitsandbytes or accelerate is missing, the dtype is too wide, or the checkpoint is
            quantized already.
    """
    if options.quantization is None:
        return {}
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(
            f"expected full weights in {reference.id} for quantization {options.quantization!r}, they are quantized "
            "already; leave quantization out, or use the checkpoint with full weights"
        )
    if dtype is torch.float64:
        raise ModelError(
            f"expected dtype float32, bfloat16 or float16 beside quantization {options.quantization!r}, got float64"
        )
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        raise ModelError(
            f"quantization {options.quantization!r} needs {' and '.join(absent)}; "
            'pip install "stvg-huggingface[quantization]"'
        )
    unquantized = unquantized_modules(config)
    make: Any = BitsAndBytesConfig
    if options.quantization == "8bit":
        # It warns on every call of every layer about a cast that is intended here.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return {"quantization_config": make(load_in_8bit=True, llm_int8_skip_modules=unquantized)}
    return {
        "quantization_config": make(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype or _checkpoint_dtype(config),
            llm_int8_skip_modules=unquantized,
        )
    }


def unquantized_modules(config: PreTrainedConfig) -> list[str]:
    """Return the names of all modules but the decoder: vision tower, projector, head.

    They are small beside the decoder; the adapter uses rows of the head, and errors of the
    vision tower would reach every visual token.
    """
    make: Any = AutoModelForImageTextToText
    with torch.device("meta"):
        model: nn.Module = make.from_config(config, trust_remote_code=False)
    inner = model.get_submodule("model")
    beside = [f"model.{name}" for name, _ in inner.named_children() if name != "language_model"]
    return beside + [name for name, _ in model.named_children() if name != "model"]


def keep_gradients(model: nn.Module) -> None:
    """Keep 4-bit layers differentiable after a pass without gradients.

    On CPUs with AVX512-BF16, bitsandbytes (0.50) repacks a layer's weights at its first pass
    without gradients, for a kernel that has no backward pass and computes in bfloat16. The
    method alternates attention (no gradients) with learning prompts (gradients), so it must not.
    """
    for module in model.modules():
        if hasattr(module, _REPACKS):
            setattr(module, _REPACKS, False)


def _checkpoint_dtype(config: PreTrainedConfig) -> torch.dtype:
    dtype: Any = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else _FALLBACK
