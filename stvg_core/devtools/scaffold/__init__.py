"""A new backend's distribution, written from templates: `stvg new-backend`.

As generated it is installable and passes the conformance kit on a tiny random model of its own.
Imports no torch: what is generated does.
"""

from stvg_core.devtools.scaffold.naming import BackendNames, check_names
from stvg_core.devtools.scaffold.writing import FAMILIES, MARKER, render_backend, write_backend

__all__ = ["FAMILIES", "MARKER", "BackendNames", "check_names", "render_backend", "write_backend"]
