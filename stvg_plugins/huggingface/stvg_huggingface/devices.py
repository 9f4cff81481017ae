"""Where a model runs and in which precision; it knows no model."""

import torch

from stvg_core.errors import ModelError
from stvg_core.identity import LoadOptions

_DTYPES = ("float16", "bfloat16", "float32", "float64")


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
            f"device {options.device!r} is not there ({torch.cuda.device_count()} CUDA devices found); "
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
