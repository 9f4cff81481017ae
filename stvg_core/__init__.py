"""Zero-shot spatio-temporal video grounding with any multimodal LLM.

A video and a sentence go in; a tube comes out: when, and a box per frame, where.
Names are imported on first use, so that `import stvg_core` is instant and needs no torch.
"""

from typing import TYPE_CHECKING

from stvg_core._internal.lazy_names import lazy_names

if TYPE_CHECKING:
    from stvg_core.api.attention import AttentionResult, attend
    from stvg_core.api.grounder import GroundingResult, ground
    from stvg_core.errors import StvgError
    from stvg_core.host.session import Session, open_session
    from stvg_core.settings import Settings, load_settings
    from stvg_core.values import Span, Track, Tube

__all__ = [
    "AttentionResult",
    "GroundingResult",
    "Session",
    "Settings",
    "Span",
    "StvgError",
    "Track",
    "Tube",
    "attend",
    "ground",
    "load_settings",
    "open_session",
]

_MODULES = {
    "stvg_core.api.attention": "AttentionResult attend",
    "stvg_core.api.grounder": "GroundingResult ground",
    "stvg_core.errors": "StvgError",
    "stvg_core.host.session": "Session open_session",
    "stvg_core.settings": "Settings load_settings",
    "stvg_core.values": "Span Track Tube",
}

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
