"""Ablations: variants of models' settings, evaluated and compared as any other rows, in tables with controls."""

from stvg_core.evaluation.ablation.ablating import ablate
from stvg_core.evaluation.ablation.tables import TABLE_NAMES

__all__ = ["TABLE_NAMES", "ablate"]
