"""Which plugins the user lets in: STVG_LOAD_PLUGINS and STVG_DISABLE_PLUGINS.

Both are comma-separated. An item is a distribution, a backend, or distribution:backend; names
compare as on package indexes. The lists are read from the environment at every look, so that
worker processes follow them too.
"""

import difflib
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from stvg_core._internal.plain_text import one_line
from stvg_core.host.registry.metadata import CORE, InstalledEntry, find_installed, normalized

ALLOW_VARIABLE = "STVG_LOAD_PLUGINS"
DENY_VARIABLE = "STVG_DISABLE_PLUGINS"
BACKEND_GROUP = "stvg.backends"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PluginSelection:
    """What the environment lets in.

    Attributes:
        allowed: normalized items; None: everything.
        denied: normalized items; they win over `allowed`.
    """

    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] = ()

    def refusal(self, distribution: str, backend: str | None = None) -> tuple[str, str] | None:
        """Return why an entry of a distribution stays out and what lets it in; None: it is let in.

        Args:
            distribution: its name.
            backend: the backend's name; None for an entry of another kind, which only its distribution names.
        """
        names = _names(distribution, backend)
        denied = [item for item in self.denied if item in names]
        if denied:
            return f"{DENY_VARIABLE} names {denied[0]!r}", f"take {denied[0]} out of {DENY_VARIABLE}"
        if self.allowed is not None and not any(item in names for item in self.allowed):
            return f"{ALLOW_VARIABLE} does not name it", f"add {distribution} to {ALLOW_VARIABLE}, or unset it"
        return None


def read_selection(environment: Mapping[str, str] | None = None) -> PluginSelection:
    """Return the lists as the environment holds them.

    >>> read_selection({"STVG_LOAD_PLUGINS": "", "STVG_DISABLE_PLUGINS": "STVG_Fork:qwen2-vl"})
    PluginSelection(allowed=(), denied=('stvg-fork:qwen2-vl',))
    """
    environment = os.environ if environment is None else environment
    allowed = environment.get(ALLOW_VARIABLE)
    return PluginSelection(None if allowed is None else _items(allowed), _items(environment.get(DENY_VARIABLE, "")))


def selection_warnings(selection: PluginSelection, known: Iterable[tuple[str, str | None]]) -> tuple[str, ...]:
    """Return a line for every item of the lists that names nothing there is, with the nearest name.

    Args:
        selection: the lists.
        known: distribution and backend (None for other kinds) of every plugin there is.
    """
    names = sorted({name for distribution, backend in known for name in _names(distribution, backend)})
    lines = []
    for variable, items in ((ALLOW_VARIABLE, selection.allowed or ()), (DENY_VARIABLE, selection.denied)):
        for item in items:
            if item not in names:
                near = difflib.get_close_matches(item, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
                lines.append(one_line(f"{variable} names {item!r}, which is no plugin here; {hint}"))
    return tuple(lines)


def find_entries(group: str) -> tuple[tuple[InstalledEntry, str], ...]:
    """Return the usable entries of a group of ours (no backends), each with why it is disabled ("": it is not).

    Copies that another hides and entries that cannot be read are left out: nobody can open them.
    """
    selection = read_selection()
    installed = find_installed()
    found = []
    for entry in installed.entries:
        if entry.point.group != group or entry.problem or entry.distribution.hidden_by is not None:
            continue
        refusal = selection.refusal(entry.distribution.name)
        disabled = "; ".join(refusal) if refusal and normalized(entry.distribution.name) != CORE else ""
        found.append((entry, disabled))
    return tuple(found)


@cache
def tell_once(warning: str) -> None:
    """Log a warning, the first time that it is met in this process."""
    _LOG.warning(warning)


def _items(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_normalized_item(part) for part in text.split(",") if part.strip()))


def _normalized_item(item: str) -> str:
    return ":".join(normalized(part.strip()) for part in one_line(item).split(":"))


def _names(distribution: str, backend: str | None) -> tuple[str, ...]:
    owner = normalized(distribution)
    return (owner,) if backend is None else (owner, normalized(backend), f"{owner}:{normalized(backend)}")
