"""Resumable runs of a model over a data set: samples in, one recorded result per sample, a score at any time.

What works on a sample (`worker`) never sees its ground truth; what reads ground truth (`scoring`) never sees a model.
Importing this package imports no torch; `stvg_core.evaluation.runs.evaluation` starts a run, `engine` says where the
method runs.
"""

from stvg_core.evaluation.runs.merging import merge_runs
from stvg_core.evaluation.runs.scoring import score_run, summarize_run
from stvg_core.evaluation.runs.selection import Selection, Shard
from stvg_core.evaluation.runs.store import RunStore

__all__ = ["RunStore", "Selection", "Shard", "merge_runs", "score_run", "summarize_run"]
