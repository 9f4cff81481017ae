"""contact_sheet.png: what the model saw and where it looked, on one page.

One tile per sampled frame: the picture under the attribute branch's attention, below it the
same under the action branch's, the chosen track's box (thick inside the span), the frame's
time and score. Knows no model and reads no video.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from stvg_core.errors import OutputError
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
    heat_colors,
    heat_scale,
    resize,
)
from stvg_core.outputs.report.lettering import Lettering, fit, letter, line_height_pixels, write
from stvg_core.outputs.report.sheet_geometry import (
    BAR_PIXELS,
    CAPTION_PIXELS,
    GAP,
    MARGIN,
    SHEET_WIDTH,
    TEXT_PIXELS,
    TITLE_PIXELS,
    SheetGeometry,
    spread_evenly,
)
from stvg_core.values import FrameMaps, Grounding

MAXIMUM_TILES = 20

_TAG_PIXELS = 12
_PNG_LEVEL = 3  # a third of the time of the usual level, for some more bytes
_THICK_PIXELS = 4
_THIN_PIXELS = 1
_RAMP_WIDTH = 110
_BRANCH_NAMES = ("attribute", "action")
_LEGEND_WIDTH = _RAMP_WIDTH + 160


def draw_contact_sheet(
    grounding: Grounding, *, maximum_tiles: int = MAXIMUM_TILES
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the contact sheet as an RGB picture.

    Args:
        grounding: what was found.
        maximum_tiles: more sampled frames than this are thinned evenly.
    """
    shown = spread_evenly(len(grounding.frames), maximum_tiles)
    info = grounding.frames.info
    title = fit(grounding.sub_queries.text, TITLE_PIXELS, SHEET_WIDTH - 2 * MARGIN, 2)
    geometry = SheetGeometry.of(len(shown), info.width, info.height, len(title))
    sheet = Image.new("RGB", (geometry.width, geometry.height), PAPER)
    _draw_header(sheet, grounding, title, len(shown))
    branches = (grounding.spatial_maps, grounding.temporal_maps)
    scales = tuple(heat_scale(maps.values) for maps in branches)
    for tile, sample in enumerate(shown):
        left, top = geometry.corner(tile)
        left_of_picture = left + (geometry.tile_width - geometry.picture_width) // 2
        for row, (maps, scale) in enumerate(zip(branches, scales, strict=True)):
            picture = _picture(grounding, sample, maps, scale, geometry)
            corner = (left_of_picture, top + row * (geometry.picture_height + 2))
            sheet.paste(Image.fromarray(picture), corner)
            if tile % geometry.columns == 0:
                _draw_tag(ImageDraw.Draw(sheet), corner, _BRANCH_NAMES[row])
        _draw_caption(ImageDraw.Draw(sheet), grounding, sample, geometry, (left, top))
    return np.array(sheet)


def write_contact_sheet(path: Path, grounding: Grounding, *, maximum_tiles: int = MAXIMUM_TILES) -> None:
    """Write the contact sheet as PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    sheet = Image.fromarray(draw_contact_sheet(grounding, maximum_tiles=maximum_tiles))
    try:
        sheet.save(path, format="PNG", compress_level=_PNG_LEVEL)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}; choose another folder with --out") from error


def _is_inside(grounding: Grounding, sample: int) -> bool:
    return grounding.tube.start_frame <= int(grounding.frames.indices[sample]) <= grounding.tube.end_frame


def _picture(
    grounding: Grounding, sample: int, maps: FrameMaps, scale: tuple[float, float], geometry: SheetGeometry
) -> UInt8[np.ndarray, "height width 3"]:
    info, frame = grounding.frames.info, grounding.frames.indices[sample]
    picture = resize(grounding.frames.pixels[sample], geometry.picture_width, geometry.picture_height)
    picture = blend_heat(picture, maps.values[sample], scale)
    boxes, exists = grounding.tracks[grounding.chosen_track].boxes_at(np.array([frame]))
    inside = _is_inside(grounding, sample)
    if inside:
        boxes = grounding.tube.boxes_xyxy[int(frame) - grounding.tube.start_frame][None]
    if inside or exists[0]:
        across, down = geometry.picture_width / info.width, geometry.picture_height / info.height
        box = boxes[0] * np.array([across, down, across, down])
        draw_box(picture, box, PREDICTION, _THICK_PIXELS if inside else _THIN_PIXELS)
    return picture


def _draw_tag(draw: ImageDraw.ImageDraw, corner_xy: tuple[int, int], text: str) -> None:
    """Name a branch in the corner of its picture."""
    left, top = corner_xy
    words = letter(text, _TAG_PIXELS)
    draw.rectangle((left, top, left + words.width_pixels + 7, top + line_height_pixels(_TAG_PIXELS)), fill=PAPER)
    write(draw, (left + 4, top + line_height_pixels(_TAG_PIXELS) // 2), words, MUTED, "lm")


def _draw_caption(
    draw: ImageDraw.ImageDraw, grounding: Grounding, sample: int, geometry: SheetGeometry, corner_xy: tuple[int, int]
) -> None:
    left, top = corner_xy
    inside = _is_inside(grounding, sample)
    right = left + geometry.tile_width
    text_y = top + 2 * geometry.picture_height + 4 + line_height_pixels(CAPTION_PIXELS) // 2
    time = letter(f"{grounding.frames.seconds[sample]:.2f} s", CAPTION_PIXELS)
    score = letter(_number(float(grounding.frame_scores[sample])), CAPTION_PIXELS)
    write(draw, (left, text_y), time, INK if inside else MUTED, "lm")
    write(draw, (right, text_y), score, INK if inside else MUTED, "rm")
    bar_top = top + geometry.tile_height - BAR_PIXELS
    bar = TimeBar(left, right - 1, bar_top, BAR_PIXELS, *_score_range(grounding))
    bar.rail(draw)
    color: Color = PREDICTION if inside else MUTED
    bar.band(draw, (bar.start_seconds, float(grounding.frame_scores[sample])), color)


def _score_range(grounding: Grounding) -> tuple[float, float]:
    """Return the scores at a bar's two ends: zero or less, and the best."""
    low, high = min(0.0, float(grounding.frame_scores.min())), float(grounding.frame_scores.max())
    return low, high if high > low else low + 1.0


def _draw_header(sheet: Image.Image, grounding: Grounding, title: tuple[Lettering, ...], tile_count: int) -> None:
    draw = ImageDraw.Draw(sheet)
    sub_queries, tube, info = grounding.sub_queries, grounding.tube, grounding.frames.info
    y = MARGIN + TITLE_PIXELS
    for line in title:
        write(draw, (MARGIN, y), line, INK, "ls")
        y += line_height_pixels(TITLE_PIXELS)
    legend_left = SHEET_WIDTH - MARGIN - _LEGEND_WIDTH
    _draw_legend(sheet, (legend_left, y - TEXT_PIXELS + 2))
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
    label_width = max(letter(name, TEXT_PIXELS).width_pixels for name, _, _ in rows) + 2 * GAP
    for name, text, color in rows:
        write(draw, (MARGIN, y), letter(name, TEXT_PIXELS), MUTED, "ls")
        for line in fit(text, TEXT_PIXELS, legend_left - MARGIN - label_width - GAP):
            write(draw, (MARGIN + label_width, y), line, color, "ls")
        y += line_height_pixels(TEXT_PIXELS)


def _draw_legend(sheet: Image.Image, corner_xy: tuple[int, int]) -> None:
    left, top = corner_xy
    draw = ImageDraw.Draw(sheet)
    height, text_left = line_height_pixels(TEXT_PIXELS), left + _RAMP_WIDTH + GAP
    ramp = np.tile(np.linspace(0, 1, _RAMP_WIDTH), (TEXT_PIXELS, 1))
    sheet.paste(Image.fromarray(heat_colors(ramp).astype(np.uint8)), (left, top))
    middle = top + TEXT_PIXELS // 2
    draw.rectangle(
        (left, top + height + 2, left + _RAMP_WIDTH - 1, top + height + TEXT_PIXELS - 3), PAPER, PREDICTION, 4
    )
    draw.line((left, middle + 2 * height, left + _RAMP_WIDTH - 1, middle + 2 * height), PREDICTION, 1)
    draw.rectangle((left, middle + 3 * height - 3, left + _RAMP_WIDTH - 1, middle + 3 * height + 2), RAIL)
    draw.rectangle((left, middle + 3 * height - 3, left + _RAMP_WIDTH // 2, middle + 3 * height + 2), PREDICTION)
    words = ("attention, low to high", "box inside the span", "track outside the span", "frame score")
    for row, text in enumerate(words):
        write(draw, (text_left, middle + row * height), letter(text, CAPTION_PIXELS), MUTED, "lm")


def _number(value: float) -> str:
    """Return a score in few characters.

    >>> _number(0.91234), _number(0.000012), _number(12345.6)
    ('0.912', '1.20e-05', '1.23e+04')
    """
    return f"{value:#.3g}"
