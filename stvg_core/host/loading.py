"""From a plugin object to a manager that holds it alone, its hooks and their arguments checked.

Importing this module imports torch; `stvg_core.host.registry.loading`, which imports a backend, does not.
"""

import inspect
from collections.abc import Callable

import pluggy

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import PluginError
from stvg_core.host.registry.found import FoundBackend
from stvg_core.host.registry.loading import load_plugin, plugin_faults
from stvg_core.plugin import hookspecs

__all__ = ["REQUIRED_HOOKS", "check_arguments", "hook_manager", "implemented_hooks", "load_plugin"]

_LONGEST_REASON = 600
REQUIRED_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("stvg_"))


def hook_manager(plugin: object, found: FoundBackend) -> pluggy.PluginManager:
    """Return a fresh manager that holds a plugin object alone.

    Raises:
        PluginError: a hook is missing or takes other arguments than its specification.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    title = f"backend {found.name!r} of {found.distribution}"
    # Registering looks at every attribute of the object, and a foreign property may raise whatever it likes.
    with plugin_faults(title, "see docs/hooks.md"):
        try:
            manager.register(plugin, name=found.name)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            reason = one_line(str(error), _LONGEST_REASON)
            raise PluginError(f"{title} does not fit the hooks: {reason}; see docs/hooks.md") from error
    missing = [name for name in REQUIRED_HOOKS if name not in implemented_hooks(manager)]
    if missing:
        raise PluginError(f"{title} lacks {', '.join(missing)}; every hook of docs/hooks.md is needed")
    for name in REQUIRED_HOOKS:
        for implementation in getattr(manager.hook, name).get_hookimpls():
            check_arguments(implementation.function, f"{name} of {title}")
    return manager


def implemented_hooks(manager: pluggy.PluginManager) -> tuple[str, ...]:
    """Return the hooks that a manager's plugin answers, in the order of their specifications."""
    return tuple(
        name
        for name in REQUIRED_HOOKS
        if any(not (each.wrapper or each.hookwrapper) for each in getattr(manager.hook, name).get_hookimpls())
    )


def check_arguments(function: Callable[..., object], title: str) -> None:
    """Refuse what pluggy lets through at registration and drops or fails on at the call.

    Raises:
        PluginError: an argument is keyword-only, of any number, or has a default.
    """
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
            raise PluginError(
                f"expected {title} to take positional arguments without defaults, got {parameter}; "
                f"write {name} as in docs/hooks.md"
            )
