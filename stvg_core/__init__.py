"""Zero-shot spatio-temporal video grounding with any multimodal LLM.

A video and a sentence go in; a tube comes out: when, and a box per frame, where.
Names are imported on first use, so that `import stvg_core` is instant and needs no torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stvg_core.api.attention import AttentionResult, attend
    from stvg_core.api.grounder import Grounder, ground, load
    from stvg_core.api.results import GroundingResult
    from stvg_core.api.run_spec import RunSpec
    from stvg_core.errors import StvgError
    from stvg_core.evaluation.api import evaluate, score
    from stvg_core.host.session import Session, open_session
    from stvg_core.settings import Settings, load_settings
    from stvg_core.values import Span, Track, Tube

__all__ = [
    "AttentionResult",
    "Grounder",
    "GroundingResult",
    "RunSpec",
    "Session",
    "Settings",
    "Span",
    "StvgError",
    "Track",
    "Tube",
    "attend",
    "evaluate",
    "ground",
    "load",
    "load_settings",
    "open_session",
    "score",
]

_HOMES = {
    "AttentionResult": "api.attention",
    "attend": "api.attention",
    "Grounder": "api.grounder",
    "ground": "api.grounder",
    "load": "api.grounder",
    "GroundingResult": "api.results",
    "RunSpec": "api.run_spec",
    "Settings": "settings",
    "load_settings": "settings",
    "StvgError": "errors",
    "evaluate": "evaluation.api",
    "score": "evaluation.api",
    "Session": "host.session",
    "open_session": "host.session",
    "Span": "values",
    "Track": "values",
    "Tube": "values",
}


def __getattr__(name: str) -> object:
    """Import a public name where it is first used."""
    if name == "__version__":
        # Only here: it takes half of the time that importing this package may take.
        from importlib.metadata import version

        return version("stvg-core")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
