"""The output folder of `stvg attend`: document, arrays, sheets, video and curves, all of them or nothing.

The curves need matplotlib: pip install 'stvg-core[plots]'. Their numbers are in attention.json with and without it.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageDraw

from stvg_core.method.question_maps import QuestionAttentionMaps
from stvg_core.outputs.attention.arrays import reading_arrays, shown_token, write_arrays
from stvg_core.outputs.attention.document import AttentionDocument
from stvg_core.outputs.report.contact_sheet import (
    CAPTION_PIXELS,
    GAP,
    MARGIN,
    MAXIMUM_TILES,
    SHEET_WIDTH,
    TEXT_PIXELS,
    TITLE_PIXELS,
    TileSheet,
    spread_evenly,
)
from stvg_core.outputs.report.document import write_document
from stvg_core.outputs.report.drawing import (
    INK,
    MUTED,
    PAPER,
    PREDICTION,
    ResizedImage,
    RgbImage,
    blend_heat,
    fit_text,
    heat_colors,
    heat_scale,
    line_height_pixels,
    resize,
    save_png,
    write_text,
)
from stvg_core.outputs.report.encoding import NumberedImages, encode_frames
from stvg_core.outputs.report.overlay import VideoCanvas
from stvg_core.outputs.report.staging import staged_files
from stvg_core.outputs.report.text import clean_text

DOCUMENT_FILE: Final = "attention.json"
ARRAYS_FILE: Final = "attention.npz"
VIDEO_FILE: Final = "attention.mp4"
INSTALL: Final = "pip install 'stvg-core[plots]'"

_TOKEN_COLUMNS: Final = 10
_MAXIMUM_TOKENS: Final = 64
_LABEL_PIXELS: Final = 190
_SMALLEST_SIDE: Final = 24
_TALLEST_TILE: Final = 90
_MARK_PIXELS: Final = 3
_CLOCK_LETTERS: Final = 5
_NAMED_TOKENS: Final = 4
_FIGURE_INCHES: Final = 8.0
_DOTS_PER_INCH: Final = 120
_LONGEST_TITLE: Final = 90
_LONGEST_LABEL: Final = 24
_KIND_COLORS: Final = {"word": "C0", "punctuation": "C1", "role": "C2", "thinking": "C7"}


def write_attention_folder(
    folder: Path,
    reading: QuestionAttentionMaps,
    document: AttentionDocument,
    images: NumberedImages,
) -> tuple[str, ...]:
    """Write the files and return their names; curves are among them where matplotlib is installed.

    Args:
        folder: made where it is missing; other files in it stay.
        reading: what was looked at.
        document: the same as JSON, with model and settings.
        images: source frame number and RGB image as displayed, of the whole video in display order; taken one
            at a time.

    Raises:
        OutputError: the folder is a file or cannot be written to; nothing is left behind.
        VideoError: the images do not fit the video; nothing is left behind.
    """
    with staged_files(folder) as stage:
        write_document(stage / DOCUMENT_FILE, document)
        write_arrays(stage / ARRAYS_FILE, reading_arrays(reading))
        write_attention_video(stage / VIDEO_FILE, images, reading)
        sheets = {"attention_sheet.png": draw_attention_sheet, "token_sheet.png": draw_token_sheet}
        for name, draw in sheets.items():
            save_png(stage / name, draw(reading))
        names = (DOCUMENT_FILE, ARRAYS_FILE, VIDEO_FILE, *sheets)
        try:
            names += draw_curves(reading, stage)
        except ImportError:
            return names
    return names


def draw_attention_sheet(reading: QuestionAttentionMaps) -> RgbImage:
    """Return the sampled frames under the chosen tokens' attention, with time, share and a bar of the share."""
    frames = reading.frames
    shown = spread_evenly(len(frames), MAXIMUM_TILES)
    sheet = TileSheet(reading.question, len(shown), frames.info, 1)
    count = f"{len(frames)} sampled frames" if len(shown) == len(frames) else f"{len(shown)} of {len(frames)} frames"
    for text in (
        _describe(reading),
        f"{count}; below each: time, share of the tokens' attention that goes to the frame",
        "colour and opacity grow with attention, on one scale for all frames",
    ):
        sheet.write_line(MARGIN, text, SHEET_WIDTH - 2 * MARGIN, MUTED)
        sheet.header_y += line_height_pixels(TEXT_PIXELS)
    scale, shares = heat_scale(reading.maps.values), reading.frame_shares
    for place, sample in enumerate(shown):
        image = resize(frames.pixels[sample], sheet.image_width, sheet.image_height)
        image = blend_heat(image, reading.maps.values[sample], scale)
        caption = (f"{frames.seconds[sample]:.2f} s", f"{100 * shares[sample]:.2g} %")
        sheet.draw_tile(place, [image], caption, float(shares[sample]), (0.0, max(float(shares.max()), 1e-12)))
    return np.array(sheet.image)


def draw_token_sheet(reading: QuestionAttentionMaps) -> RgbImage:
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
    for line in fit_text(reading.question, TITLE_PIXELS, SHEET_WIDTH - 2 * MARGIN):
        write_text(draw, (MARGIN, MARGIN + TITLE_PIXELS), line, TITLE_PIXELS, INK, "ls")
    left_out = len(reading.tokens) - len(tokens)
    what = (
        "where each token of the prompt looks, each row on its own scale; share of its attention that goes to the video"
    )
    more = f"; {left_out} further tokens are in attention.npz" if left_out else ""
    for line in fit_text(what + more, TEXT_PIXELS, SHEET_WIDTH - 2 * MARGIN):
        write_text(draw, (MARGIN, MARGIN + 2 * line_height_pixels(TITLE_PIXELS) - GAP), line, TEXT_PIXELS, MUTED, "ls")
    images = [resize(frames.pixels[sample], width, height) for sample in columns]
    shares = reading.token_shares
    for row, place in enumerate(tokens):
        maps = _maps_of(reading, place)
        row_scale, top = heat_scale(maps), head + row * row_height
        color = PREDICTION if place in reading.chosen else INK
        (label,) = fit_text(f"{place}  {shown_token(reading.tokens[place])}", CAPTION_PIXELS, _LABEL_PIXELS - GAP)
        write_text(draw, (MARGIN, top + line_height_pixels(CAPTION_PIXELS) // 2), label, CAPTION_PIXELS, color)
        share = f"{reading.tokens[place].kind}, {100 * shares[place]:.2g} %"
        write_text(draw, (MARGIN, top + 3 * line_height_pixels(CAPTION_PIXELS) // 2), share, CAPTION_PIXELS - 1, MUTED)
        for column, sample in enumerate(columns):
            heated = blend_heat(images[column], maps[sample], row_scale)
            sheet.paste(Image.fromarray(heated), (MARGIN + _LABEL_PIXELS + column * (width + 2), top))
    for column, sample in enumerate(columns):
        at = MARGIN + _LABEL_PIXELS + column * (width + 2)
        y = head + len(tokens) * row_height + line_height_pixels(CAPTION_PIXELS) // 2
        write_text(draw, (at, y), f"{frames.seconds[sample]:.2f} s", CAPTION_PIXELS, MUTED)
    return np.array(sheet)


def _maps_of(reading: QuestionAttentionMaps, place: int) -> Float64[np.ndarray, "frame row column"]:
    """Return one token's row as a map per sampled frame."""
    by_step = reading.shown_rows[place].astype(np.float64).reshape(reading.layout.shape)
    return np.asarray(by_step[list(reading.layout.time_step_of_frame)])


def write_attention_video(path: Path, images: NumberedImages, reading: QuestionAttentionMaps) -> int:
    """Write the video under its attention (H.264, yuv420p) and return its number of frames.

    A frame shows the map of the sampled frame nearest in time: nothing is interpolated between two maps. Marks in the
    time bar stand at the sampled frames; their height is the frame's share of attention.

    Args:
        path: the file to write; an existing one is replaced.
        images: source frame number and RGB image as displayed, in display order; taken one at a time.
        reading: what was looked at.

    Raises:
        OutputError: the file cannot be written, or no H.264 encoder is installed.
        VideoError: there are no images, or their numbers do not fit the video.
    """
    info = reading.frames.info
    canvas = VideoCanvas(info, reading.question)
    _draw_marks(canvas, reading)
    scale = heat_scale(reading.maps.values)
    nearest = nearest_samples(reading)

    def paint(frame: int, image: RgbImage) -> ResizedImage:
        heat = reading.maps.values[nearest[frame]]
        return canvas.compose(frame, blend_heat(canvas.enlarged(image), heat, scale))

    return encode_frames(path, images, info, paint, canvas.width, canvas.height)


def nearest_samples(reading: QuestionAttentionMaps) -> list[int]:
    """Return, per source frame, the sampled frame nearest in time; of two equally near the earlier one."""
    seconds = reading.frames.seconds
    return [int(np.abs(seconds - second).argmin()) for second in reading.frames.info.frame_seconds]


def _describe(reading: QuestionAttentionMaps) -> str:
    """Return whose attention is shown, in a line."""
    count = len(reading.chosen)
    texts = ", ".join(repr(reading.tokens[place].text) for place in reading.chosen[:_NAMED_TOKENS])
    more = ", ..." if count > _NAMED_TOKENS else ""
    whose = f"token {texts}" if count == 1 else f"mean of {count} tokens ({texts}{more})"
    against = "" if reading.mode == "raw" else ", relative to the neutral question"
    first, last = reading.layers[0], reading.layers[-1]
    layers = f"layer {first}" if len(reading.layers) == 1 else f"{len(reading.layers)} layers, {first} to {last}"
    return f"{whose}{against}; {layers}"


def _draw_marks(canvas: VideoCanvas, reading: QuestionAttentionMaps) -> None:
    """Draw a mark where each sampled frame lies, and say below the bar whose attention is shown."""
    draw, bar = ImageDraw.Draw(canvas.ground), canvas.bar
    shares = reading.frame_shares
    highest = max(float(shares.max()), 1e-12)
    for seconds, share in zip(reading.frames.seconds, shares, strict=True):
        x, level = bar.x(float(seconds)), float(share) / highest
        red, green, blue = (int(part) for part in heat_colors(np.full((1, 1), 0.35 + 0.5 * level, np.float32))[0, 0])
        top = bar.top + bar.height - max(2, round(level * bar.height))
        draw.rectangle(
            (x - _MARK_PIXELS // 2, top, x + _MARK_PIXELS // 2, bar.top + bar.height - 1), (red, green, blue)
        )
    room = bar.right - bar.left - _CLOCK_LETTERS * canvas.font_pixels
    size = canvas.font_pixels - 2
    for line in fit_text(_describe(reading), size, room):
        write_text(draw, (bar.right, canvas.text_y), line, size, MUTED if room < canvas.width // 2 else INK, "rm")


def draw_curves(reading: QuestionAttentionMaps, folder: Path) -> tuple[str, ...]:
    """Write frame_curve.png and token_curve.png, and return their names.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    drawers = {"frame_curve.png": _frames, "token_curve.png": _tokens}
    with mpl.rc_context({"text.parse_math": False}):
        for name, draw in drawers.items():
            figure = pyplot.figure(figsize=(_FIGURE_INCHES, _height(reading, name)), layout="constrained")
            draw(reading, figure)
            figure.suptitle(clean_text(reading.question, _LONGEST_TITLE), fontsize="medium")
            figure.savefig(folder / name, dpi=_DOTS_PER_INCH)
            pyplot.close(figure)
    return tuple(drawers)


def _height(reading: QuestionAttentionMaps, name: str) -> float:
    return 4.5 if name == "frame_curve.png" else max(3.0, 1.2 + 0.22 * len(reading.tokens))


def _frames(reading: QuestionAttentionMaps, figure: Any) -> None:  # noqa: ANN401  # matplotlib's
    upper, lower = figure.subplots(2, sharex=True)
    upper.plot(reading.frames.seconds, 100 * reading.frame_shares, marker="o", markersize=3)
    upper.set_ylabel("share of attention, percent")
    lower.plot(reading.frames.seconds, reading.frame_peaks, marker="o", markersize=3, color="C1")
    lower.set_ylabel("peak, relative" if reading.mode == "relative" else "peak, share")
    lower.set_xlabel("seconds")
    for axes in (upper, lower):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)


def _tokens(reading: QuestionAttentionMaps, figure: Any) -> None:  # noqa: ANN401  # matplotlib's
    bars, grid = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))
    places = range(len(reading.tokens))
    colors = [_KIND_COLORS[token.kind] for token in reading.tokens]
    bars.barh(places, 100 * reading.token_shares, color=colors)
    labels = [
        f"{'* ' if place in reading.chosen else ''}{clean_text(shown_token(token), _LONGEST_LABEL)}"
        for place, token in enumerate(reading.tokens)
    ]
    bars.set_yticks(places, labels, fontsize="x-small")
    bars.set_xlabel("share of attention on the video, percent")
    shown = grid.imshow(100 * reading.token_frame_shares, aspect="auto", cmap="inferno", interpolation="nearest")
    grid.set_xlabel("sampled frame (* in the maps)")
    # The image's axis runs down, and the bars share it: the first token stands above.
    figure.colorbar(shown, ax=grid, label="percent of the token's attention")
