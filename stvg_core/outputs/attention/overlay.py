"""overlay.mp4 of `stvg attend`: the whole video under the heat of attention, the question above.

A frame shows the map of the sampled frame nearest in time: nothing is made up between two maps. Marks in the time bar
stand where the model looked; their height is the frame's share of attention.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import ImageDraw

from stvg_core.method.question_maps import QuestionAttentionMaps
from stvg_core.outputs.report.drawing import INK, MUTED, blend_heat, heat_colors, heat_scale
from stvg_core.outputs.report.encoding import encode_video
from stvg_core.outputs.report.lettering import fit, write
from stvg_core.outputs.report.video_canvas import VideoCanvas, paint_frames

_MARK_PIXELS: Final = 3
_CLOCK_LETTERS: Final = 5


def write_attention_video(
    path: Path, pictures: Iterable[tuple[int, UInt8[np.ndarray, "height width 3"]]], reading: QuestionAttentionMaps
) -> int:
    """Write the video under its attention (H.264, yuv420p) and return its number of frames.

    Args:
        path: the file to write; an existing one is replaced.
        pictures: source frame number and RGB picture as displayed, in display order; taken one at a time.
        reading: what was looked at.

    Raises:
        OutputError: the file cannot be written, or no H.264 encoder is installed.
        VideoError: there are no pictures, or their numbers do not fit the video.
    """
    info = reading.frames.info
    canvas = VideoCanvas(info, reading.question)
    _draw_marks(canvas, reading)
    scale = heat_scale(reading.maps.values)
    nearest = nearest_samples(reading)

    def paint(frame: int, picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "new_height new_width 3"]:
        heat = reading.maps.values[nearest[frame]]
        return canvas.compose(frame, blend_heat(canvas.enlarged(picture), heat, scale))

    geometry = canvas.geometry
    return encode_video(
        path, paint_frames(pictures, info, paint), width=geometry.width, height=geometry.height, fps=info.fps
    )


def nearest_samples(reading: QuestionAttentionMaps) -> list[int]:
    """Return, per source frame, the sampled frame nearest in time; of two equally near the earlier one."""
    seconds = reading.frames.seconds
    return [int(np.abs(seconds - second).argmin()) for second in reading.frames.info.frame_seconds]


def described(reading: QuestionAttentionMaps) -> str:
    """Return whose attention is shown, in a line."""
    count = len(reading.chosen)
    texts = ", ".join(repr(reading.tokens[place].text) for place in reading.chosen[:4])
    whose = f"token {texts}" if count == 1 else f"mean of {count} tokens ({texts}{', ...' if count > 4 else ''})"  # noqa: PLR2004  # as many as are named
    against = "" if reading.mode == "raw" else ", relative to the neutral question"
    first, last = reading.layers[0], reading.layers[-1]
    layers = f"layer {first}" if len(reading.layers) == 1 else f"{len(reading.layers)} layers, {first} to {last}"
    return f"{whose}{against}; {layers}"


def _draw_marks(canvas: VideoCanvas, reading: QuestionAttentionMaps) -> None:
    """Draw a mark where each sampled frame lies, and say below the bar whose attention is shown."""
    draw, bar, geometry = ImageDraw.Draw(canvas.ground), canvas.bar, canvas.geometry
    shares = reading.frame_shares
    highest = max(float(shares.max()), 1e-12)
    for seconds, share in zip(reading.frames.seconds, shares, strict=True):
        x, level = bar.x(float(seconds)), float(share) / highest
        red, green, blue = (int(part) for part in heat_colors(np.full((1, 1), 0.35 + 0.5 * level, np.float32))[0, 0])
        top = bar.top + bar.height - max(2, round(level * bar.height))
        draw.rectangle(
            (x - _MARK_PIXELS // 2, top, x + _MARK_PIXELS // 2, bar.top + bar.height - 1), (red, green, blue)
        )
    room = bar.right - bar.left - _CLOCK_LETTERS * geometry.font_pixels
    for line in fit(described(reading), geometry.font_pixels - 2, room):
        write(draw, (bar.right, canvas.text_y), line, MUTED if room < geometry.width // 2 else INK, "rm")
