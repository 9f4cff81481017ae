"""What was computed for one setting is kept for others that differ only later; its key says all that decides it.

Used where many settings are run on the same clip; a single grounding has nothing to share.
"""

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

_Value = TypeVar("_Value")


class Recall:
    """Results by what decides them, with the time that each took.

    Attributes:
        seconds: what everything asked for would have taken alone: the time of what is found is counted again. Set it
            to 0 to measure one setting.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._kept: dict[Hashable, tuple[Any, float]] = {}
        self.seconds = 0.0

    def __len__(self) -> int:
        """Return how many results are held."""
        return len(self._kept)

    def __call__(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """Return what stands under a key, made where it is new.

        Args:
            key: everything that decides the result; what has no value of its own is told apart by identity.
            make: makes it; must not recall anything itself, or its time would be counted twice.

        >>> recall = Recall()
        >>> recall(("length", "abc"), lambda: 3), recall(("length", "abc"), lambda: 1 / 0)
        (3, 3)
        """
        if key not in self._kept:
            began = time.perf_counter()
            value = make()
            self._kept[key] = (value, time.perf_counter() - began)
        value, seconds = self._kept[key]
        self.seconds += seconds
        return value
