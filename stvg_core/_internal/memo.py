"""Results by what decides them, so that settings that differ only in later steps share the earlier ones."""

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

_Value = TypeVar("_Value")


class Memo:
    """Results under keys that hold everything that decides them, with the seconds that each took.

    Attributes:
        seconds: the time that all calls would have taken without a memo: a result that is looked up adds the seconds
            that it took when it was computed. Set it to 0 to measure one setting.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._results: dict[Hashable, tuple[Any, float]] = {}
        self.seconds = 0.0

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self._results)

    def __call__(self, key: Hashable, compute: Callable[[], _Value]) -> _Value:
        """Return the result under a key; compute it the first time.

        Args:
            key: everything that decides the result. Values without equality count by identity.
            compute: must not call the memo itself, or its time would be counted twice.

        >>> memo = Memo()
        >>> memo(("length", "abc"), lambda: 3), memo(("length", "abc"), lambda: 1 / 0)
        (3, 3)
        """
        if key not in self._results:
            start = time.perf_counter()
            value = compute()
            self._results[key] = (value, time.perf_counter() - start)
        value, seconds = self._results[key]
        self.seconds += seconds
        return value
