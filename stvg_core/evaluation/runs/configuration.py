"""Comparing what decides the results of runs. Two processes may work on one run only where it is equal."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import RunError

_MOST_DIFFERENCES: Final = 8


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, in hexadecimal digits.

    >>> configuration_hash({"a": 1, "b": 2}) == configuration_hash({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()


def check_same(
    known: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None, known_name: str, wanted_name: str
) -> None:
    """Refuse a configuration that differs from another.

    Raises:
        RunError: it does; the message names what and how.
    """
    differences = list(differing(known, wanted))
    if differences:
        shown = "; ".join(
            f"{name}: {_shown(first)} in {known_name}, {_shown(second)} in {wanted_name}"
            for name, first, second in differences[:_MOST_DIFFERENCES]
        )
        more = f"; and {len(differences) - _MOST_DIFFERENCES} more" if len(differences) > _MOST_DIFFERENCES else ""
        raise RunError(
            f"expected what the run was begun with, got something else: {shown}{more}; use another --run, or change "
            "it back"
        )


def differing(known: object, wanted: object, name: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield dotted name and both values wherever two JSON values differ.

    >>> list(differing({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}))
    [('a.b', 1, 3)]
    """
    if isinstance(known, Mapping) and isinstance(wanted, Mapping):
        for key in dict.fromkeys((*known, *wanted)):
            yield from differing(known.get(key), wanted.get(key), f"{name}.{key}" if name else str(key))
    elif known != wanted:
        yield name, known, wanted


def _shown(value: object) -> str:
    return one_line(json.dumps(value), 60)
