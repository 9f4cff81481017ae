"""The method of arXiv 2509.15178, written once against the hooks of stvg_core.plugin.

pipeline            Pipeline: encode, compute maps, propose tracks, join
branches            the spatial and the temporal branch of a query (DSTH)
prompts             visual prompts learned on the yes/no logits (LRA)
attention           relative attention, grounding tokens, attention maps
reversed_view       the reversed view and the assembly of views (TAS)
scores, tube        joint inference: scores of tracks and frames, the span, the tube
long_videos         search and grounding in the windows of a long video; windows has its pure functions
question_maps       attention maps of any question, with the tokens and layers of selection
stages              the time of each stage

May import inputs, host, plugin, values, settings. Never sees ground truth.
"""

from typing import TYPE_CHECKING

from stvg_core._internal.lazy_names import lazy_names

if TYPE_CHECKING:
    from stvg_core.method.branches import BranchMaps, BranchQuery
    from stvg_core.method.long_videos import WindowSearch, ground_windows, search_windows
    from stvg_core.method.pipeline import EncodedViews, Pipeline
    from stvg_core.method.prompts import LearnedPrompt, learn_prompts
    from stvg_core.method.stages import Stopwatch

__all__ = [
    "BranchMaps",
    "BranchQuery",
    "EncodedViews",
    "LearnedPrompt",
    "Pipeline",
    "Stopwatch",
    "WindowSearch",
    "ground_windows",
    "learn_prompts",
    "search_windows",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "stvg_core.method.branches": "BranchMaps BranchQuery",
        "stvg_core.method.long_videos": "WindowSearch ground_windows search_windows",
        "stvg_core.method.pipeline": "EncodedViews Pipeline",
        "stvg_core.method.prompts": "LearnedPrompt learn_prompts",
        "stvg_core.method.stages": "Stopwatch",
    },
)
