"""overlay.mp4: the video with the tube drawn into it, the query above, a time bar below.

Frames stream through, one at a time; presentation times are preserved, also at variable frame rates. `VideoCanvas`
serves the video of `stvg attend` as well. Frames come from the caller: nothing is decoded here.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageDraw

from stvg_core.outputs.report.drawing import (
    CASING,
    INK,
    MUTED,
    PAPER,
    PREDICTION,
    TRUTH,
    ResizedImage,
    RgbImage,
    TimeBar,
    draw_box,
    fit_text,
    line_height_pixels,
    resize,
    text_width_pixels,
    write_text,
)
from stvg_core.outputs.report.encoding import NumberedImages, encode_frames
from stvg_core.values import Tube, VideoInfo

_SMALLEST_LONG_SIDE = 480
_LARGEST_LONG_SIDE = 1280
_SMALLEST_CANVAS_WIDTH = 360
_TITLE_LINES = 2


def enlarged_size(info: VideoInfo) -> tuple[int, int]:
    """Return width and height of a video's frames in our videos: the long side becomes 480 to 1280 pixels.

    >>> enlarged_size(VideoInfo("a.mp4", 96, 48, 8.0, 1.0, np.zeros(1)))
    (480, 240)
    """
    long_side = max(info.width, info.height)
    scale = min(max(long_side, _SMALLEST_LONG_SIDE), _LARGEST_LONG_SIDE) / long_side
    return max(2, round(info.width * scale)), max(2, round(info.height * scale))


def line_width_pixels(width: int, height: int) -> int:
    """Return the width of a box's line in an image of this size."""
    return max(3, round(max(width, height) / 220))


class VideoCanvas:
    """The canvas of one video: title and empty time bar are drawn once, image and position per frame.

    Attributes:
        info: the video.
        width: of the canvas, even.
        height: of the canvas, even.
        image_left: where the video's image begins.
        image_top: where the video's image begins, below the title.
        image_width: of the video's image, enlarged or shrunk.
        image_height: of the video's image, enlarged or shrunk.
        font_pixels: size of the letters.
        line_pixels: width of a box's line.
        bar: the time bar, below the image.
        text_y: middle of the line of text below the bar.
        ground: what is the same on all frames.

    >>> canvas = VideoCanvas(VideoInfo("a.mp4", 96, 96, 8.0, 1.0, np.zeros(1)), "a man runs")
    >>> canvas.image_width, canvas.image_height, canvas.width % 2, canvas.height % 2
    (480, 480, 0, 0)
    """

    def __init__(self, info: VideoInfo, title: str) -> None:
        """Draw what is the same on all frames.

        Args:
            info: the video.
            title: any text; shortened to two lines.
        """
        self.info = info
        self.image_width, self.image_height = enlarged_size(info)
        self.width = _even(max(self.image_width, _SMALLEST_CANVAS_WIDTH))
        self.font_pixels = min(26, max(14, round(self.width / 38)))
        self.line_pixels = line_width_pixels(self.image_width, self.image_height)
        line_height = line_height_pixels(self.font_pixels)
        self.image_left = (self.width - self.image_width) // 2
        self.image_top = _TITLE_LINES * line_height + line_height // 2
        self.height = _even(self.image_top + self.image_height + 2 * line_height + line_height // 2)
        margin = max(self.font_pixels // 2, 8)
        self.bar = TimeBar(
            left=margin,
            right=self.width - margin,
            top=self.image_top + self.image_height + self.font_pixels // 2,
            height=max(8, round(0.6 * self.font_pixels)),
            start_seconds=float(info.frame_seconds[0]),
            end_seconds=info.frame_end_seconds(info.frame_count - 1),
        )
        self.text_y = (self.bar.top + self.bar.height + self.height) // 2
        self.ground = Image.new("RGB", (self.width, self.height), PAPER)
        draw = ImageDraw.Draw(self.ground)
        lines = fit_text(title, self.font_pixels, self.width - 2 * margin, _TITLE_LINES)
        first_y = self.image_top // 2 - line_height * (len(lines) - 1) // 2
        for number, line in enumerate(lines):
            write_text(draw, (margin, first_y + number * line_height), line, self.font_pixels, INK)
        self.bar.rail(draw)

    def enlarged(self, image: RgbImage) -> ResizedImage:
        """Return an image at the size that it has on the canvas, as a copy."""
        return resize(image, self.image_width, self.image_height)

    def box_in_image(self, box_xyxy: Float64[np.ndarray, "4"]) -> Float64[np.ndarray, "4"]:
        """Return a box of the video in pixels of the enlarged or shrunk image."""
        scale = np.array([self.image_width / self.info.width, self.image_height / self.info.height])
        return np.asarray(box_xyxy * np.tile(scale, 2))

    def compose(self, frame: int, shown: RgbImage) -> ResizedImage:
        """Return the whole canvas of a source frame.

        Args:
            frame: source frame number.
            shown: its image, of the size that `enlarged` returns.
        """
        canvas = self.ground.copy()
        self._draw_position(ImageDraw.Draw(canvas), float(self.info.frame_seconds[frame]))
        canvas.paste(Image.fromarray(shown), (self.image_left, self.image_top))
        return np.array(canvas)

    def _draw_position(self, draw: ImageDraw.ImageDraw, seconds: float) -> None:
        bar, reach = self.bar, self.bar.height // 3
        x = bar.x(seconds)
        half = max(1, self.line_pixels // 2)
        draw.rectangle((x - half - 1, bar.top - reach - 1, x + half + 1, bar.top + bar.height + reach), fill=CASING)
        draw.rectangle((x - half, bar.top - reach, x + half, bar.top + bar.height + reach - 1), fill=INK)
        write_text(draw, (bar.left, self.text_y), f"{seconds:.2f} s", self.font_pixels - 2, MUTED)


def _even(length: int) -> int:
    return length + length % 2


def write_overlay(
    path: Path, images: NumberedImages, info: VideoInfo, tube: Tube, query: str, *, truth: Tube | None = None
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
    canvas = VideoCanvas(info, query)
    # The truth is drawn last: through the gaps of its dashes the prediction shows where both agree.
    tubes = [(tube, "predicted", PREDICTION), *([] if truth is None else [(truth, "ground truth", TRUTH)])]
    draw, bar, size = ImageDraw.Draw(canvas.ground), canvas.bar, canvas.font_pixels - 2
    # Two spans share the bar's height, so that neither hides the other.
    share = bar.height // len(tubes)
    for number, (each, _, color) in enumerate(tubes):
        part = TimeBar(bar.left, bar.right, bar.top + number * share, share, bar.start_seconds, bar.end_seconds)
        part.band(draw, (each.span.start_seconds, each.span.end_seconds), color)
    right = bar.right
    for each, name, color in reversed(tubes):
        words = f"{name} {each.span.start_seconds:.2f} to {each.span.end_seconds:.2f} s"
        words_width = text_width_pixels(words, size)
        if right - words_width > bar.left + 5 * canvas.font_pixels:
            write_text(draw, (right, canvas.text_y), words, size, color, "rm")
            right -= words_width + canvas.font_pixels

    def paint(frame: int, image: RgbImage) -> ResizedImage:
        shown = canvas.enlarged(image)
        for each, _, color in tubes:
            if each.start_frame <= frame <= each.end_frame:
                box = canvas.box_in_image(each.boxes_xyxy[frame - each.start_frame])
                draw_box(shown, box, color, canvas.line_pixels, dashed=color == TRUTH)
        return canvas.compose(frame, shown)

    return encode_frames(path, images, info, paint, canvas.width, canvas.height)
