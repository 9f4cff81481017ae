"""Whole data sets: runs, their comparison, ablations and exports.

May import api and everything below. Nothing below knows that runs exist.
"""

from typing import TYPE_CHECKING

from stvg_core._internal.lazy_names import lazy_names

if TYPE_CHECKING:
    from stvg_core.evaluation.ablation import ablate
    from stvg_core.evaluation.api import RunResult, evaluate, score
    from stvg_core.evaluation.comparison import compare

__all__ = ["RunResult", "ablate", "compare", "evaluate", "score"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "stvg_core.evaluation.ablation": "ablate",
        "stvg_core.evaluation.api": "RunResult evaluate score",
        "stvg_core.evaluation.comparison": "compare",
    },
)
