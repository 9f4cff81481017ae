"""An extension that counts and times hook calls; the pattern for those that log or cache."""

import atexit
import sys
import time
from collections.abc import Generator

from torch import Tensor

from stvg_core.plugin import QuestionAttention, hookimpl


class HookTimer:
    """Wraps the hook that runs most often and the one that costs most; one object per opened session."""

    def __init__(self) -> None:
        """Start with no call, and tell the sums when Python ends."""
        self.milliseconds: dict[str, list[float]] = {}
        atexit.register(self.report)

    @hookimpl(wrapper=True)
    def stvg_regularize_logits(self) -> Generator[None, Tensor, Tensor]:
        """Time the scalar that a visual prompt minimises."""
        start = time.perf_counter()
        try:
            return (yield)
        finally:
            self._add("stvg_regularize_logits", start)

    @hookimpl(wrapper=True)
    def stvg_capture_attention(self) -> Generator[None, tuple[QuestionAttention, ...], tuple[QuestionAttention, ...]]:
        """Time the reading of attention."""
        start = time.perf_counter()
        try:
            return (yield)
        finally:
            self._add("stvg_capture_attention", start)

    def _add(self, hook: str, start: float) -> None:
        self.milliseconds.setdefault(hook, []).append(1000 * (time.perf_counter() - start))

    def lines(self) -> list[str]:
        """Return a line per hook: its calls and their milliseconds, summed."""
        return [f"{hook}: {len(each)} calls, {sum(each):.1f} ms" for hook, each in sorted(self.milliseconds.items())]

    def report(self) -> None:
        """Write the lines to stderr: stdout belongs to results."""
        for line in self.lines():
            print(line, file=sys.stderr)
