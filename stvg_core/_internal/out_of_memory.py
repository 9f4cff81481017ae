"""Out of memory as one line that says what needed it and what to lower.

It knows how torch reports it, on the CPU and on CUDA; it knows no model.
"""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import DeviceMemoryError

LOADING_CURE = "use a smaller dtype, quantization 8bit or 4bit, device_map auto, or a smaller model"
"""What helps where a model does not fit while it is loaded."""

_CPU_MARK = "DefaultCPUAllocator"
_SHOWN_CHARACTERS = 200


@contextmanager
def memory_errors(job: str, cure: str) -> Iterator[None]:
    """Turn every way of running out of memory inside into a DeviceMemoryError.

    What was computed until then is let go of, so that a smaller request can follow.

    Args:
        job: what was done and how large it was, such as "loading tiny:qwen2-vl".
        cure: what to lower, such as "lower sampling.frame_count".

    Raises:
        DeviceMemoryError: memory ran out inside.

    >>> with memory_errors("stage 'prompts' with 20 frames", "lower sampling.frame_count"):
    ...     raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")
    Traceback (most recent call last):
    stvg_core.errors.DeviceMemoryError: out of memory in stage 'prompts' with 20 frames (CUDA out of memory.
    Tried to allocate 20.00 GiB. GPU 0 has ...); lower sampling.frame_count
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out_of_memory(error):
            raise
        # The frames of the failed computation hold its tensors; the error keeps where it was, not them.
        traceback.clear_frames(error.__traceback__)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        reason = one_line(str(error), _SHOWN_CHARACTERS) or type(error).__name__
        raise DeviceMemoryError(f"out of memory in {job} ({reason}); {cure}") from error


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is one of the ways in which memory runs out.

    >>> ran_out_of_memory(MemoryError()), ran_out_of_memory(RuntimeError("shapes do not match"))
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _CPU_MARK in str(error)
