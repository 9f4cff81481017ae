"""Imports plugins: backends, and whatever an entry-point group offers under a name.

The only place where foreign code is imported. Whatever it raises, a call of sys.exit included, becomes one
line that names the plugin; Ctrl-C stays Ctrl-C. Only the chosen plugin is imported. Imports no torch.
"""

import difflib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, TypeVar

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import PluginError, StvgError, UsageError
from stvg_core.host.registry.file_plugins import import_file
from stvg_core.host.registry.found import FoundBackend
from stvg_core.host.registry.selection import find_entries

_LONGEST_REASON = 300
_Plugin = TypeVar("_Plugin")


@contextmanager
def plugin_faults(title: str, cure: str) -> Iterator[None]:
    """Turn whatever a plugin raises inside into a PluginError; our own errors and Ctrl-C pass.

    Args:
        title: whose code it is ("backend 'x' of stvg-x 1.0").
        cure: how to fix it.
    """
    try:
        yield
    except (StvgError, KeyboardInterrupt, GeneratorExit):
        raise
    except SystemExit as error:
        code = one_line(str(error), _LONGEST_REASON)
        raise PluginError(f"{title} failed while loading: it calls sys.exit({code}); {cure}") from error
    except BaseException as error:
        reason = one_line(f"{type(error).__name__}: {_text(error)}", _LONGEST_REASON)
        raise PluginError(f"{title} failed while loading: {reason}; {cure}") from error


def call_entry_point(point: EntryPoint, title: str, cure: str) -> Any:  # noqa: ANN401  # whatever the plugin returns
    """Import what an entry point names, and return what it returns when called without arguments.

    Raises:
        PluginError: it raises or exits.
    """
    with plugin_faults(title, cure):
        return point.load()()


def load_backend(found: FoundBackend) -> object:
    """Import a backend and return its plugin object.

    Raises:
        PluginError: it raises or exits while loading, or is not what its manifest says.
    """
    title = f"backend {found.name!r} of {found.distribution}{'' if found.is_file else f' {found.version}'}"
    cure = f"fix {found.package_path}" if found.is_file else f"pip install --upgrade {found.distribution}"
    if found.is_file:
        with plugin_faults(title, cure):
            plugin: object = getattr(import_file(found), found.entry_point.value.partition(":")[2])()
    else:
        plugin = call_entry_point(found.entry_point, title, cure)
    _check_handshake(plugin, found)
    return plugin


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the name of every enabled entry of a group, sorted; imports none of them."""
    return tuple(sorted({entry.point.name for entry, disabled in find_entries(group) if not disabled}))


def open_plugin(
    group: str,
    kind: str,
    base: type[_Plugin],
    name: str,
    create: Callable[[type[_Plugin]], object] | None = None,
) -> _Plugin:
    """Return the plugin that exactly one installed distribution registers under a name.

    Args:
        group: entry-point group.
        kind: its name in messages ("tracker").
        base: class or runtime-checkable protocol that the plugin must implement.
        name: as the user typed it. An entry point `NAME:ARGUMENT` takes an argument, and is opened as NAME.
        create: makes the plugin from the subclass of `base` that the entry point names; None: the entry point
            names a callable without arguments.

    Raises:
        UsageError: the name is unknown.
        PluginError: the plugin cannot be imported, is not of the kind, is disabled, or two claim the name.
    """
    entries = [(entry, disabled) for entry, disabled in find_entries(group) if _opens(entry.point.name, name)]
    enabled = [entry for entry, disabled in entries if not disabled]
    if not enabled and entries:
        entry, disabled = entries[0]
        raise PluginError(f"{kind} {name!r} of {entry.distribution.name} is disabled: {disabled}")
    if not enabled:
        names = plugin_names(group)
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
    title = f"{kind} {name!r} of {owner}"
    with plugin_faults(title, f"reinstall it (pip install --force-reinstall {owner}) or uninstall it"):
        made: object = point.load()
        if create is None:
            made = made()  # type: ignore[operator]  # plugin_faults reports a failure
        elif isinstance(made, type) and issubclass(made, base):
            made = create(made)
    if not isinstance(made, base):
        wanted = f"return a {base.__name__}" if create is None else f"be a subclass of {base.__name__}"
        given = type(made).__name__ if create is None else getattr(made, "__name__", type(made).__name__)
        raise PluginError(
            f"expected {point.value} of {owner} to {wanted}, got {given}; update it (pip install --upgrade {owner})"
        )
    return made


def _opens(entry_name: str, name: str) -> bool:
    """Return whether an entry point is the one of a name."""
    return entry_name == name or entry_name.partition(":")[0] == name


def _text(error: BaseException) -> str:
    """Return an exception's text; a foreign one may fail even there."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # its __str__ is foreign code too
        return "it cannot tell"


def _check_handshake(plugin: object, found: FoundBackend) -> None:
    """Compare what was imported with what the manifest promised before the import."""
    handled = getattr(plugin, "architectures", None)
    if handled is not None and set(handled) != set(found.architectures):
        raise PluginError(
            f"expected backend {found.name!r} of {found.distribution} to handle what its manifest says "
            f"({', '.join(found.architectures)}), got {', '.join(map(str, handled))}; "
            f"pip install --force-reinstall {found.distribution}"
        )
    if found.is_file or found.package_path is None:
        return
    package = found.entry_point.module.partition(".")[0]
    module = sys.modules.get(package)
    places = {Path(place).resolve() for place in getattr(module, "__path__", ())}
    if places and found.package_path.resolve() not in places:
        raise PluginError(
            f"expected {package} of {found.distribution} from {found.package_path}, Python imported it from "
            f"{', '.join(map(str, sorted(places)))}; remove the stale copy"
        )
