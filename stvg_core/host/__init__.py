"""Where plugins meet the core: discovery, loading, one session around one backend.

registry        installed backends, from metadata and manifests alone
models, hub     from what a user types to a checkpoint
loading         imports plugins of every kind; their failures become one line
hooks           a plugin's hooks, their arguments and answers checked
extensions      wrappers around hooks
import_check    imports backends in separate processes: `stvg plugins --check`
session         an opened model behind the four hooks

May import plugin, values, settings. Knows no model and no method.
"""

from typing import TYPE_CHECKING

from stvg_core._internal.lazy_names import lazy_names

if TYPE_CHECKING:
    from stvg_core.host.models import ResolvedModel, named_models, resolve_model
    from stvg_core.host.registry import FoundBackend, find_backends
    from stvg_core.host.session import Session, open_backend, open_session

__all__ = [
    "FoundBackend",
    "ResolvedModel",
    "Session",
    "find_backends",
    "named_models",
    "open_backend",
    "open_session",
    "resolve_model",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "stvg_core.host.models": "ResolvedModel named_models resolve_model",
        "stvg_core.host.registry": "FoundBackend find_backends",
        "stvg_core.host.session": "Session open_backend open_session",
    },
)
