"""Tensors that are made on the CPU and sent to where they are read, without waiting for it."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def send(tensor: Shaped[Tensor, "..."], device: torch.device | str) -> Shaped[Tensor, "..."]:
    """Return a CPU tensor on a device; from pinned memory where the device is CUDA, so that nothing waits.

    >>> send(torch.arange(2), "cpu").tolist()
    [0, 1]
    """
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
