"""Opens an extension of one kind (a tracker, a decomposer) by the name that the user types.

Reads one entry-point group, as STVG_LOAD_PLUGINS and STVG_DISABLE_PLUGINS let it in; imports the
chosen extension and no other. Whatever a foreign extension raises while loading becomes one line
that names its distribution. Knows no kind.
"""

import difflib
from typing import TypeVar

from stvg_core.errors import PluginError, UsageError
from stvg_core.host.registry.loading import call_entry_point
from stvg_core.host.registry.selection import find_entries

_Extension = TypeVar("_Extension")


def extension_names(group: str, built_in: tuple[str, ...]) -> tuple[str, ...]:
    """Return every name of a kind that is let in, sorted; imports none of them."""
    return tuple(sorted({*built_in, *(entry.point.name for entry, disabled in find_entries(group) if not disabled)}))


def open_extension(group: str, kind: str, protocol: type[_Extension], name: str, names: tuple[str, ...]) -> _Extension:
    """Return the extension that exactly one installed distribution registers under a name.

    Args:
        group: entry-point group; its entry points name callables without arguments.
        kind: what it is called in messages ("tracker").
        protocol: a runtime-checkable protocol that the extension must fulfil.
        name: as the user typed it.
        names: every name that would do, for the message.

    Raises:
        UsageError: the name is unknown.
        PluginError: the extension cannot be imported, is not of the kind, or two claim the name.
    """
    found = [(entry, disabled) for entry, disabled in find_entries(group) if entry.point.name == name]
    enabled = [entry for entry, disabled in found if not disabled]
    if not enabled and found:
        entry, disabled = found[0]
        raise PluginError(f"{kind} {name!r} of {entry.distribution.name} is disabled: {disabled}")
    if not enabled:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise UsageError(f"expected a {kind} ({', '.join(names)}), got {name!r}{hint}")
    if len({entry.point.value for entry in enabled}) > 1:
        owners = sorted(entry.distribution.name for entry in enabled)
        raise PluginError(
            f"expected one {kind} named {name!r}, got one from each of {' and '.join(owners)}; uninstall one, "
            f"or name it in STVG_DISABLE_PLUGINS"
        )
    point, owner = enabled[0].point, enabled[0].distribution.name
    extension = call_entry_point(
        point,
        f"{kind} {name!r} of {owner}",
        f"reinstall it (pip install --force-reinstall {owner}) or uninstall it",
    )
    if not isinstance(extension, protocol):
        members = ", ".join(member for member in vars(protocol) if not member.startswith("_"))
        raise PluginError(
            f"expected {point.value} of {owner} to return a {protocol.__name__} ({members}), "
            f"got {type(extension).__name__}; update it (pip install --upgrade {owner})"
        )
    return extension
