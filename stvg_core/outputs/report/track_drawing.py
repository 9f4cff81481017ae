"""Candidate tracks on the video's frames, a sheet (PNG) or a video (MP4): boxes, masks and numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from stvg_core.outputs.report.contact_sheet import spread_evenly
from stvg_core.outputs.report.drawing import (
    CASING,
    INK,
    PAPER,
    Color,
    ResizedImage,
    RgbImage,
    draw_box,
    line_height_pixels,
    printable,
    resize,
    text_width_pixels,
    write_text,
)
from stvg_core.outputs.report.encoding import NumberedImages, encode_frames
from stvg_core.outputs.report.overlay import enlarged_size, line_width_pixels
from stvg_core.outputs.report.text import clean_text
from stvg_core.values import Frames, Track, VideoInfo

# Okabe & Ito's colours, told apart with every common colour blindness; after eight they begin anew, dashed.
COLORS: Final[tuple[Color, ...]] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (200, 200, 200),
)
MAXIMUM_TILES: Final = 12
_MASK_OPACITY: Final = 0.45
_COLUMNS: Final = 4
_TILE_WIDTH: Final = 320
_GAP: Final = 6
_FONT_PIXELS: Final = 14
_LONGEST_LABEL: Final = 24


def draw_tracks(
    image: RgbImage, tracks: Sequence[Track], frame: int, info: VideoInfo, line_pixels: int = 2
) -> RgbImage:
    """Return an image of a frame with every track that exists there: its mask, box and number (from 1).

    Args:
        image: the frame, of any size.
        tracks: candidates; their order gives number and colour.
        frame: source frame number.
        info: the video.
        line_pixels: width of a box's line.
    """
    drawn = image.copy()
    height, width = drawn.shape[:2]
    scale = np.tile(np.array([width / info.width, height / info.height]), 2)
    numbers: list[tuple[int, np.ndarray]] = []
    for index, track in enumerate(tracks):
        boxes, exists = track.boxes_at(np.array([frame]))
        if not exists[0]:
            continue
        color = COLORS[index % len(COLORS)]
        mask = None if track.masks is None else track.masks[int(np.abs(track.frames - frame).argmin())]
        if mask is not None:
            shown = mask.resized(width, height).pixels()
            tinted = (1 - _MASK_OPACITY) * drawn[shown] + _MASK_OPACITY * np.array(color)
            drawn[shown] = np.rint(tinted).astype(np.uint8)
        draw_box(drawn, boxes[0] * scale, color, line_pixels, dashed=index >= len(COLORS))
        numbers.append((index, boxes[0] * scale))
    canvas = Image.fromarray(drawn)
    draw = ImageDraw.Draw(canvas)
    line = line_height_pixels(_FONT_PIXELS)
    for index, box in numbers:
        words = printable(clean_text(f"{index + 1} {tracks[index].label}", _LONGEST_LABEL))
        text_width = text_width_pixels(words, _FONT_PIXELS)
        left = int(np.clip(box[0], 0, max(0, width - text_width - 4)))
        top = int(np.clip(box[1] - line, 0, max(0, height - line)))
        draw.rectangle((left, top, left + text_width + 4, top + line), fill=CASING)
        write_text(draw, (left + 2, top + line // 2), words, _FONT_PIXELS, COLORS[index % len(COLORS)])
    return np.array(canvas)


def draw_track_sheet(frames: Frames, tracks: Sequence[Track]) -> RgbImage:
    """Return sampled frames with their tracks side by side, each with its time; at most twelve of them."""
    info = frames.info
    shown = spread_evenly(len(frames), MAXIMUM_TILES)
    tile_height = max(1, round(_TILE_WIDTH * info.height / info.width))
    step_x, step_y = _TILE_WIDTH + _GAP, tile_height + line_height_pixels(_FONT_PIXELS) + _GAP
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * step_x + _GAP, rows * step_y + _GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, sample in enumerate(shown):
        corner = (_GAP + place % columns * step_x, _GAP + place // columns * step_y)
        image = resize(frames.pixels[sample], _TILE_WIDTH, tile_height)
        frame = int(frames.indices[sample])
        sheet.paste(Image.fromarray(draw_tracks(image, tracks, frame, info)), corner)
        words = f"{float(frames.seconds[sample]):.2f} s, frame {frame}"
        middle = corner[1] + tile_height + line_height_pixels(_FONT_PIXELS) // 2
        write_text(draw, (corner[0], middle), words, _FONT_PIXELS, INK)
    return np.array(sheet)


def write_track_video(path: Path, images: NumberedImages, info: VideoInfo, tracks: Sequence[Track]) -> int:
    """Write the video with its tracks (H.264) and return its number of frames.

    Args:
        path: the file to write; an existing one is replaced.
        images: source frame number and RGB image as displayed, in display order; taken one at a time.
        info: the video they come from.
        tracks: candidates; their order gives number and colour.

    Raises:
        OutputError: the file cannot be written, or no H.264 encoder is installed.
        VideoError: there are no images, or their numbers do not fit the video.
    """
    width, height = enlarged_size(info)
    line_pixels = line_width_pixels(width, height)
    width, height = width + width % 2, height + height % 2

    def paint(frame: int, image: RgbImage) -> ResizedImage:
        return draw_tracks(resize(image, width, height), tracks, frame, info, line_pixels)

    return encode_frames(path, images, info, paint, width, height)
