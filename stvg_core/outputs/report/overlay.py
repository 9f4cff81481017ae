"""overlay.mp4: the video with the tube drawn into it, the query above, a time bar below.

Knows no model and does not read the video: pictures come from the caller.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ImageDraw

from stvg_core.outputs.report.drawing import PREDICTION, TRUTH, Color, TimeBar, draw_box
from stvg_core.outputs.report.encoding import encode_video
from stvg_core.outputs.report.lettering import letter, write
from stvg_core.outputs.report.video_canvas import VideoCanvas, paint_frames
from stvg_core.values import Tube, VideoInfo


def write_overlay(
    path: Path,
    pictures: Iterable[tuple[int, UInt8[np.ndarray, "height width 3"]]],
    info: VideoInfo,
    tube: Tube,
    query: str,
    *,
    truth: Tube | None = None,
) -> int:
    """Write the overlay video (H.264, yuv420p) and return its number of frames.

    Args:
        path: the file to write; an existing one is replaced.
        pictures: source frame number and RGB picture as displayed, in display order.
        info: the video they come from.
        tube: the prediction; its box is drawn inside its span only.
        query: any text; shortened to two lines.
        truth: the annotated tube, drawn dashed in another colour.

    Raises:
        OutputError: the file cannot be written, or no H.264 encoder is installed.
        VideoError: there are no pictures, or their numbers do not fit the video.
    """
    painter = _Painter(info, tube, truth, query)
    geometry = painter.canvas.geometry
    painted = paint_frames(pictures, info, painter.paint)
    return encode_video(path, painted, width=geometry.width, height=geometry.height, fps=info.fps)


@dataclass(frozen=True, eq=False)
class _DrawnTube:
    """A tube and how it is told apart."""

    tube: Tube
    name: str
    color: Color
    dashed: bool


class _Painter:
    """Draws overlay frames; what is the same on all of them is drawn once."""

    def __init__(self, info: VideoInfo, tube: Tube, truth: Tube | None, query: str) -> None:
        self.canvas = VideoCanvas(info, query)
        # The truth is drawn last: through the gaps of its dashes the prediction shows where both agree.
        self._tubes = [_DrawnTube(tube, "predicted", PREDICTION, dashed=False)]
        if truth is not None:
            self._tubes.append(_DrawnTube(truth, "ground truth", TRUTH, dashed=True))
        self._draw_spans()

    def paint(
        self, frame: int, picture: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "new_height new_width 3"]:
        """Return the overlay's frame for a source frame."""
        geometry = self.canvas.geometry
        shown = self.canvas.enlarged(picture)
        for drawn in self._tubes:
            if drawn.tube.start_frame <= frame <= drawn.tube.end_frame:
                box = geometry.box_in_picture(drawn.tube.boxes_xyxy[frame - drawn.tube.start_frame])
                draw_box(shown, box, drawn.color, geometry.line_pixels, dashed=drawn.dashed)
        return self.canvas.compose(frame, shown)

    def _draw_spans(self) -> None:
        geometry, bar = self.canvas.geometry, self.canvas.bar
        draw = ImageDraw.Draw(self.canvas.ground)
        for number, drawn in enumerate(self._tubes):
            # Two spans share the bar's height, so that neither hides the other.
            share = bar.height // len(self._tubes)
            part = TimeBar(bar.left, bar.right, bar.top + number * share, share, bar.start_seconds, bar.end_seconds)
            part.band(draw, (drawn.tube.span.start_seconds, drawn.tube.span.end_seconds), drawn.color)
        right = bar.right
        for drawn in reversed(self._tubes):
            span = drawn.tube.span
            words = letter(
                f"{drawn.name} {span.start_seconds:.2f} to {span.end_seconds:.2f} s", geometry.font_pixels - 2
            )
            if right - words.width_pixels > bar.left + 5 * geometry.font_pixels:
                write(draw, (right, self.canvas.text_y), words, drawn.color, "rm")
                right -= words.width_pixels + geometry.font_pixels
