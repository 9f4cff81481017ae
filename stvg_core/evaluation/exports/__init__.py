"""Tubes in the formats that others read: COCO, MOT, CVAT, Label Studio, Rerun.

Inside, frames count from 0 and both ends of a span belong to it; each format's own base is applied where the format
is written and nowhere else (docs/export.md). Needs no model.
"""

from stvg_core.evaluation.exports.exporting import FORMATS, ExportSummary, export

__all__ = ["FORMATS", "ExportSummary", "export"]
