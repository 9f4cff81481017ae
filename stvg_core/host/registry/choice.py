"""Which of the found backends is meant: by the name that the user gives, or by a checkpoint's architecture."""

import difflib
import shlex
from collections.abc import Iterable

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import PluginError
from stvg_core.host.known_models import PUBLISHED_BACKENDS, backend_advice
from stvg_core.host.registry.found import DUPLICATE, OK, SHADOWED, FoundBackend
from stvg_core.host.registry.metadata import normalized


def backend_for(
    architecture: str, backends: tuple[FoundBackend, ...], model: str | None = None, *, is_language_model: bool = False
) -> FoundBackend:
    """Return the one healthy backend that declares an architecture of config.json.

    Args:
        architecture: as config.json names it.
        backends: those that were found.
        model: the folder or hub id of that architecture, for advice.
        is_language_model: its config.json describes nothing that sees; for advice.

    Raises:
        PluginError: none does, it is not healthy, or several do.
    """
    matching = _by_weight(backend for backend in backends if architecture in backend.architectures)
    if not matching:
        raise PluginError(
            f"no installed backend handles architecture {architecture!r}; "
            + (backend_advice(architecture, model, is_language_model=is_language_model) or _how_to_write_one(backends))
        )
    usable = [backend for backend in matching if backend.status in {OK, DUPLICATE}]
    if not usable:
        raise PluginError(_complaint(matching[0]))
    if len({backend.name for backend in usable}) == 1 and usable[0].status == DUPLICATE:
        raise PluginError(_complaint(usable[0]))
    if len(usable) > 1:
        names = ", ".join(f"{backend.name} ({backend.distribution})" for backend in usable)
        raise PluginError(
            f"several backends handle {architecture!r}: {names}; choose with {_choices(usable)}, "
            "or uninstall all but one"
        )
    return usable[0]


def backend_named(name: str, backends: tuple[FoundBackend, ...]) -> FoundBackend:
    """Return the healthy backend of a name, or of "distribution:backend" where several claim the name.

    Raises:
        PluginError: there is none, it is not healthy, or several are meant.
    """
    matching = matching_backends(name, backends)
    if not matching:
        known = sorted({backend.name for backend in backends})
        selectors = sorted({backend.selector for backend in backends})
        near = difflib.get_close_matches(name, known + selectors, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise PluginError(one_line(f"unknown backend {name!r}; {hint}installed: {', '.join(known) or 'none'}"))
    usable = [backend for backend in matching if backend.status in {OK, DUPLICATE}]
    if not usable:
        raise PluginError(_complaint(matching[0]))
    if len(usable) > 1:
        raise PluginError(_complaint(usable[0]))
    return usable[0]


def matching_backends(name: str, backends: tuple[FoundBackend, ...]) -> tuple[FoundBackend, ...]:
    """Return every backend that a name or "distribution:backend" means, those that count first."""
    owner, colon, backend_name = name.rpartition(":")
    return _by_weight(
        backend
        for backend in backends
        if backend.name == backend_name and (not colon or normalized(backend.distribution) == normalized(owner))
    )


def _by_weight(backends: Iterable[FoundBackend]) -> tuple[FoundBackend, ...]:
    return tuple(sorted(backends, key=lambda backend: (backend.status != OK, backend.status == SHADOWED)))


def _complaint(backend: FoundBackend) -> str:
    return f"backend {backend.name!r} of {backend.distribution} is {backend.status}: {backend.reason}; {backend.fix}"


def _choices(backends: list[FoundBackend]) -> str:
    return " or ".join(f"--backend {shlex.quote(backend.selector)}" for backend in backends)


def _how_to_write_one(backends: tuple[FoundBackend, ...]) -> str:
    installed = {name: backend.distribution for backend in backends for name in backend.architectures}
    supported = ", ".join(f"{name} ({owner})" for name, owner in sorted((PUBLISHED_BACKENDS | installed).items()))
    return (
        f"supported: {supported}; for another, `stvg new-backend NAME` writes a backend to fill in, and --plugin FILE "
        "takes one from a single file: docs/write_an_adapter.md"
    )
