"""contact_sheet.png: the frames that the model saw and where it looked, on one page.

One tile per sampled frame: the frame under the attribute branch's attention, below it the same under the action
branch's, the chosen track's box (thick inside the span), the frame's time and score. `TileSheet` serves the sheet of
`stvg attend` as well.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from stvg_core.outputs.report.drawing import (
    INK,
    MUTED,
    PAPER,
    PREDICTION,
    RAIL,
    Color,
    RgbImage,
    TimeBar,
    blend_heat,
    draw_box,
    fit_text,
    heat_colors,
    heat_scale,
    line_height_pixels,
    resize,
    text_width_pixels,
    write_text,
)
from stvg_core.outputs.report.kept_maps import BRANCH_NAMES
from stvg_core.values import FrameMaps, Grounding, VideoInfo

MAXIMUM_TILES = 20
SHEET_WIDTH = 1280
MARGIN = 20
GAP = 10
TITLE_PIXELS = 22
TEXT_PIXELS = 15
CAPTION_PIXELS = 13
BAR_PIXELS = 6

_CAPTION_HEIGHT = line_height_pixels(CAPTION_PIXELS) + BAR_PIXELS + 6
_TARGET_HEIGHT = 1500
_LARGEST_IMAGE_SIDE = 320
_LARGEST_COLUMN_COUNT = 10
_SMALLEST_TILE_WIDTH = 100
_SMALLEST_IMAGE_SIDE = 24
_TAG_PIXELS = 12
_THICK_PIXELS = 4
_THIN_PIXELS = 1
_RAMP_WIDTH = 110
_LEGEND_WIDTH = _RAMP_WIDTH + 160


def spread_evenly(frame_count: int, maximum_tiles: int) -> list[int]:
    """Return at most `maximum_tiles` frames, spread evenly, with the first and the last.

    >>> spread_evenly(9, 3)
    [0, 4, 8]
    """
    count = min(frame_count, max(1, maximum_tiles))
    return [int(sample) for sample in np.linspace(0, frame_count - 1, count).round()]


class TileSheet:
    """A page with a title and one tile per sampled frame; large tiles, on a page of bounded height.

    Attributes:
        columns: tiles beside each other.
        rows: tiles below each other.
        tile_width: pixels, as all that follow.
        tile_height: of images and caption.
        image_width: of one image, centred in the tile's width.
        image_height: of one image.
        header_height: from the top to the first tile.
        height: of the page.
        image: the page.
        draw: draws on it.
        header_y: baseline of the next line of the header.

    >>> sheet = TileSheet("a man runs", 20, VideoInfo("a.mp4", 640, 360, 8.0, 1.0, np.zeros(1)), 2)
    >>> sheet.columns, sheet.rows, sheet.image_width, sheet.image_height
    (5, 4, 240, 135)
    """

    def __init__(self, title: str, tile_count: int, info: VideoInfo, images_per_tile: int) -> None:
        """Draw the title.

        Args:
            title: any text; shortened to two lines.
            tile_count: sampled frames that are shown.
            info: the video.
            images_per_tile: below each other.
        """
        lines = fit_text(title, TITLE_PIXELS, SHEET_WIDTH - 2 * MARGIN, 2)
        self.header_height = MARGIN + len(lines) * line_height_pixels(TITLE_PIXELS) + 3 * GAP
        self.header_height += 4 * line_height_pixels(TEXT_PIXELS)
        for columns in range(1, _LARGEST_COLUMN_COUNT + 1):
            self._lay_out(columns, tile_count, info, images_per_tile)
            # No room for one more column, or no tile to put there.
            used_width = (self.columns + 1) * (self.tile_width + GAP)
            filled = self.rows == 1 or used_width > SHEET_WIDTH - 2 * MARGIN
            if filled and self.height <= _TARGET_HEIGHT:
                break
        self.image = Image.new("RGB", (SHEET_WIDTH, self.height), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.header_y = MARGIN + TITLE_PIXELS
        for line in lines:
            write_text(self.draw, (MARGIN, self.header_y), line, TITLE_PIXELS, INK, "ls")
            self.header_y += line_height_pixels(TITLE_PIXELS)

    def _lay_out(self, columns: int, tile_count: int, info: VideoInfo, images_per_tile: int) -> None:
        """Compute all sizes for a number of columns."""
        tile_width = (SHEET_WIDTH - 2 * MARGIN + GAP) // columns - GAP
        scale = min(tile_width / info.width, _LARGEST_IMAGE_SIDE / max(info.width, info.height))
        self.image_width = max(_SMALLEST_IMAGE_SIDE, round(info.width * scale))
        self.image_height = max(_SMALLEST_IMAGE_SIDE, round(info.height * scale))
        self.columns, self.rows = min(columns, tile_count), -(-tile_count // columns)
        self.tile_width = min(tile_width, max(self.image_width, _SMALLEST_TILE_WIDTH))
        self.tile_height = images_per_tile * (self.image_height + 2) - 2 + _CAPTION_HEIGHT
        self.height = self.header_height + self.rows * (self.tile_height + 2 * GAP) - 2 * GAP + MARGIN

    def corner(self, tile: int) -> tuple[int, int]:
        """Return x and y of a tile's upper left corner."""
        row, column = divmod(tile, self.columns)
        return MARGIN + column * (self.tile_width + GAP), self.header_height + row * (self.tile_height + 2 * GAP)

    def write_line(self, left: int, text: str, width_pixels: int, color: Color) -> None:
        """Write a line of the header, shortened to a width; `header_y` stays."""
        for line in fit_text(text, TEXT_PIXELS, width_pixels):
            write_text(self.draw, (left, self.header_y), line, TEXT_PIXELS, color, "ls")

    def draw_tile(
        self,
        place: int,
        images: Sequence[RgbImage],
        caption: tuple[str, str],
        level: float,
        level_range: tuple[float, float],
        *,
        highlighted: bool = True,
    ) -> None:
        """Draw a tile.

        Args:
            place: 0-based, row by row.
            images: below each other, of the sheet's image size.
            caption: on the left and on the right below the images.
            level: of the bar below the caption.
            level_range: levels at the two ends of its bar.
            highlighted: caption and bar stand out.
        """
        left, top = self.corner(place)
        right, image_left = left + self.tile_width, left + (self.tile_width - self.image_width) // 2
        for row, image in enumerate(images):
            corner = (image_left, top + row * (self.image_height + 2))
            self.image.paste(Image.fromarray(image), corner)
            if len(images) > 1 and place % self.columns == 0:
                self._draw_tag(corner, BRANCH_NAMES[row])
        middle = top + self.tile_height - _CAPTION_HEIGHT + 4 + line_height_pixels(CAPTION_PIXELS) // 2
        color: Color = INK if highlighted else MUTED
        write_text(self.draw, (left, middle), caption[0], CAPTION_PIXELS, color)
        write_text(self.draw, (right, middle), caption[1], CAPTION_PIXELS, color, "rm")
        bar = TimeBar(left, right - 1, top + self.tile_height - BAR_PIXELS, BAR_PIXELS, *level_range)
        bar.rail(self.draw)
        bar.band(self.draw, (level_range[0], level), PREDICTION if highlighted else MUTED)

    def _draw_tag(self, corner_xy: tuple[int, int], text: str) -> None:
        """Name a branch in the corner of its image."""
        left, top = corner_xy
        height = line_height_pixels(_TAG_PIXELS)
        right = left + text_width_pixels(text, _TAG_PIXELS) + 7
        self.draw.rectangle((left, top, right, top + height), fill=PAPER)
        write_text(self.draw, (left + 4, top + height // 2), text, _TAG_PIXELS, MUTED)


def draw_contact_sheet(grounding: Grounding, *, maximum_tiles: int = MAXIMUM_TILES) -> RgbImage:
    """Return the contact sheet as an RGB image.

    Args:
        grounding: what to show.
        maximum_tiles: more sampled frames than this are thinned evenly.
    """
    frames, tube = grounding.frames, grounding.tube
    shown = spread_evenly(len(frames), maximum_tiles)
    branches = (grounding.spatial_maps, grounding.temporal_maps)
    sheet = TileSheet(grounding.sub_queries.text, len(shown), frames.info, len(branches))
    _draw_header(sheet, grounding, len(shown))
    scales = [heat_scale(maps.values) for maps in branches]
    scores = grounding.frame_scores
    low, high = min(0.0, float(scores.min())), float(scores.max())
    for place, sample in enumerate(shown):
        inside = tube.start_frame <= int(frames.indices[sample]) <= tube.end_frame
        images = [
            _draw_image(grounding, sample, maps, scale, sheet, inside)
            for maps, scale in zip(branches, scales, strict=True)
        ]
        score = float(scores[sample])
        caption = (f"{frames.seconds[sample]:.2f} s", _number(score))
        level_range = (low, high if high > low else low + 1.0)
        sheet.draw_tile(place, images, caption, score, level_range, highlighted=inside)
    return np.array(sheet.image)


def _draw_image(
    grounding: Grounding, sample: int, maps: FrameMaps, scale: tuple[float, float], sheet: TileSheet, inside: bool
) -> RgbImage:
    """Return a sampled frame under a branch's heat, with the tube's box inside the span and the track's outside."""
    info, frame = grounding.frames.info, grounding.frames.indices[sample]
    image = resize(grounding.frames.pixels[sample], sheet.image_width, sheet.image_height)
    image = blend_heat(image, maps.values[sample], scale)
    boxes, exists = grounding.tracks[grounding.chosen_track].boxes_at(np.array([frame]))
    if inside:
        boxes = grounding.tube.boxes_xyxy[int(frame) - grounding.tube.start_frame][None]
    if inside or exists[0]:
        enlarged = np.array([sheet.image_width / info.width, sheet.image_height / info.height])
        draw_box(image, boxes[0] * np.tile(enlarged, 2), PREDICTION, _THICK_PIXELS if inside else _THIN_PIXELS)
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
        sheet.write_line(MARGIN, name, label_width, MUTED)
        sheet.write_line(MARGIN + label_width, text, legend_left - MARGIN - label_width - GAP, color)
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
