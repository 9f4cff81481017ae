"""Installed backends, from metadata and manifests; imports no plugin and no torch.

A backend distribution has an entry point in group `stvg.backends` and a static manifest
`stvg-backend.toml` inside its package; a backend in a single file holds its manifest as a literal.
docs/plugins.md has every status with its cure.
"""

from stvg_core.host.registry.choice import backend_for, backend_named
from stvg_core.host.registry.discovery import find_backends, find_backends_and_warnings
from stvg_core.host.registry.found import FoundBackend
from stvg_core.host.registry.manifest import MANIFEST_FILE, BackendManifest
from stvg_core.host.registry.selection import BACKEND_GROUP

__all__ = [
    "BACKEND_GROUP",
    "MANIFEST_FILE",
    "BackendManifest",
    "FoundBackend",
    "backend_for",
    "backend_named",
    "find_backends",
    "find_backends_and_warnings",
]
