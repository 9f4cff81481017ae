"""Peak memory of a piece of work, above what stood before it; it knows no model."""

import ctypes
import ctypes.util
import gc
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from stvg_core.errors import UsageError
from stvg_core.method.stages import Stopwatch

_STATUS: Final = Path("/proc/self/statm")
_PAUSE_SECONDS: Final = 0.001
_STAGE: Final = "stage "


def peak_extra_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return by how much memory rises while work runs, with what it keeps.

    On CUDA what torch's allocator took from the device, recordings of passes among it; on the CPU the
    process's resident set, looked at every millisecond after everything freed was given back.

    Raises:
        UsageError: neither CUDA nor Linux, whose resident set can be read.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_reserved(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_reserved(device) - before
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
    """Return by how much torch's allocations rise while work runs; see `peaks_allocated_bytes`."""
    whole, _ = peaks_allocated_bytes(lambda _watch: work(), device)
    return whole


def peaks_allocated_bytes(work: Callable[[Stopwatch], object], device: torch.device) -> tuple[int, Mapping[str, int]]:
    """Return by how much torch's allocations rise while work runs: no allocator's reserve.

    Args:
        work: given what its stages are timed with.
        device: on the CPU allocations are taken from torch's profiler, and are the same on every run.

    Returns:
        Of the whole work; and of each stage, above what stood when it began.
    """
    gc.collect()
    return _cuda_peaks(work, device) if device.type == "cuda" else _cpu_peaks(work)


def _cuda_peaks(work: Callable[[Stopwatch], object], device: torch.device) -> tuple[int, Mapping[str, int]]:
    stages: dict[str, int] = {}
    start = torch.cuda.memory_allocated(device)
    highest = [start]

    @contextmanager
    def around(name: str) -> Iterator[None]:
        highest.append(torch.cuda.max_memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield
        peak = torch.cuda.max_memory_allocated(device)
        highest.append(peak)
        stages[name] = max(stages.get(name, 0), peak - before)

    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    work(AroundStages(around))
    torch.cuda.synchronize(device)
    return max(*highest, torch.cuda.max_memory_allocated(device)) - start, stages


def _cpu_peaks(work: Callable[[Stopwatch], object]) -> tuple[int, Mapping[str, int]]:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        work(AroundStages(lambda name: record_function(_STAGE + name)))
    # The profiler's public tables sum allocations up; only its raw events tell what stood at one time.
    events: Any = watched.profiler
    found = list(events.kineto_results.events())
    changes = sorted((one.start_ns(), one.nbytes()) for one in found if one.name() == "[memory]")
    spans = [
        (one.name().removeprefix(_STAGE), one.start_ns(), one.start_ns() + one.duration_ns())
        for one in found
        if one.name().startswith(_STAGE)
    ]
    times = [time for time, _ in changes]
    standing = [0, *accumulate(size for _, size in changes)]
    stages: dict[str, int] = {}
    for name, start, end in spans:
        first, last = bisect_left(times, start), bisect_right(times, end)
        stages[name] = max(stages.get(name, 0), max(standing[first : last + 1]) - standing[first])
    return max(standing), stages


class AroundStages(Stopwatch):
    """A stopwatch that enters a context of its own around every stage."""

    def __init__(self, around: Callable[[str], AbstractContextManager[object]]) -> None:
        """Remember what to enter, given the stage's name."""
        super().__init__()
        self._around = around

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage inside the context."""
        with self._around(name), super().stage(name):
            yield


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
