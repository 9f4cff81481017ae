"""Which backend takes a model, and what its settings are, before either is loaded; imports no torch."""

from collections.abc import Mapping
from typing import Any

from stvg_core.host.models import ResolvedModel
from stvg_core.host.registry import FoundBackend, backend_for, backend_named, find_backends
from stvg_core.settings import FamilyPresets, Settings, choose_settings


def find_backend(resolved: ResolvedModel, backend: str | None = None) -> FoundBackend:
    """Return the backend of a name, or the one that declares a checkpoint's architecture; runs no code of it.

    Args:
        resolved: the checkpoint.
        backend: name of the backend, or "distribution:backend"; None: by the architecture.

    Raises:
        PluginError: there is none, it is not healthy, or several are meant.
    """
    backends = find_backends()
    if backend is not None:
        return backend_named(backend, backends)
    return backend_for(
        resolved.architecture, backends, resolved.reference.id, is_language_model=resolved.is_language_model
    )


def family_presets(found: FoundBackend) -> FamilyPresets:
    """Return what a backend's manifest says of its family: differences in presets, and options of `input.family`."""
    return FamilyPresets(found.selector, found.presets, found.family_options)


def settings_before_loading(
    resolved: ResolvedModel,
    backend: str | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings of a preset for a model that is not loaded yet; a session's are the same.

    Raises:
        PluginError: no healthy backend handles it.
        SettingsError: the preset or a value is not possible.
    """
    family = family_presets(find_backend(resolved, backend))
    return choose_settings(resolved.reference.folder, preset, overrides, family)
