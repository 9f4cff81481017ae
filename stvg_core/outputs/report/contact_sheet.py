"""contact_sheet.png: the frames that the model saw and where it looked, on one page.

One tile per sampled frame: the frame under the attribute branch's attention, below it the same under the action
branch's, the chosen track's box (thick inside the span), the frame's time and score. `TileSheet` serves the sheet of
`stvg attend` as well. Knows no model and decodes no video.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from stvg_core.outputs.report.drawing import (
    INK,
    MUTED,
    PAPER,
    PREDICTION,
    RAIL,
    Color,
    TimeBar,
    blend_heat,
    draw_box,
    fit_text,
    heat_colors,
    heat_scale,
    line_height_pixels,
    resize,
    save_png,
    text_width_pixels,
    write_text,
)
from stvg_core.values import FrameMaps, Grounding, VideoInfo

MAXIMUM_TILES = 20
SHEET_WIDTH = 1280
MARGIN = 20
GAP = 10
TITLE_PIXELS = 22
TEXT_PIXELS = 15
CAPTION_PIXELS = 13
BAR_PIXELS = 6

_TARGET_HEIGHT = 1500
_LARGEST_IMAGE_SIDE = 320
_LARGEST_COLUMN_COUNT = 10
_SMALLEST_TILE_WIDTH = 100
_SMALLEST_IMAGE_SIDE = 24
_TAG_PIXELS = 12
_THICK_PIXELS = 4
_THIN_PIXELS = 1
_RAMP_WIDTH = 110
_BRANCH_NAMES = ("attribute", "action")
_LEGEND_WIDTH = _RAMP_WIDTH + 160


@dataclass(frozen=True)
class SheetGeometry:
    """Where things lie on the sheet; all in pixels.

    Attributes:
        columns: tiles beside each other.
        rows: tiles below each other.
        tile_width: of a tile.
        image_width: of one image, centred in the tile's width.
        image_height: of one image.
        header_height: from the top to the first tile.
        images: of a tile, below each other; on a grounding's sheet one per branch.
    """

    columns: int
    rows: int
    tile_width: int
    image_width: int
    image_height: int
    header_height: int
    images: int = 2

    @classmethod
    def of(
        cls, tile_count: int, source_width: int, source_height: int, title_lines: int = 1, images: int = 2
    ) -> "SheetGeometry":
        """Return the geometry for a number of tiles of a video's shape: large tiles, on a sheet of bounded height.

        >>> geometry = SheetGeometry.of(20, 640, 360)
        >>> geometry.columns, geometry.rows, geometry.image_width, geometry.image_height
        (5, 4, 240, 135)
        """
        header_height = MARGIN + title_lines * line_height_pixels(TITLE_PIXELS) + 4 * line_height_pixels(TEXT_PIXELS)
        long_side = max(source_width, source_height)
        for columns in range(1, _LARGEST_COLUMN_COUNT + 1):
            tile_width = (SHEET_WIDTH - 2 * MARGIN + GAP) // columns - GAP
            scale = min(tile_width / source_width, _LARGEST_IMAGE_SIDE / long_side)
            image_width = max(_SMALLEST_IMAGE_SIDE, round(source_width * scale))
            geometry = cls(
                columns=min(columns, tile_count),
                rows=-(-tile_count // columns),
                tile_width=min(tile_width, max(image_width, _SMALLEST_TILE_WIDTH)),
                image_width=image_width,
                image_height=max(_SMALLEST_IMAGE_SIDE, round(source_height * scale)),
                header_height=header_height + 3 * GAP,
                images=images,
            )
            if geometry.is_filled and geometry.height <= _TARGET_HEIGHT:
                break
        return geometry

    @property
    def is_filled(self) -> bool:
        """Whether there is no room for one more column, or no tile to put there."""
        return self.rows == 1 or (self.columns + 1) * (self.tile_width + GAP) > SHEET_WIDTH - 2 * MARGIN

    @property
    def caption_height(self) -> int:
        """Of a tile's lower end: time, score and bar."""
        return line_height_pixels(CAPTION_PIXELS) + BAR_PIXELS + 6

    @property
    def tile_height(self) -> int:
        """Of a tile: its images and the caption."""
        return self.images * (self.image_height + 2) - 2 + self.caption_height

    @property
    def width(self) -> int:
        """Of the sheet: always the same, so that the header can be read."""
        return SHEET_WIDTH

    @property
    def height(self) -> int:
        """Of the sheet."""
        return self.header_height + self.rows * (self.tile_height + 2 * GAP) - 2 * GAP + MARGIN

    def corner(self, tile: int) -> tuple[int, int]:
        """Return x and y of a tile's upper left corner."""
        row, column = divmod(tile, self.columns)
        return MARGIN + column * (self.tile_width + GAP), self.header_height + row * (self.tile_height + 2 * GAP)


def spread_evenly(frame_count: int, maximum_tiles: int) -> list[int]:
    """Return at most `maximum_tiles` frames, spread evenly, with the first and the last.

    >>> spread_evenly(9, 3)
    [0, 4, 8]
    """
    count = min(frame_count, max(1, maximum_tiles))
    return [int(sample) for sample in np.linspace(0, frame_count - 1, count).round()]


@dataclass(frozen=True, eq=False)
class Tile:
    """One sampled frame on a sheet.

    Attributes:
        images: below each other, of the size that the geometry says.
        caption: on the left and on the right below the images.
        level: of the bar below the caption.
        highlighted: caption and bar stand out.
    """

    images: Sequence[UInt8[np.ndarray, "height width 3"]]
    caption: tuple[str, str]
    level: float
    highlighted: bool = True


class TileSheet:
    """A page with a title and one tile per sampled frame."""

    def __init__(self, title: str, tile_count: int, info: VideoInfo, images_per_tile: int) -> None:
        """Draw the title.

        Args:
            title: any text; shortened to two lines.
            tile_count: sampled frames that are shown.
            info: the video.
            images_per_tile: below each other.
        """
        lines = fit_text(title, TITLE_PIXELS, SHEET_WIDTH - 2 * MARGIN, 2)
        self.geometry = SheetGeometry.of(tile_count, info.width, info.height, len(lines), images_per_tile)
        self.image = Image.new("RGB", (self.geometry.width, self.geometry.height), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.header_y = MARGIN + TITLE_PIXELS
        """Baseline of the next line of the header."""
        for line in lines:
            write_text(self.draw, (MARGIN, self.header_y), line, TITLE_PIXELS, INK, "ls")
            self.header_y += line_height_pixels(TITLE_PIXELS)

    def draw_tile(self, place: int, tile: Tile, level_range: tuple[float, float]) -> None:
        """Draw a tile.

        Args:
            place: 0-based, row by row.
            tile: what it shows.
            level_range: levels at the two ends of its bar.
        """
        geometry = self.geometry
        left, top = geometry.corner(place)
        right, image_left = left + geometry.tile_width, left + (geometry.tile_width - geometry.image_width) // 2
        for row, image in enumerate(tile.images):
            corner = (image_left, top + row * (geometry.image_height + 2))
            self.image.paste(Image.fromarray(image), corner)
            if len(tile.images) > 1 and place % geometry.columns == 0:
                self._draw_tag(corner, _BRANCH_NAMES[row])
        middle = top + geometry.tile_height - geometry.caption_height + 4 + line_height_pixels(CAPTION_PIXELS) // 2
        color: Color = INK if tile.highlighted else MUTED
        write_text(self.draw, (left, middle), tile.caption[0], CAPTION_PIXELS, color)
        write_text(self.draw, (right, middle), tile.caption[1], CAPTION_PIXELS, color, "rm")
        bar = TimeBar(left, right - 1, top + geometry.tile_height - BAR_PIXELS, BAR_PIXELS, *level_range)
        bar.rail(self.draw)
        bar.band(self.draw, (level_range[0], tile.level), PREDICTION if tile.highlighted else MUTED)

    def _draw_tag(self, corner_xy: tuple[int, int], text: str) -> None:
        """Name a branch in the corner of its image."""
        left, top = corner_xy
        height = line_height_pixels(_TAG_PIXELS)
        right = left + text_width_pixels(text, _TAG_PIXELS) + 7
        self.draw.rectangle((left, top, right, top + height), fill=PAPER)
        write_text(self.draw, (left + 4, top + height // 2), text, _TAG_PIXELS, MUTED)


def draw_contact_sheet(
    grounding: Grounding, *, maximum_tiles: int = MAXIMUM_TILES
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the contact sheet as an RGB image.

    Args:
        grounding: what to show.
        maximum_tiles: more sampled frames than this are thinned evenly.
    """
    shown = spread_evenly(len(grounding.frames), maximum_tiles)
    branches = (grounding.spatial_maps, grounding.temporal_maps)
    sheet = TileSheet(grounding.sub_queries.text, len(shown), grounding.frames.info, len(branches))
    _draw_header(sheet, grounding, len(shown))
    scales = [heat_scale(maps.values) for maps in branches]
    scores = grounding.frame_scores
    low, high = min(0.0, float(scores.min())), float(scores.max())
    for place, sample in enumerate(shown):
        images = [
            _image(grounding, sample, maps, scale, sheet.geometry) for maps, scale in zip(branches, scales, strict=True)
        ]
        score, inside = float(scores[sample]), _is_inside(grounding, sample)
        caption = (f"{grounding.frames.seconds[sample]:.2f} s", _number(score))
        sheet.draw_tile(place, Tile(images, caption, score, inside), (low, high if high > low else low + 1.0))
    return np.array(sheet.image)


def write_contact_sheet(path: Path, grounding: Grounding, *, maximum_tiles: int = MAXIMUM_TILES) -> None:
    """Write the contact sheet as PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    save_png(path, draw_contact_sheet(grounding, maximum_tiles=maximum_tiles))


def _is_inside(grounding: Grounding, sample: int) -> bool:
    return grounding.tube.start_frame <= int(grounding.frames.indices[sample]) <= grounding.tube.end_frame


def _image(
    grounding: Grounding, sample: int, maps: FrameMaps, scale: tuple[float, float], geometry: SheetGeometry
) -> UInt8[np.ndarray, "height width 3"]:
    info, frame = grounding.frames.info, grounding.frames.indices[sample]
    image = resize(grounding.frames.pixels[sample], geometry.image_width, geometry.image_height)
    image = blend_heat(image, maps.values[sample], scale)
    boxes, exists = grounding.tracks[grounding.chosen_track].boxes_at(np.array([frame]))
    inside = _is_inside(grounding, sample)
    if inside:
        boxes = grounding.tube.boxes_xyxy[int(frame) - grounding.tube.start_frame][None]
    if inside or exists[0]:
        across, down = geometry.image_width / info.width, geometry.image_height / info.height
        box = boxes[0] * np.array([across, down, across, down])
        draw_box(image, box, PREDICTION, _THICK_PIXELS if inside else _THIN_PIXELS)
    return image


def _draw_header(sheet: TileSheet, grounding: Grounding, tile_count: int) -> None:
    sub_queries, tube, info = grounding.sub_queries, grounding.tube, grounding.frames.info
    legend_left = SHEET_WIDTH - MARGIN - _LEGEND_WIDTH
    _draw_legend(sheet, (legend_left, sheet.header_y - TEXT_PIXELS + 2))
    span, best = tube.span, float(grounding.track_scores[grounding.chosen_track])
    count = len(grounding.frames)
    frames = f"{count} sampled frames" if tile_count == count else f"{tile_count} of {count} sampled frames"
    rows: tuple[tuple[str, str, Color], ...] = (
        ("attribute", sub_queries.attribute, INK),
        ("action", sub_queries.action, INK),
        (
            "span",
            f"{span.start_seconds:.2f} to {span.end_seconds:.2f} s of {info.duration_seconds:.2f} s "
            f"(frames {tube.start_frame} to {tube.end_frame})",
            PREDICTION,
        ),
        ("track", f"{grounding.chosen_track + 1} of {len(grounding.tracks)}, score {_number(best)}; {frames}", INK),
    )
    label_width = max(text_width_pixels(name, TEXT_PIXELS) for name, _, _ in rows) + 2 * GAP
    for name, text, color in rows:
        write_text(sheet.draw, (MARGIN, sheet.header_y), name, TEXT_PIXELS, MUTED, "ls")
        for line in fit_text(text, TEXT_PIXELS, legend_left - MARGIN - label_width - GAP):
            write_text(sheet.draw, (MARGIN + label_width, sheet.header_y), line, TEXT_PIXELS, color, "ls")
        sheet.header_y += line_height_pixels(TEXT_PIXELS)


def _draw_legend(sheet: TileSheet, corner_xy: tuple[int, int]) -> None:
    left, top = corner_xy
    draw = sheet.draw
    height, text_left = line_height_pixels(TEXT_PIXELS), left + _RAMP_WIDTH + GAP
    ramp = np.tile(np.linspace(0, 1, _RAMP_WIDTH), (TEXT_PIXELS, 1))
    sheet.image.paste(Image.fromarray(heat_colors(ramp).astype(np.uint8)), (left, top))
    middle = top + TEXT_PIXELS // 2
    draw.rectangle(
        (left, top + height + 2, left + _RAMP_WIDTH - 1, top + height + TEXT_PIXELS - 3), PAPER, PREDICTION, 4
    )
    draw.line((left, middle + 2 * height, left + _RAMP_WIDTH - 1, middle + 2 * height), PREDICTION, 1)
    draw.rectangle((left, middle + 3 * height - 3, left + _RAMP_WIDTH - 1, middle + 3 * height + 2), RAIL)
    draw.rectangle((left, middle + 3 * height - 3, left + _RAMP_WIDTH // 2, middle + 3 * height + 2), PREDICTION)
    words = ("attention, low to high", "box inside the span", "track outside the span", "frame score")
    for row, text in enumerate(words):
        write_text(draw, (text_left, middle + row * height), text, CAPTION_PIXELS, MUTED)


def _number(value: float) -> str:
    """Return a score in few characters.

    >>> _number(0.91234), _number(0.000012), _number(12345.6)
    ('0.912', '1.20e-05', '1.23e+04')
    """
    return f"{value:#.3g}"
