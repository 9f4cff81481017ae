"""The result of a grounding: the tube, the evidence, and the JSON document."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_core.errors import OutputError
from stvg_core.inputs.video import iterate_frames
from stvg_core.outputs.report.contact_sheet import draw_contact_sheet
from stvg_core.outputs.report.document import GroundingDocument, dump_document
from stvg_core.outputs.report.folder import write_output_folder
from stvg_core.values import Grounding, Tube

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False, repr=False)
class GroundingResult:
    """A grounding, and its JSON document (schema version 1).

    Iterates as (source frame, box): `for frame, (x0, y0, x1, y1) in result`.

    Attributes:
        grounding: tube, tracks, scores and maps as arrays.
        document: the same as `stvg ground --json` prints.
    """

    grounding: Grounding
    document: GroundingDocument
    _video_file: object = field(default=None)
    """Keeps the file of frames in memory as long as the result needs it."""

    @property
    def tube(self) -> Tube:
        """When and where."""
        return self.grounding.tube

    def __iter__(self) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
        """Yield every source frame of the tube (0-based) with its box, xyxy in pixels."""
        return iter(self.tube)

    def __repr__(self) -> str:
        """Return query, time and first box on one line."""
        span = self.tube.span
        corners = ", ".join(f"{corner:.0f}" for corner in self.tube.boxes_xyxy[0])
        return (
            f"GroundingResult({self.grounding.sub_queries.text!r}: {span.start_seconds:.2f} s to "
            f"{span.end_seconds:.2f} s, frames {self.tube.start_frame} to {self.tube.end_frame}, "
            f"first box [{corners}])"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document as plain values, as `stvg ground --json` prints it."""
        document: dict[str, Any] = json.loads(self.to_json())
        return document

    def to_json(self) -> str:
        """Return the JSON document, as `stvg ground --json` prints it."""
        return dump_document(self.document)

    def to_supervision(self) -> dict[int, Any]:
        """Return the tube as `supervision.Detections` of one box, by source frame.

        Raises:
            OutputError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise OutputError("expected supervision, which is not installed; pip install supervision") from error
        import numpy as np

        text = np.array([self.grounding.sub_queries.text])
        return {
            frame: supervision.Detections(
                xyxy=np.array([box]), class_id=np.array([0]), data={"class_name": text}, tracker_id=np.array([0])
            )
            for frame, box in self.tube
        }

    def plot(self) -> "Image":
        """Return the contact sheet as an image: sampled frames with maps, tube and scores; notebooks show it."""
        from PIL import Image

        return Image.fromarray(draw_contact_sheet(self.grounding))

    def save(self, folder: str | Path, truth: Tube | None = None) -> Path:
        """Write tube.json, overlay.mp4, contact_sheet.png and report.html with its video; all of them, or nothing.

        Args:
            folder: created if it is missing; other files in it stay.
            truth: the annotated tube, to draw beside the predicted one.

        Raises:
            OutputError: the folder cannot be written.
            VideoError: the video can no longer be read.
        """
        info = self.grounding.frames.info
        frames = iterate_frames(info.path, info, 0, info.frame_count - 1)
        return write_output_folder(Path(folder), self.grounding, self.document, frames, truth=truth)
