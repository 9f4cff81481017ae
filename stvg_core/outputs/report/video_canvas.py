"""A video's frames on a canvas: a line of text above, a time bar below; what every such video has alike.

Pictures stream through, one at a time; presentation times are kept, so variable frame rate stays right. Knows no
tube and no attention: what is drawn into a picture and its bar is the caller's.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw

from stvg_core.errors import VideoError
from stvg_core.outputs.report.drawing import CASING, INK, MUTED, PAPER, TimeBar, resize
from stvg_core.outputs.report.encoding import TimedPicture
from stvg_core.outputs.report.lettering import fit, letter, line_height_pixels, write
from stvg_core.values import VideoInfo

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
        picture_left: where the video's picture begins.
        picture_top: where the video's picture begins, below the text.
        picture_width: of the video's picture, enlarged or shrunk.
        picture_height: of the video's picture, enlarged or shrunk.
        font_pixels: size of the letters.
        line_pixels: width of a box's line.
        source_width: of the video as displayed.
        source_height: of the video as displayed.
    """

    width: int
    height: int
    picture_left: int
    picture_top: int
    picture_width: int
    picture_height: int
    font_pixels: int
    line_pixels: int
    source_width: int
    source_height: int

    @classmethod
    def of(cls, info: VideoInfo) -> "OverlayGeometry":
        """Return the geometry for a video: its long side becomes 480 to 1280 pixels.

        >>> info = VideoInfo("a.mp4", 96, 96, 8.0, 1.0, np.zeros(1))
        >>> geometry = OverlayGeometry.of(info)
        >>> geometry.picture_width, geometry.picture_height, geometry.width % 2, geometry.height % 2
        (480, 480, 0, 0)
        """
        long_side = max(info.width, info.height)
        scale = min(max(long_side, _SMALLEST_LONG_SIDE), _LARGEST_LONG_SIDE) / long_side
        picture_width, picture_height = max(2, round(info.width * scale)), max(2, round(info.height * scale))
        width = _even(max(picture_width, _SMALLEST_CANVAS_WIDTH))
        font_pixels = min(26, max(14, round(width / 38)))
        line = line_height_pixels(font_pixels)
        picture_top = _TITLE_LINES * line + line // 2
        return cls(
            width=width,
            height=_even(picture_top + picture_height + 2 * line + line // 2),
            picture_left=(width - picture_width) // 2,
            picture_top=picture_top,
            picture_width=picture_width,
            picture_height=picture_height,
            font_pixels=font_pixels,
            line_pixels=max(3, round(max(picture_width, picture_height) / 220)),
            source_width=info.width,
            source_height=info.height,
        )

    def box_in_picture(self, box_xyxy: Float64[np.ndarray, "4"]) -> Float64[np.ndarray, "4"]:
        """Return a box of the video in pixels of the enlarged or shrunk picture."""
        across, down = self.picture_width / self.source_width, self.picture_height / self.source_height
        scaled: Float64[np.ndarray, "4"] = box_xyxy * np.array([across, down, across, down])
        return scaled

    @property
    def time_bar_top(self) -> int:
        """Where the time bar begins."""
        return self.picture_top + self.picture_height + self.font_pixels // 2

    @property
    def margin(self) -> int:
        """Distance of text and time bar from the canvas's sides."""
        return max(self.font_pixels // 2, 8)


class VideoCanvas:
    """The canvas of one video: title and empty time bar are drawn once, picture and position per frame."""

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
        lines = fit(title, geometry.font_pixels, geometry.width - 2 * geometry.margin, _TITLE_LINES)
        height = line_height_pixels(geometry.font_pixels)
        first_y = geometry.picture_top // 2 - height * (len(lines) - 1) // 2
        for number, line in enumerate(lines):
            write(draw, (geometry.margin, first_y + number * height), line, INK, "lm")
        self.bar.rail(draw)

    @property
    def text_y(self) -> int:
        """Middle of the line of text below the bar."""
        return (self.bar.top + self.bar.height + self.geometry.height) // 2

    def enlarged(self, picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "new_height new_width 3"]:
        """Return a picture at the size that it has on the canvas, as a copy."""
        return resize(picture, self.geometry.picture_width, self.geometry.picture_height)

    def compose(
        self, frame: int, shown: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "new_height new_width 3"]:
        """Return the whole canvas of a source frame.

        Args:
            frame: source frame number.
            shown: its picture, of the size that `enlarged` gives.
        """
        geometry = self.geometry
        canvas = self.ground.copy()
        self._draw_position(ImageDraw.Draw(canvas), float(self.info.frame_seconds[frame]))
        composed = np.array(canvas)
        top, left = geometry.picture_top, geometry.picture_left
        composed[top : top + geometry.picture_height, left : left + geometry.picture_width] = shown
        return composed

    def _draw_position(self, draw: ImageDraw.ImageDraw, seconds: float) -> None:
        bar, reach = self.bar, self.bar.height // 3
        x = bar.x(seconds)
        half = max(1, self.geometry.line_pixels // 2)
        draw.rectangle((x - half - 1, bar.top - reach - 1, x + half + 1, bar.top + bar.height + reach), fill=CASING)
        draw.rectangle((x - half, bar.top - reach, x + half, bar.top + bar.height + reach - 1), fill=INK)
        clock = letter(f"{seconds:.2f} s", self.geometry.font_pixels - 2)
        write(draw, (bar.left, self.text_y), clock, MUTED, "lm")


def paint_frames(
    pictures: Iterable[tuple[int, UInt8[np.ndarray, "height width 3"]]],
    info: VideoInfo,
    paint: Callable[[int, UInt8[np.ndarray, "height width 3"]], UInt8[np.ndarray, "new_height new_width 3"]],
) -> Iterator[TimedPicture]:
    """Yield every picture as `paint` makes it, with its presentation times.

    Raises:
        VideoError: there are no pictures, or their numbers do not fit the video.
    """
    last_frame = -1
    for frame, picture in pictures:
        if not last_frame < frame < info.frame_count:
            raise VideoError(
                f"expected frames in order and below {info.frame_count} in {info.path}, got {frame} after "
                f"{last_frame}; has the file changed since it was read?"
            )
        last_frame = frame
        yield TimedPicture(paint(frame, picture), float(info.frame_seconds[frame]), info.frame_end_seconds(frame))
    if last_frame < 0:
        raise VideoError(f"expected pictures of {info.path}, got none; has the file changed since it was read?")


def _even(length: int) -> int:
    return length + length % 2
