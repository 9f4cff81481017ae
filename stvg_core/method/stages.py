"""Stages of the method: their wall-clock time, and which of them ran out of memory."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stvg_core._internal.out_of_memory import memory_errors


class Stopwatch:
    """Wall-clock seconds per named stage, summed over its visits."""

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        """Start with no stage.

        Args:
            on_stage: called with the name of each stage when it begins, for a progress display.
        """
        self.seconds: dict[str, float] = {}
        self.on_stage = on_stage
        self._part = ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Prefix the names that `on_stage` gets, as in "window 3 of 12: encode"; keys of `seconds` do not change."""
        before, self._part = self._part, f"{name}: "
        try:
            yield
        finally:
            self._part = before

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        if self.on_stage is not None:
            self.on_stage(self._part + name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@contextmanager
def device_stage(watch: Stopwatch, name: str, size: str) -> Iterator[None]:
    """Time a stage that runs the model; if memory runs out, the error names the stage and its size.

    Raises:
        DeviceMemoryError: memory ran out inside.
    """
    cure = (
        f"lower sampling.frame_count or input.frame_size_pixels, raise input.pooling_stride where the family "
        f"pools{', set prompt.steps=0' if name == 'prompts' else ''}, or load with quantization"
    )
    with watch.stage(name), memory_errors(f"stage {name!r} with {size}", cure):
        yield
