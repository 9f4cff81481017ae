"""Where a model's weights lie: on one device, or spread over several by accelerate."""

import importlib.util
from typing import Any

import torch
from torch import nn

from stvg_core.errors import ModelError
from stvg_core.plugin.model_reference import LoadOptions, ModelReference


def placement_arguments(options: LoadOptions, device: torch.device, *, quantized: bool) -> dict[str, Any]:
    """Return what `from_pretrained` must be told of devices; nothing where the model is moved afterwards.

    Where accelerate is installed, weights for a CUDA device are read straight onto it, without a copy of the
    model in main memory.

    Raises:
        ModelError: accelerate is missing, and the wish cannot be met without it.
    """
    installed = importlib.util.find_spec("accelerate") is not None
    if options.device_map is None and not quantized:
        return {"device_map": {"": str(device)}} if installed and device.type == "cuda" else {}
    if not installed:
        wish = f"device_map {options.device_map!r}" if options.device_map is not None else "a quantized checkpoint"
        raise ModelError(f'{wish} needs accelerate; pip install "stvg-huggingface[device-map]"')
    if options.device_map is not None:
        return {"device_map": options.device_map}
    # Packed weights cannot be moved: they are made where they stay.
    return {"device_map": {"": str(device)}}


def refuse_offloading(reference: ModelReference, model: nn.Module) -> None:
    """Refuse a model of which a part was left in slower memory, to be brought in for each call.

    The adapter reads rows of the head itself, and gradients need every layer's weights twice.

    Raises:
        ModelError: a weight is on no device.
    """
    absent = [name for name, weight in model.named_parameters() if weight.is_meta]
    if absent:
        raise ModelError(
            f"{len(absent)} weights of {reference.id} do not fit the devices, the first {absent[0]}; "
            "use quantization 8bit or 4bit, a smaller dtype or model, or device cpu (offloading is not supported)"
        )
