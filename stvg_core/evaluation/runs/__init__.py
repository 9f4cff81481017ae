"""Benchmark runs that survive anything: samples in, one recorded result per sample, a score at any time.

What works on a sample (`worker`) never sees its truth; what knows the truth (`scoring`) never sees a model. This
package's front imports no torch; `stvg_core.evaluation.runs.evaluation` starts a run.
"""

from stvg_core.evaluation.runs.merging import merge_runs
from stvg_core.evaluation.runs.scoring import score_run
from stvg_core.evaluation.runs.selection import Selection, Shard
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.evaluation.runs.summary import summarize_run

__all__ = ["RunStore", "Selection", "Shard", "merge_runs", "score_run", "summarize_run"]
