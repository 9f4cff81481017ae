"""The public verbs: open a model once, then ground sentences or look at attention.

grounder    ground, Grounder and its results
attention   attend: what a model looks at while it is asked something

May import everything below: outputs, method, inputs, metrics, host, plugin. Knows no command line and no run.
"""

from typing import TYPE_CHECKING

from stvg_core._internal.lazy_names import lazy_names

if TYPE_CHECKING:
    from stvg_core.api.attention import AttentionResult, attend
    from stvg_core.api.grounder import Grounder, ground, load
    from stvg_core.api.results import GroundingResult
    from stvg_core.api.run_spec import RunOptions, RunSpec

__all__ = ["AttentionResult", "Grounder", "GroundingResult", "RunOptions", "RunSpec", "attend", "ground", "load"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "stvg_core.api.attention": "AttentionResult attend",
        "stvg_core.api.grounder": "Grounder ground load",
        "stvg_core.api.results": "GroundingResult",
        "stvg_core.api.run_spec": "RunOptions RunSpec",
    },
)
