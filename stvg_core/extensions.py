"""Opens an extension of one kind (a tracker, a decomposer) by the name that the user types.

Reads one entry-point group; imports the chosen extension and no other. Whatever a foreign
extension raises while loading becomes one line that names its distribution. Knows no kind.
"""

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from stvg_core.errors import PluginError, UsageError

_Extension = TypeVar("_Extension")


def extension_names(group: str, built_in: tuple[str, ...]) -> tuple[str, ...]:
    """Return every name of a kind, sorted; imports none of them."""
    return tuple(sorted({*built_in, *(point.name for point in entry_points(group=group))}))


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
    points = tuple(entry_points(group=group, name=name))
    if not points:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise UsageError(f"expected a {kind} ({', '.join(names)}), got {name!r}{hint}")
    if len({point.value for point in points}) > 1:
        owners = " and ".join(sorted(_distribution(point) for point in points))
        raise PluginError(f"expected one {kind} named {name!r}, got one from each of {owners}; uninstall one")
    owner = _distribution(points[0])
    try:
        extension = points[0].load()()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise PluginError(
            f"expected {kind} {name!r} of {owner} to load, got {type(error).__name__}: {reason}; "
            f"reinstall it (pip install --force-reinstall {owner}) or uninstall it"
        ) from error
    if not isinstance(extension, protocol):
        members = ", ".join(member for member in vars(protocol) if not member.startswith("_"))
        raise PluginError(
            f"expected {points[0].value} of {owner} to return a {protocol.__name__} ({members}), "
            f"got {type(extension).__name__}; update it (pip install --upgrade {owner})"
        )
    return extension


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"
