"""The cross-model comparison: the same samples through many models and settings, with intervals and costs.

Imports no torch: every row runs in a process of its own.
"""

from stvg_core.evaluation.comparison.comparing import compare, write_comparison
from stvg_core.evaluation.comparison.document import ComparisonDocument, build_comparison, dump_comparison
from stvg_core.evaluation.comparison.ladder import LADDER, LadderStep
from stvg_core.evaluation.comparison.pages import PageChoice, write_pages
from stvg_core.evaluation.comparison.rows import ComparisonRow, product_of, read_rows
from stvg_core.evaluation.comparison.source import Source, clip_source

__all__ = [
    "LADDER",
    "ComparisonDocument",
    "ComparisonRow",
    "LadderStep",
    "PageChoice",
    "Source",
    "build_comparison",
    "clip_source",
    "compare",
    "dump_comparison",
    "product_of",
    "read_rows",
    "write_comparison",
    "write_pages",
]
