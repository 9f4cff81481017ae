"""Data sets: annotation files in, checked samples out; conventions are made explicit at this door.

Ground truth goes from here to the metrics alone: nothing of the method imports this package.
Imports no torch; videos are opened only where a check asks for it.
"""

from stvg_core.inputs.datasets.check import Report, check_dataset
from stvg_core.inputs.datasets.entries import Entry
from stvg_core.inputs.datasets.export import write_annotations
from stvg_core.inputs.datasets.opening import Dataset, find_description, find_layouts, open_dataset
from stvg_core.inputs.datasets.samples import GroundingSample, Provenance, TruthTube
from stvg_core.inputs.datasets.videos import VideoCheck

__all__ = [
    "Dataset",
    "Entry",
    "GroundingSample",
    "Provenance",
    "Report",
    "TruthTube",
    "VideoCheck",
    "check_dataset",
    "find_description",
    "find_layouts",
    "open_dataset",
    "write_annotations",
]
