"""report.html: one grounding as a page, beside its video."""

import json
from pathlib import Path
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import OutputError, VideoError
from stvg_core.metrics import tube_overlap
from stvg_core.outputs.report.document import GroundingDocument
from stvg_core.outputs.report.kept_maps import dump_maps
from stvg_core.outputs.report.pages.media import MediaChoice, Medium, place_video
from stvg_core.outputs.report.pages.sample import found_part, truth_of_tube, video_part
from stvg_core.outputs.report.pages.writing import render_page
from stvg_core.values import Grounding, Tube

REPORT_FILE: Final = "report.html"
VIDEO_NAME: Final = "video"


def write_report(
    folder: Path,
    grounding: Grounding,
    document: GroundingDocument,
    *,
    truth: Tube | None = None,
    media: MediaChoice = "link",
) -> None:
    """Write the page, and the video that it plays, into a folder.

    Args:
        folder: where to.
        grounding: what was found.
        document: the same as JSON, with model and settings.
        truth: the annotated tube, shown beside the prediction.
        media: how the page gets its video.

    Raises:
        OutputError: the folder cannot be written to.
    """
    info = grounding.frames.info
    try:
        medium = place_video(Path(info.path), info, folder, media, VIDEO_NAME)
    except VideoError as error:
        # A result is worth more than its page's player.
        medium = Medium("", note=f"The video cannot be shown: {one_line(str(error), 500)}")
    page = render_page(f"{one_line(document.query.text, 80)} - stvg", report_data(grounding, document, truth, medium))
    try:
        (folder / REPORT_FILE).write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {REPORT_FILE}: {error.strerror}; choose another folder with --out") from error


def report_data(
    grounding: Grounding, document: GroundingDocument, truth: Tube | None, medium: Medium
) -> dict[str, Any]:
    """Return what the page shows."""
    dumped = document.model_dump(mode="json")
    found = found_part(dumped, json.loads(dump_maps(grounding)))
    if truth is not None:
        overlap = tube_overlap(grounding.tube, truth)
        found["metrics"] = {"vIoU": overlap.video_iou, "tIoU": overlap.temporal_iou}
    settings = dumped["settings"]
    return {
        "kind": "sample",
        "rows": [{"name": document.model.id, "failed": False}],
        "sample": {
            "id": "",
            "query": document.query.text,
            "video": video_part(Path(grounding.frames.info.path).name, grounding.frames.info, medium, ""),
            "truth": None if truth is None else truth_of_tube(truth),
            "rows": [found],
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
