"""Which samples of a data set a run covers."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stvg_core.errors import RunError, UsageError

_SHARD = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """One of several parts of a data set.

    Attributes:
        number: 1 for the first.
        count: how many parts there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard of a text such as 2/8.

        Raises:
            UsageError: the text is not one.

        >>> Shard.parse("2/8")
        Shard(number=2, count=8)
        """
        match = _SHARD.fullmatch(text)
        if match is None or int(match[1]) > int(match[2]):
            raise UsageError(f"expected --shard as number/count, such as 1/8 to 8/8, got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        """Return the shard as it is written on the command line."""
        return f"{self.number}/{self.count}"


@dataclass(frozen=True)
class Selection:
    """Which samples of a data set, in its order, a run covers.

    Attributes:
        limit: only the first N samples; None: all.
        shard: only one part of these; None: all parts.
    """

    limit: int | None = None
    shard: Shard | None = None

    def __post_init__(self) -> None:
        """Check the limit."""
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"expected --limit of at least 1, got {self.limit}")

    def values(self) -> dict[str, Any]:
        """Return the selection as a run stores it."""
        return {"limit": self.limit, "shard": None if self.shard is None else str(self.shard)}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Selection":
        """Return the selection that a run stores."""
        shard = values.get("shard")
        return cls(values.get("limit"), None if shard is None else Shard.parse(shard))

    def check_extends(self, earlier: "Selection", folder: object) -> None:
        """Check that this selection can resume a run of an earlier one: the same shard, and no fewer samples.

        Raises:
            RunError: it is another shard, or has fewer samples.
        """
        if earlier.shard != self.shard:
            raise RunError(
                f"expected the shard {earlier.shard or 'of all samples'} that {folder} was begun with, got "
                f"{self.shard or 'none'}; use another --run"
            )
        if self.shard is not None and earlier.limit != self.limit:
            raise RunError(
                f"expected the --limit {earlier.limit or 'none'} that {folder} was begun with, for other samples would "
                f"be divided otherwise; got {self.limit or 'none'}"
            )
        if earlier.limit is None and self.limit is not None:
            raise RunError(f"expected no --limit, because {folder} was begun without one, got {self.limit}")
        if earlier.limit is not None and self.limit is not None and self.limit < earlier.limit:
            raise RunError(f"expected --limit of at least {earlier.limit}, as {folder} has, got {self.limit}")


def groups_of_shard(groups: Iterable[tuple[str, int]], shard: Shard | None) -> Iterator[str]:
    """Yield the groups of a shard; shards have about equally many samples, and each group is in one shard.

    Groups are assigned from the largest to the smallest, each to the smallest shard: the same on every machine.

    >>> sizes = [("a", 5), ("b", 1), ("c", 4), ("d", 2)]
    >>> [sorted(groups_of_shard(sizes, Shard(number, 2))) for number in (1, 2)]
    [['a', 'b'], ['c', 'd']]
    """
    if shard is None:
        yield from (name for name, _ in groups)
        return
    loads = [0] * shard.count
    for name, size in sorted(groups, key=lambda group: (-group[1], group[0])):
        least = loads.index(min(loads))
        loads[least] += size
        if least == shard.number - 1:
            yield name
