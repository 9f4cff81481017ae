"""Ablations: variants of one set of settings on the same samples, sharing whatever they have in common."""

from stvg_core.evaluation.ablation.ablating import ablate, write_ablation
from stvg_core.evaluation.ablation.document import AblationDocument, dump_ablation
from stvg_core.evaluation.ablation.sources import AblationSample, AblationSource, DatasetSource
from stvg_core.evaluation.ablation.tables import TABLE_NAMES

__all__ = [
    "TABLE_NAMES",
    "AblationDocument",
    "AblationSample",
    "AblationSource",
    "DatasetSource",
    "ablate",
    "dump_ablation",
    "write_ablation",
]
