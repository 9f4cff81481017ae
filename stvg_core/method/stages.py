"""Stages of the method: how long each takes, and which one ran out of memory."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stvg_core._internal.out_of_memory import memory_errors


class Stopwatch:
    """Wall-clock seconds per named stage, summed over its visits."""

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        """Start with no stage.

        Args:
            on_stage: told the name of every stage as it begins, for a progress display.
        """
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage
        self._part = ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Tell the stages inside as those of a part: "window 3 of 12: encode". Their seconds are summed as ever."""
        before, self._part = self._part, f"{name}: "
        try:
            yield
        finally:
            self._part = before

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        if self._on_stage is not None:
            self._on_stage(self._part + name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@contextmanager
def device_stage(watch: Stopwatch, name: str, size: str) -> Iterator[None]:
    """Time a stage that runs the model, and name it and its size where memory runs out.

    Raises:
        DeviceMemoryError: memory ran out inside.
    """
    cure = (
        "lower sampling.frame_count or input.frame_size_pixels (or what input.family has for it, such as a "
        f"pooling_stride){', set prompt.steps=0' if name == 'prompts' else ''}, or load with quantization"
    )
    with watch.stage(name), memory_errors(f"stage {name!r} with {size}", cure):
        yield
