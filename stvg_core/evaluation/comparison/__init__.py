"""The comparison of runs: the same samples through many models and settings, with intervals and costs.

Reads finished runs, or evaluates models and settings first. Imports no torch: evaluation happens in child processes.
"""

from stvg_core.evaluation.comparison.comparing import compare, write_comparison
from stvg_core.evaluation.comparison.document import ComparisonDocument, build_comparison, dump_comparison
from stvg_core.evaluation.comparison.pages import PageChoice, write_pages, write_run_pages
from stvg_core.evaluation.comparison.rows import LADDER, ComparisonRow, Source, clip_source, named_rows, read_rows
from stvg_core.evaluation.comparison.running import RowRun
from stvg_core.evaluation.comparison.table_parts import Table, TableRow

__all__ = [
    "LADDER",
    "ComparisonDocument",
    "ComparisonRow",
    "PageChoice",
    "RowRun",
    "Source",
    "Table",
    "TableRow",
    "build_comparison",
    "clip_source",
    "compare",
    "dump_comparison",
    "named_rows",
    "read_rows",
    "write_comparison",
    "write_pages",
    "write_run_pages",
]
