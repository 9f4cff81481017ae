"""How foreign code is imported and called: its failures become one line that says whose they are.

The only place where a backend is imported. Whatever it raises, a call of sys.exit included, becomes
one line that names it; Ctrl-C stays Ctrl-C.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import PluginError, StvgError
from stvg_core.host.registry.file_plugins import import_file
from stvg_core.host.registry.found import FoundBackend

_LONGEST_REASON = 300


@contextmanager
def plugin_faults(title: str, cure: str) -> Iterator[None]:
    """Turn whatever a plugin raises inside into a PluginError; our own errors and Ctrl-C pass.

    Args:
        title: whose code it is ("backend 'x' of stvg-x 1.0").
        cure: what mends it.
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


def load_plugin(found: FoundBackend) -> object:
    """Import a backend and return its plugin object.

    Raises:
        PluginError: it raises or exits while loading, or is not what its manifest says.
    """
    title = f"backend {found.name!r} of {found.distribution}{'' if found.is_file else f' {found.version}'}"
    cure = f"mend {found.package_path}" if found.is_file else f"pip install --upgrade {found.distribution}"
    if found.is_file:
        with plugin_faults(title, cure):
            plugin: object = getattr(import_file(found), found.entry_point.value.partition(":")[2])()
    else:
        plugin = call_entry_point(found.entry_point, title, cure)
    _check_handshake(plugin, found)
    return plugin


def _text(error: BaseException) -> str:
    """Return an exception's text; a foreign one may fail even there."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # its __str__ is foreign code too
        return "it cannot tell"


def _check_handshake(plugin: object, found: FoundBackend) -> None:
    """Compare what was imported with what the manifest promised before the import."""
    told = getattr(plugin, "architectures", None)
    if told is not None and set(told) != set(found.architectures):
        raise PluginError(
            f"expected backend {found.name!r} of {found.distribution} to handle what its manifest says "
            f"({', '.join(found.architectures)}), got {', '.join(map(str, told))}; "
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
