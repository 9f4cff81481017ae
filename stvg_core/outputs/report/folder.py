"""The output folder of one grounding: tube.json, pictures and the page, all or nothing.

Knows no model; the overlay's pictures come from the caller.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from stvg_core.outputs.report.contact_sheet import write_contact_sheet
from stvg_core.outputs.report.document import GroundingDocument, write_document
from stvg_core.outputs.report.overlay import write_overlay
from stvg_core.outputs.report.pages.single import write_report
from stvg_core.outputs.report.staging import staged_files
from stvg_core.values import Grounding, Tube

TUBE_FILE = "tube.json"
OVERLAY_FILE = "overlay.mp4"
CONTACT_SHEET_FILE = "contact_sheet.png"


def write_output_folder(
    folder: Path,
    grounding: Grounding,
    document: GroundingDocument,
    pictures: Iterable[tuple[int, UInt8[np.ndarray, "height width 3"]]],
    *,
    truth: Tube | None = None,
) -> Path:
    """Write tube.json, overlay.mp4, contact_sheet.png, report.html and the video it plays, and return the folder.

    Args:
        folder: made where it is missing; other files in it stay.
        grounding: what was found.
        document: the same as JSON, with model and settings.
        pictures: source frame number and RGB picture as displayed, of the whole video in
            display order; taken one at a time.
        truth: the annotated tube, drawn beside the prediction.

    Raises:
        OutputError: the folder is a file or cannot be written to; nothing is left behind.
        VideoError: the pictures do not fit the video; nothing is left behind.
    """
    with staged_files(folder) as stage:
        write_document(stage / TUBE_FILE, document)
        write_contact_sheet(stage / CONTACT_SHEET_FILE, grounding)
        write_overlay(
            stage / OVERLAY_FILE,
            pictures,
            grounding.frames.info,
            grounding.tube,
            grounding.sub_queries.text,
            truth=truth,
        )
        write_report(stage, grounding, document, truth=truth)
    return folder
