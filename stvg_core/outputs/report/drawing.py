"""Drawing primitives of all output images and videos: colours, text, boxes, heat maps, the time bar.

Images are RGB arrays, changed in place. Knows no video and no model.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

from stvg_core.outputs.report.staging import own_errors
from stvg_core.outputs.report.text import clean_text

Color = tuple[int, int, int]
RgbImage = UInt8[np.ndarray, "height width 3"]
ResizedImage = UInt8[np.ndarray, "new_height new_width 3"]

# Prediction and truth: Okabe & Ito's sky blue and orange (jfly.uni-koeln.de/color), told apart
# with every common colour blindness; the truth is dashed as well.
PREDICTION: Color = (86, 180, 233)
TRUTH: Color = (230, 159, 0)
INK: Color = (240, 240, 242)
MUTED: Color = (158, 163, 172)
RAIL: Color = (66, 70, 79)
PAPER: Color = (24, 26, 31)
CASING: Color = (0, 0, 0)

_HEAT_OPACITY = 0.72
_DASH_WIDTHS = 4
_HEAT_TOP_PERCENTILE = 99.5
_LONGEST_LINE = 300
_PNG_LEVEL = 3  # a third of the time of the default level, for some more bytes
_ASCII_MARKS = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-"}
)


@dataclass(frozen=True)
class TimeBar:
    """A time axis inside an image.

    Attributes:
        left: x of start_seconds in pixels.
        right: x of end_seconds in pixels.
        top: y of the bar's upper edge.
        height: pixels.
    """

    left: int
    right: int
    top: int
    height: int
    start_seconds: float
    end_seconds: float

    def x(self, seconds: float) -> int:
        """Return the pixel column of a time, inside the bar.

        >>> TimeBar(10, 110, 0, 8, 0.0, 2.0).x(0.5)
        35
        """
        length = max(self.end_seconds - self.start_seconds, 1e-9)
        share = min(1.0, max(0.0, (seconds - self.start_seconds) / length))
        return self.left + round(share * (self.right - self.left))

    def band(self, draw: ImageDraw.ImageDraw, span_seconds: tuple[float, float], color: Color) -> None:
        """Fill the bar between two times; short spans stay visible."""
        left, right = (self.x(seconds) for seconds in span_seconds)
        draw.rectangle((left, self.top, max(right, left + 2), self.top + self.height - 1), fill=color)

    def rail(self, draw: ImageDraw.ImageDraw) -> None:
        """Fill the whole bar with its empty colour."""
        self.band(draw, (self.start_seconds, self.end_seconds), RAIL)


def draw_box(
    image: RgbImage,
    box_xyxy: Float[np.ndarray, "4"],
    color: Color,
    line_pixels: int,
    *,
    dashed: bool = False,
) -> None:
    """Draw a rectangle's outline, centred on the box's edge, with a dark casing; parts outside are cut.

    Args:
        image: changed in place.
        box_xyxy: in pixels of this image.
        color: of the line; the casing is black, so that the line shows on any background.
        line_pixels: width of the line without casing.
        dashed: leave gaps.
    """
    # Clipped one line outside the image: corners far away must not overflow, and must stay out of sight.
    height, width = image.shape[:2]
    limits = np.array([width, height, width, height], np.float64) + 2 * line_pixels
    corners = np.rint(np.clip(box_xyxy, -2 * line_pixels, limits)).astype(np.int64)
    casing_pixels = max(1, line_pixels // 3)
    dash_pixels = _DASH_WIDTHS * line_pixels if dashed else 0
    strokes = _strokes_of_outline(corners, line_pixels, dash_pixels)
    for grown, stroke_color in ((casing_pixels, CASING), (0, color)):
        for left, top, right, bottom in strokes:
            rows = slice(max(top - grown, 0), max(bottom + grown, 0))
            image[rows, max(left - grown, 0) : max(right + grown, 0)] = stroke_color


def heat_scale(maps: Float64[np.ndarray, "frame row column"]) -> tuple[float, float]:
    """Return the attention that is drawn as nothing and as full heat, for all frames alike.

    The median is nothing: attention is peaked, most cells hold little. A few extreme cells do
    not hide the others: full heat is the 99.5th percentile.
    """
    low, high = np.percentile(maps, (50.0, _HEAT_TOP_PERCENTILE))
    return float(low), float(max(high, low + 1e-12))


def blend_heat(
    image: RgbImage,
    heat: Float64[np.ndarray, "row column"],
    scale: tuple[float, float],
) -> RgbImage:
    """Return an image under a heat map: colour (inferno) and opacity both grow with attention."""
    low, high = scale
    height, width = image.shape[:2]
    level = np.clip((heat - low) / (high - low), 0.0, 1.0).astype(np.float32)
    level = np.clip(cv2.resize(level, (width, height), interpolation=cv2.INTER_CUBIC), 0.0, 1.0)
    opacity = (_HEAT_OPACITY * level)[..., None]
    # A paler, darker image keeps its content readable and leaves strong colour to the heat.
    grey = image.mean(axis=-1, keepdims=True)
    base = 0.8 * (0.6 * image + 0.4 * grey)
    blended: RgbImage = np.rint(base + opacity * (heat_colors(level) - base)).astype(np.uint8)
    return blended


def heat_colors(level: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width 3"]:
    """Return colours of levels 0..1: inferno, perceptually uniform."""
    indexed = np.rint(255 * level).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(indexed, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    as_float: Float[np.ndarray, "height width 3"] = colors.astype(np.float32)
    return as_float


def resize(image: RgbImage, width: int, height: int) -> ResizedImage:
    """Return an image at another size: averaged where it shrinks, smooth where it grows."""
    if image.shape[:2] == (height, width):
        return image.copy()
    shrinks = width * height < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: ResizedImage = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method).astype(
        np.uint8, copy=False
    )
    return resized


def _strokes_of_outline(
    corners: Int64[np.ndarray, "4"], line_pixels: int, dash_pixels: int
) -> list[tuple[int, int, int, int]]:
    """Return the rectangles (left, top, right, bottom) that make up an outline; the ends are exclusive."""
    x0, y0, x1, y1 = (int(corner) - line_pixels // 2 for corner in corners)
    across, down = _dashes(x0, x1 + line_pixels, dash_pixels), _dashes(y0, y1 + line_pixels, dash_pixels)
    return [
        *((left, y, right, y + line_pixels) for y in (y0, y1) for left, right in across),
        *((x, top, x + line_pixels, bottom) for x in (x0, x1) for top, bottom in down),
    ]


def _dashes(start: int, stop: int, dash_pixels: int) -> list[tuple[int, int]]:
    """Return the drawn parts of a line."""
    if dash_pixels == 0:
        return [(start, stop)]
    return [(at, min(at + dash_pixels, stop)) for at in range(start, stop, 2 * dash_pixels)]


def printable(text: str) -> str:
    r"""Return text as Pillow's bundled font, which holds ASCII alone, can write it.

    Accents are dropped; characters of other scripts are counted. HTML and JSON hold the text as it is.

    >>> printable("the caf\u00e9\n \u4eba\u5728 \u8d70 slowly")
    'the cafe [3 non-Latin characters] slowly'
    """
    line = unicodedata.normalize("NFKD", clean_text(text, _LONGEST_LINE).translate(_ASCII_MARKS))
    visible = "".join(character for character in line if unicodedata.category(character)[0] not in "MC")
    named = re.sub(r"[^\x00-\x7f]+(?:\s+[^\x00-\x7f]+)*", _count_characters, visible)
    return " ".join(named.split())


def _count_characters(match: re.Match[str]) -> str:
    count = len("".join(match[0].split()))
    return f" [{count} non-Latin character{'' if count == 1 else 's'}] "


def text_width_pixels(text: str, size_pixels: int) -> int:
    """Return the width of a printable line."""
    return round(_font(size_pixels).getlength(text))


def line_height_pixels(size_pixels: int) -> int:
    """Return the distance between two lines of a font size."""
    return round(1.35 * size_pixels)


def fit_text(text: str, size_pixels: int, width_pixels: int, line_count: int = 1) -> tuple[str, ...]:
    """Return text as at most line_count printable lines that fit a width; a text that is too long ends in "...".

    >>> fit_text("the man in blue walks to the sofa", 16, 130, 2)
    ('the man in blue', 'walks to the sofa')
    """
    rest = printable(text)
    lines: list[str] = []
    while rest and len(lines) < line_count:
        ending = "..." if len(lines) + 1 == line_count else ""
        cut = len(rest)
        if text_width_pixels(rest, size_pixels) > width_pixels:
            # A line shows something even where not one character fits; the image cuts it.
            lengths = range(len(rest), 1, -1)
            cut = next((n for n in lengths if text_width_pixels(rest[:n] + ending, size_pixels) <= width_pixels), 1)
            space = rest.rfind(" ", 0, cut + 1)
            cut = space if space > (cut // 2 if ending else 0) else cut
            lines.append(rest[:cut].rstrip() + ending)
        else:
            lines.append(rest)
        rest = rest[cut:].lstrip()
    return tuple(lines)


def write_text(
    draw: ImageDraw.ImageDraw, at_xy: tuple[int, int], text: str, size_pixels: int, color: Color, anchor: str = "lm"
) -> None:
    """Write a printable line; anchor as in Pillow ("lm": at_xy is the middle of the left end)."""
    draw.text(at_xy, text, font=_font(size_pixels), fill=color, anchor=anchor)


def save_png(path: Path, image: RgbImage) -> None:
    """Write an RGB image as PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    with own_errors(path):
        Image.fromarray(image).save(path, format="PNG", compress_level=_PNG_LEVEL)


@lru_cache(maxsize=64)
def _font(size_pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_pixels)
