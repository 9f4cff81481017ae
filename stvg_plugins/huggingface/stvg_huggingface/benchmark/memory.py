"""Peak memory of a piece of work, above what stood before it; it knows no model."""

import ctypes
import ctypes.util
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch.profiler import ProfilerActivity, profile

from stvg_core.errors import UsageError

_STATUS: Final = Path("/proc/self/statm")
_PAUSE_SECONDS: Final = 0.001


def peak_extra_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return by how much memory rises while work runs.

    On CUDA torch's own count of allocated bytes; on the CPU the process's resident set, looked at
    every millisecond after everything freed was given back.

    Raises:
        UsageError: neither CUDA nor Linux, whose resident set can be read.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if not _STATUS.is_file():
        raise UsageError("peak memory on a CPU is read from Linux's /proc; measure on Linux or on a CUDA device")
    _give_back()
    before = _resident_bytes()
    watcher = _Watcher()
    watcher.start()
    try:
        work()
    finally:
        peak = watcher.stop()
    return max(0, peak - before)


def peak_allocated_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return by how much torch's allocations rise while work runs: no allocator's reserve, the same on every run.

    On CUDA this is what `peak_extra_bytes` gives; on the CPU allocations are taken from torch's profiler.
    """
    if device.type == "cuda":
        return peak_extra_bytes(work, device)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        work()
    # The profiler's public tables sum allocations up; only its raw events tell what stood at one time.
    events: Any = watched.profiler
    changes = [event for event in events.kineto_results.events() if event.name() == "[memory]"]
    standing = highest = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        standing += change.nbytes()
        highest = max(highest, standing)
    return highest


def _resident_bytes() -> int:
    import resource

    return int(_STATUS.read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def _give_back() -> None:
    """Return freed memory to the operating system, where the C library can."""
    name = ctypes.util.find_library("c")
    trim = getattr(ctypes.CDLL(name), "malloc_trim", None) if name else None
    if trim is not None:
        trim(0)


class _Watcher(threading.Thread):
    """Remembers the largest resident set."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._done = threading.Event()
        self._peak = _resident_bytes()

    def run(self) -> None:
        while not self._done.wait(_PAUSE_SECONDS):
            self._peak = max(self._peak, _resident_bytes())

    def stop(self) -> int:
        self._done.set()
        self.join()
        return max(self._peak, _resident_bytes())
