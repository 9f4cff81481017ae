"""overlay.mp4: the video with the tube drawn into it, the query above, a time bar below.

Frames stream through, one at a time; presentation times are preserved, also at variable frame rates. `VideoCanvas` and
`paint_frames` serve the video of `stvg attend` as well. Frames come from the caller: nothing is decoded here.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw

from stvg_core.errors import VideoError
from stvg_core.outputs.report.drawing import (
    CASING,
    INK,
    MUTED,
    PAPER,
    PREDICTION,
    TRUTH,
    Color,
    TimeBar,
    draw_box,
    fit_text,
    line_height_pixels,
    resize,
    text_width_pixels,
    write_text,
)
from stvg_core.outputs.report.encoding import TimedFrame, encode_video
from stvg_core.values import Tube, VideoInfo

_SMALLEST_LONG_SIDE = 480
_LARGEST_LONG_SIDE = 1280
_SMALLEST_CANVAS_WIDTH = 360
_TITLE_LINES = 2


@dataclass(frozen=True)
class OverlayGeometry:
    """Where things lie on the canvas; all in pixels.

    Attributes:
        width: of the canvas, even.
        height: of the canvas, even.
        image_left: where the video's image begins.
        image_top: where the video's image begins, below the text.
        image_width: of the video's image, enlarged or shrunk.
        image_height: of the video's image, enlarged or shrunk.
        font_pixels: size of the letters.
        line_pixels: width of a box's line.
        source_width: of the video as displayed.
        source_height: of the video as displayed.
    """

    width: int
    height: int
    image_left: int
    image_top: int
    image_width: int
    image_height: int
    font_pixels: int
    line_pixels: int
    source_width: int
    source_height: int

    @classmethod
    def of(cls, info: VideoInfo) -> "OverlayGeometry":
        """Return the geometry for a video: its long side becomes 480 to 1280 pixels.

        >>> info = VideoInfo("a.mp4", 96, 96, 8.0, 1.0, np.zeros(1))
        >>> geometry = OverlayGeometry.of(info)
        >>> geometry.image_width, geometry.image_height, geometry.width % 2, geometry.height % 2
        (480, 480, 0, 0)
        """
        long_side = max(info.width, info.height)
        scale = min(max(long_side, _SMALLEST_LONG_SIDE), _LARGEST_LONG_SIDE) / long_side
        image_width, image_height = max(2, round(info.width * scale)), max(2, round(info.height * scale))
        width = _even(max(image_width, _SMALLEST_CANVAS_WIDTH))
        font_pixels = min(26, max(14, round(width / 38)))
        line = line_height_pixels(font_pixels)
        image_top = _TITLE_LINES * line + line // 2
        return cls(
            width=width,
            height=_even(image_top + image_height + 2 * line + line // 2),
            image_left=(width - image_width) // 2,
            image_top=image_top,
            image_width=image_width,
            image_height=image_height,
            font_pixels=font_pixels,
            line_pixels=max(3, round(max(image_width, image_height) / 220)),
            source_width=info.width,
            source_height=info.height,
        )

    def box_in_image(self, box_xyxy: Float64[np.ndarray, "4"]) -> Float64[np.ndarray, "4"]:
        """Return a box of the video in pixels of the enlarged or shrunk image."""
        across, down = self.image_width / self.source_width, self.image_height / self.source_height
        scaled: Float64[np.ndarray, "4"] = box_xyxy * np.array([across, down, across, down])
        return scaled

    @property
    def time_bar_top(self) -> int:
        """Where the time bar begins."""
        return self.image_top + self.image_height + self.font_pixels // 2

    @property
    def margin(self) -> int:
        """Distance of text and time bar from the canvas's sides."""
        return max(self.font_pixels // 2, 8)


class VideoCanvas:
    """The canvas of one video: title and empty time bar are drawn once, image and position per frame."""

    def __init__(self, info: VideoInfo, title: str) -> None:
        """Draw what is the same on all frames.

        Args:
            info: the video.
            title: any text; shortened to two lines.
        """
        self.info = info
        self.geometry = geometry = OverlayGeometry.of(info)
        self.bar = TimeBar(
            left=geometry.margin,
            right=geometry.width - geometry.margin,
            top=geometry.time_bar_top,
            height=max(8, round(0.6 * geometry.font_pixels)),
            start_seconds=float(info.frame_seconds[0]),
            end_seconds=info.frame_end_seconds(info.frame_count - 1),
        )
        self.ground = Image.new("RGB", (geometry.width, geometry.height), PAPER)
        draw = ImageDraw.Draw(self.ground)
        lines = fit_text(title, geometry.font_pixels, geometry.width - 2 * geometry.margin, _TITLE_LINES)
        height = line_height_pixels(geometry.font_pixels)
        first_y = geometry.image_top // 2 - height * (len(lines) - 1) // 2
        for number, line in enumerate(lines):
            write_text(draw, (geometry.margin, first_y + number * height), line, geometry.font_pixels, INK)
        self.bar.rail(draw)

    @property
    def text_y(self) -> int:
        """Middle of the line of text below the bar."""
        return (self.bar.top + self.bar.height + self.geometry.height) // 2

    def enlarged(self, image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "new_height new_width 3"]:
        """Return an image at the size that it has on the canvas, as a copy."""
        return resize(image, self.geometry.image_width, self.geometry.image_height)

    def compose(
        self, frame: int, shown: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "new_height new_width 3"]:
        """Return the whole canvas of a source frame.

        Args:
            frame: source frame number.
            shown: its image, of the size that `enlarged` gives.
        """
        geometry = self.geometry
        canvas = self.ground.copy()
        self._draw_position(ImageDraw.Draw(canvas), float(self.info.frame_seconds[frame]))
        composed = np.array(canvas)
        top, left = geometry.image_top, geometry.image_left
        composed[top : top + geometry.image_height, left : left + geometry.image_width] = shown
        return composed

    def _draw_position(self, draw: ImageDraw.ImageDraw, seconds: float) -> None:
        bar, reach = self.bar, self.bar.height // 3
        x = bar.x(seconds)
        half = max(1, self.geometry.line_pixels // 2)
        draw.rectangle((x - half - 1, bar.top - reach - 1, x + half + 1, bar.top + bar.height + reach), fill=CASING)
        draw.rectangle((x - half, bar.top - reach, x + half, bar.top + bar.height + reach - 1), fill=INK)
        write_text(draw, (bar.left, self.text_y), f"{seconds:.2f} s", self.geometry.font_pixels - 2, MUTED)


def paint_frames(
    images: Iterable[tuple[int, UInt8[np.ndarray, "height width 3"]]],
    info: VideoInfo,
    paint: Callable[[int, UInt8[np.ndarray, "height width 3"]], UInt8[np.ndarray, "new_height new_width 3"]],
) -> Iterator[TimedFrame]:
    """Yield every image as `paint` makes it, with its presentation times.

    Raises:
        VideoError: there are no images, or their numbers do not fit the video.
    """
    last_frame = -1
    for frame, image in images:
        if not last_frame < frame < info.frame_count:
            raise VideoError(
                f"expected frames in order and below {info.frame_count} in {info.path}, got {frame} after "
                f"{last_frame}; has the file changed since it was read?"
            )
        last_frame = frame
        yield TimedFrame(paint(frame, image), float(info.frame_seconds[frame]), info.frame_end_seconds(frame))
    if last_frame < 0:
        raise VideoError(f"expected images of {info.path}, got none; has the file changed since it was read?")


def _even(length: int) -> int:
    return length + length % 2


def write_overlay(
    path: Path,
    images: Iterable[tuple[int, UInt8[np.ndarray, "height width 3"]]],
    info: VideoInfo,
    tube: Tube,
    query: str,
    *,
    truth: Tube | None = None,
) -> int:
    """Write the overlay video (H.264, yuv420p) and return its number of frames.

    Args:
        path: the file to write; an existing one is replaced.
        images: source frame number and RGB image as displayed, in display order.
        info: the video they come from.
        tube: the prediction; its box is drawn inside its span only.
        query: any text; shortened to two lines.
        truth: the annotated tube, drawn dashed in another colour.

    Raises:
        OutputError: the file cannot be written, or no H.264 encoder is installed.
        VideoError: there are no images, or their numbers do not fit the video.
    """
    painter = _Painter(info, tube, truth, query)
    geometry = painter.canvas.geometry
    painted = paint_frames(images, info, painter.paint)
    return encode_video(path, painted, width=geometry.width, height=geometry.height, fps=info.fps)


@dataclass(frozen=True, eq=False)
class _DrawnTube:
    """A tube and its style."""

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
        self, frame: int, image: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "new_height new_width 3"]:
        """Return the overlay's frame for a source frame."""
        geometry = self.canvas.geometry
        shown = self.canvas.enlarged(image)
        for drawn in self._tubes:
            if drawn.tube.start_frame <= frame <= drawn.tube.end_frame:
                box = geometry.box_in_image(drawn.tube.boxes_xyxy[frame - drawn.tube.start_frame])
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
        right, size = bar.right, geometry.font_pixels - 2
        for drawn in reversed(self._tubes):
            span = drawn.tube.span
            words = f"{drawn.name} {span.start_seconds:.2f} to {span.end_seconds:.2f} s"
            width = text_width_pixels(words, size)
            if right - width > bar.left + 5 * geometry.font_pixels:
                write_text(draw, (right, self.canvas.text_y), words, size, drawn.color, "rm")
                right -= width + geometry.font_pixels
