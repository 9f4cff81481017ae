"""The output folder of one grounding: tube.json, images and the page, all or nothing."""

import json
from pathlib import Path
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import VideoError
from stvg_core.metrics import tube_overlap
from stvg_core.outputs.report.contact_sheet import draw_contact_sheet
from stvg_core.outputs.report.document import GroundingDocument, write_document
from stvg_core.outputs.report.drawing import save_png
from stvg_core.outputs.report.encoding import NumberedImages
from stvg_core.outputs.report.kept_maps import dump_maps
from stvg_core.outputs.report.overlay import write_overlay
from stvg_core.outputs.report.pages.media import Medium, place_video
from stvg_core.outputs.report.pages.sample import found_part, truth_of_tube, video_part
from stvg_core.outputs.report.pages.writing import render_page
from stvg_core.outputs.report.staging import own_errors, staged_files
from stvg_core.values import Grounding, Tube

TUBE_FILE = "tube.json"
OVERLAY_FILE = "overlay.mp4"
CONTACT_SHEET_FILE = "contact_sheet.png"
REPORT_FILE: Final = "report.html"
VIDEO_NAME: Final = "video"


def write_output_folder(
    folder: Path,
    grounding: Grounding,
    document: GroundingDocument,
    images: NumberedImages,
    *,
    truth: Tube | None = None,
) -> Path:
    """Write tube.json, overlay.mp4, contact_sheet.png, report.html and the video it plays, and return the folder.

    Args:
        folder: made where it is missing; other files in it stay.
        grounding: the result.
        document: the same as JSON, with model and settings.
        images: source frame number and RGB image as displayed, of the whole video in
            display order; taken one at a time.
        truth: the annotated tube, drawn beside the prediction.

    Raises:
        OutputError: the folder is a file or cannot be written to; nothing is left behind.
        VideoError: the images do not fit the video; nothing is left behind.
    """
    with staged_files(folder) as stage:
        write_document(stage / TUBE_FILE, document)
        save_png(stage / CONTACT_SHEET_FILE, draw_contact_sheet(grounding))
        info, query = grounding.frames.info, grounding.sub_queries.text
        write_overlay(stage / OVERLAY_FILE, images, info, grounding.tube, query, truth=truth)
        try:
            medium = place_video(Path(info.path), info, stage, "link", VIDEO_NAME)
        except VideoError as error:
            # A result is worth more than its page's player.
            medium = Medium("", note=f"The video cannot be shown: {one_line(str(error), 500)}")
        title = f"{one_line(document.query.text, 80)} - stvg"
        page = render_page(title, _report_data(grounding, document, truth, medium))
        with own_errors(folder / REPORT_FILE):
            (stage / REPORT_FILE).write_text(page, encoding="utf-8")
    return folder


def _report_data(
    grounding: Grounding, document: GroundingDocument, truth: Tube | None, medium: Medium
) -> dict[str, Any]:
    """Return what the page shows."""
    dumped = document.model_dump(mode="json")
    row = found_part(dumped, json.loads(dump_maps(grounding)))
    if truth is not None:
        overlap = tube_overlap(grounding.tube, truth)
        row["metrics"] = {"vIoU": overlap.video_iou, "tIoU": overlap.temporal_iou}
    settings = dumped["settings"]
    return {
        "kind": "sample",
        "rows": [{"name": document.model.id, "failed": False}],
        "sample": {
            "id": "",
            "query": document.query.text,
            "video": video_part(Path(grounding.frames.info.path).name, grounding.frames.info, medium, ""),
            "truth": None if truth is None else truth_of_tube(truth),
            "rows": [row],
        },
        "facts": {
            "model": f"{document.model.id} through {document.model.distribution} {document.model.version}",
            "preset": str(settings.get("preset")),
            "tracker": str(settings.get("tracker")),
        },
        "timings": dumped["timings_seconds"],
        "settings": settings,
        "versions": dumped["versions"],
    }
