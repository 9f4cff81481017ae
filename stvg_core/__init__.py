"""Zero-shot spatio-temporal video grounding with any multimodal LLM.

A video and a sentence go in; a tube comes out: when, and a box per frame, where.
Names are imported on first use, so that `import stvg_core` is instant and needs no torch.
"""

from typing import TYPE_CHECKING

from stvg_core._internal.lazy_names import lazy_names

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

_MODULES = {
    "stvg_core.api.attention": "AttentionResult attend",
    "stvg_core.api.grounder": "Grounder ground load",
    "stvg_core.api.results": "GroundingResult",
    "stvg_core.api.run_spec": "RunSpec",
    "stvg_core.errors": "StvgError",
    "stvg_core.evaluation.api": "evaluate score",
    "stvg_core.host.session": "Session open_session",
    "stvg_core.settings": "Settings load_settings",
    "stvg_core.values": "Span Track Tube",
}
_import_name, __dir__ = lazy_names(__name__, _MODULES)


def __getattr__(name: str) -> object:
    """Import a public name where it is first used."""
    if name == "__version__":
        # Only here: it takes half of the time that importing this package may take.
        from importlib.metadata import version

        return version("stvg-core")
    return _import_name(name)
