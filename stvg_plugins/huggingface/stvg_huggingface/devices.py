"""Device, precision, attention kernels, and placement of weights over devices; independent of the model."""

import importlib.util
from typing import Any, Final

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from transformers import PreTrainedConfig

from stvg_core.errors import ModelError
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_huggingface.capture import ATTENTION_NAME

_DTYPES: Final = ("float16", "bfloat16", "float32", "float64")
_FLASH: Final = "flash_attention_2"
_FLASH_DTYPES: Final = (None, torch.float16, torch.bfloat16)


def choose_device(options: LoadOptions) -> torch.device:
    """Return the device that the options ask for.

    Raises:
        ModelError: the device is unknown or not there.

    >>> choose_device(LoadOptions(device="cpu"))
    device(type='cpu')
    """
    if options.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(options.device)
    except RuntimeError as error:
        raise ModelError(f"expected a device such as auto, cpu, cuda or cuda:1, got {options.device!r}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"device {options.device!r} is not available ({torch.cuda.device_count()} CUDA devices); "
            "use --device auto, or install a CUDA build of torch"
        )
    if device.type not in {"cpu", "cuda"}:
        raise ModelError(f"expected device auto, cpu or cuda, got {options.device!r}; others are untested")
    return device


def choose_dtype(options: LoadOptions, device: torch.device) -> torch.dtype | None:
    """Return the precision of the weights; None is the checkpoint's own.

    Raises:
        ModelError: the name is none of a floating-point type of torch.

    >>> choose_dtype(LoadOptions(), torch.device("cpu"))
    torch.float32
    """
    if options.dtype == "auto":
        return torch.float32 if device.type == "cpu" else None
    if options.dtype not in _DTYPES:
        raise ModelError(f"expected a dtype of auto, {', '.join(_DTYPES)}, got {options.dtype!r}")
    dtype = getattr(torch, options.dtype)
    if not isinstance(dtype, torch.dtype):
        raise ModelError(f"this torch has no dtype {options.dtype!r}")
    return dtype


def attention_kernels(
    config: PreTrainedConfig, options: LoadOptions, device: torch.device, dtype: torch.dtype | None
) -> dict[str, str]:
    """Return transformers' attention implementation of each part of a model.

    The language model always uses the capturing function; the option selects the vision tower's.

    Raises:
        ModelError: flash_attention_2 has no package, no CUDA device, or an unfit dtype.
    """
    vision = "sdpa" if options.attn_implementation == "auto" else options.attn_implementation
    if vision == _FLASH:
        _check_flash(device, dtype)
    text = config.get_text_config()
    return {
        name: ATTENTION_NAME if getattr(config, name, None) is text else vision for name in sorted(config.sub_configs)
    }


def _check_flash(device: torch.device, dtype: torch.dtype | None) -> None:
    # Asked here, since transformers may otherwise fetch a kernel from the hub.
    if importlib.util.find_spec("flash_attn") is None:
        raise ModelError(
            f"attention {_FLASH!r} needs the package flash-attn; pip install flash-attn, or use attention sdpa"
        )
    if device.type != "cuda":
        raise ModelError(f"attention {_FLASH!r} needs a CUDA device, got {device.type}; use attention sdpa")
    if dtype not in _FLASH_DTYPES:
        raise ModelError(f"attention {_FLASH!r} needs float16 or bfloat16, got {dtype}; use --dtype bfloat16")


def placement_arguments(options: LoadOptions, device: torch.device, *, quantized: bool) -> dict[str, Any]:
    """Return the `device_map` argument of `from_pretrained`; empty if the model is moved after loading.

    Where accelerate is installed, weights for a CUDA device are loaded directly onto it, without a copy of the
    model in main memory.

    Raises:
        ModelError: accelerate is required and not installed.
    """
    installed = importlib.util.find_spec("accelerate") is not None
    if options.device_map is None and not quantized:
        return {"device_map": {"": str(device)}} if installed and device.type == "cuda" else {}
    if not installed:
        feature = f"device_map {options.device_map!r}" if options.device_map is not None else "a quantized checkpoint"
        raise ModelError(f'{feature} needs accelerate; pip install "stvg-huggingface[device-map]"')
    if options.device_map is not None:
        return {"device_map": options.device_map}
    # Packed weights cannot be moved: they are made where they stay.
    return {"device_map": {"": str(device)}}


def refuse_offloading(reference: ModelReference, model: nn.Module) -> None:
    """Check that no weights are offloaded to main memory or disk.

    The adapter uses rows of the head directly, and gradients need every layer's weights twice.

    Raises:
        ModelError: a weight is on no device.
    """
    absent = [name for name, weight in model.named_parameters() if weight.is_meta]
    if absent:
        raise ModelError(
            f"{len(absent)} weights of {reference.id} do not fit the devices, the first {absent[0]}; "
            "use quantization 8bit or 4bit, a smaller dtype or model, or device cpu (offloading is not supported)"
        )


def send(tensor: Shaped[Tensor, "..."], device: torch.device | str) -> Shaped[Tensor, "..."]:
    """Return a CPU tensor on a device; from pinned memory where the device is CUDA, so that nothing waits.

    >>> send(torch.arange(2), "cpu").tolist()
    [0, 1]
    """
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
