"""attention_sheet.png and token_sheet.png of `stvg attend`: where the chosen tokens look, and where each one looks."""

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw

from stvg_core.errors import OutputError
from stvg_core.method.question_maps import QuestionAttentionMaps
from stvg_core.outputs.attention.arrays import shown_token
from stvg_core.outputs.attention.overlay import described
from stvg_core.outputs.report.drawing import INK, MUTED, PAPER, PREDICTION, TimeBar, blend_heat, heat_scale, resize
from stvg_core.outputs.report.lettering import fit, letter, line_height_pixels, write
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

_MAXIMUM_TILES: Final = 20
_TOKEN_COLUMNS: Final = 10
_MAXIMUM_TOKENS: Final = 64
_LABEL_PIXELS: Final = 190
_SMALLEST_SIDE: Final = 24
_TALLEST_TILE: Final = 90


def draw_attention_sheet(reading: QuestionAttentionMaps) -> UInt8[np.ndarray, "height width 3"]:
    """Return the sampled frames under the chosen tokens' attention, with time, share and a bar of the share."""
    frames, info = reading.frames, reading.frames.info
    shown = spread_evenly(len(frames), _MAXIMUM_TILES)
    title = fit(reading.question, TITLE_PIXELS, SHEET_WIDTH - 2 * MARGIN, 2)
    geometry = SheetGeometry.of(len(shown), info.width, info.height, len(title), pictures=1)
    sheet = Image.new("RGB", (geometry.width, geometry.height), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = MARGIN + TITLE_PIXELS
    for line in title:
        write(draw, (MARGIN, y), line, INK, "ls")
        y += line_height_pixels(TITLE_PIXELS)
    count = f"{len(frames)} sampled frames" if len(shown) == len(frames) else f"{len(shown)} of {len(frames)} frames"
    for text in (
        described(reading),
        f"{count}; below each: time, share of the tokens' attention that goes to the frame",
        "colour and opacity grow with attention, on one scale for all frames",
    ):
        for line in fit(text, TEXT_PIXELS, SHEET_WIDTH - 2 * MARGIN):
            write(draw, (MARGIN, y), line, MUTED, "ls")
        y += line_height_pixels(TEXT_PIXELS)
    scale, shares = heat_scale(reading.maps.values), reading.frame_shares
    for tile, sample in enumerate(shown):
        left, top = geometry.corner(tile)
        picture = resize(frames.pixels[sample], geometry.picture_width, geometry.picture_height)
        heated = blend_heat(picture, reading.maps.values[sample], scale)
        sheet.paste(Image.fromarray(heated), (left + (geometry.tile_width - geometry.picture_width) // 2, top))
        right, middle = left + geometry.tile_width, top + geometry.picture_height + 4
        text_y = middle + line_height_pixels(CAPTION_PIXELS) // 2
        write(draw, (left, text_y), letter(f"{frames.seconds[sample]:.2f} s", CAPTION_PIXELS), INK, "lm")
        write(draw, (right, text_y), letter(f"{100 * shares[sample]:.2g} %", CAPTION_PIXELS), INK, "rm")
        bar_top = top + geometry.tile_height - BAR_PIXELS
        bar = TimeBar(left, right - 1, bar_top, BAR_PIXELS, 0.0, max(float(shares.max()), 1e-12))
        bar.rail(draw)
        bar.band(draw, (0.0, float(shares[sample])), PREDICTION)
    return np.array(sheet)


def draw_token_sheet(reading: QuestionAttentionMaps) -> UInt8[np.ndarray, "height width 3"]:
    """Return a row per prompt token and a column per sampled frame; each row on a scale of its own."""
    frames, info = reading.frames, reading.frames.info
    columns = spread_evenly(len(frames), _TOKEN_COLUMNS)
    tokens = range(min(len(reading.tokens), _MAXIMUM_TOKENS))
    room = (SHEET_WIDTH - 2 * MARGIN - _LABEL_PIXELS) // len(columns) - 2
    scale = min(room / info.width, _TALLEST_TILE / info.height)
    width, height = (max(_SMALLEST_SIDE, round(side * scale)) for side in (info.width, info.height))
    head = 2 * MARGIN + line_height_pixels(TITLE_PIXELS) + line_height_pixels(TEXT_PIXELS)
    row_height = max(height, 2 * line_height_pixels(CAPTION_PIXELS)) + 2
    below = line_height_pixels(CAPTION_PIXELS) + MARGIN
    sheet = Image.new("RGB", (SHEET_WIDTH, head + len(tokens) * row_height + below), PAPER)
    draw = ImageDraw.Draw(sheet)
    for line in fit(reading.question, TITLE_PIXELS, SHEET_WIDTH - 2 * MARGIN):
        write(draw, (MARGIN, MARGIN + TITLE_PIXELS), line, INK, "ls")
    left_out = len(reading.tokens) - len(tokens)
    what = (
        "where each token of the prompt looks, each row on its own scale; share of its attention that goes to the video"
    )
    more = f"; {left_out} further tokens are in attention.npz" if left_out else ""
    for line in fit(what + more, TEXT_PIXELS, SHEET_WIDTH - 2 * MARGIN):
        write(draw, (MARGIN, MARGIN + 2 * line_height_pixels(TITLE_PIXELS) - GAP), line, MUTED, "ls")
    pictures = [resize(frames.pixels[sample], width, height) for sample in columns]
    shares = reading.token_shares
    for row, place in enumerate(tokens):
        maps = _maps_of(reading, place)
        own_scale, top = heat_scale(maps), head + row * row_height
        color = PREDICTION if place in reading.chosen else INK
        (line,) = fit(f"{place}  {shown_token(reading.tokens[place])}", CAPTION_PIXELS, _LABEL_PIXELS - GAP) or (
            letter(str(place), CAPTION_PIXELS),
        )
        write(draw, (MARGIN, top + line_height_pixels(CAPTION_PIXELS) // 2), line, color, "lm")
        share = letter(f"{reading.tokens[place].kind}, {100 * shares[place]:.2g} %", CAPTION_PIXELS - 1)
        write(draw, (MARGIN, top + 3 * line_height_pixels(CAPTION_PIXELS) // 2), share, MUTED, "lm")
        for column, sample in enumerate(columns):
            heated = blend_heat(pictures[column], maps[sample], own_scale)
            sheet.paste(Image.fromarray(heated), (MARGIN + _LABEL_PIXELS + column * (width + 2), top))
    for column, sample in enumerate(columns):
        at = MARGIN + _LABEL_PIXELS + column * (width + 2)
        y = head + len(tokens) * row_height + line_height_pixels(CAPTION_PIXELS) // 2
        write(draw, (at, y), letter(f"{frames.seconds[sample]:.2f} s", CAPTION_PIXELS), MUTED, "lm")
    return np.array(sheet)


def write_sheets(folder: Path, reading: QuestionAttentionMaps) -> tuple[str, ...]:
    """Write both sheets as PNG and return their names.

    Raises:
        OutputError: a file cannot be written.
    """
    names = ("attention_sheet.png", "token_sheet.png")
    for name, draw in zip(names, (draw_attention_sheet, draw_token_sheet), strict=True):
        try:
            Image.fromarray(draw(reading)).save(folder / name, format="PNG", compress_level=3)
        except OSError as error:
            raise OutputError(f"cannot write {folder / name}: {error}; choose another folder with --out") from error
    return names


def _maps_of(reading: QuestionAttentionMaps, place: int) -> Float64[np.ndarray, "frame row column"]:
    """Return one token's row as a map per sampled frame."""
    by_step = reading.shown_rows[place].astype(np.float64).reshape(reading.layout.shape)
    return np.asarray(by_step[list(reading.layout.time_step_of_frame)])
