"""Ablations: variants of one set of settings on the same samples, sharing whatever they have in common."""

from stvg_core.ablation.sources import AblationSample, AblationSource, DatasetSource

__all__ = ["AblationSample", "AblationSource", "DatasetSource"]
