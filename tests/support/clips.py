"""Small clips whose pictures carry their frame number, so that a decoded picture says which frame it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

COLUMNS, ROWS = 4, 3


def number_picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Draw a frame number: 12 bits as white and black blocks, in raster order."""
    bits = np.array([(number >> bit) & 1 for bit in range(COLUMNS * ROWS)], np.uint8).reshape(ROWS, COLUMNS) * 255
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return np.repeat(bits[rows][:, columns, None], 3, axis=2)


def read_number(picture: np.ndarray) -> int:
    """Read the frame number off a picture of any size."""
    height, width, _ = picture.shape
    number = 0
    for bit in range(COLUMNS * ROWS):
        row, column = divmod(bit, COLUMNS)
        y, x = int((row + 0.5) * height / ROWS), int((column + 0.5) * width / COLUMNS)
        reach_y, reach_x = max(1, height // ROWS // 5), max(1, width // COLUMNS // 5)
        if picture[y - reach_y : y + reach_y, x - reach_x : x + reach_x].mean() > 127:
            number |= 1 << bit
    return number


@dataclass
class Clip:
    """What a test asks of a clip; every field has an ordinary value."""

    name: str = "clip.mp4"
    frame_count: int = 30
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    width: int = 64
    height: int = 48
    rate: Fraction = Fraction(25)
    ticks: Sequence[int] | None = None
    time_base: Fraction | None = None
    options: dict[str, str] = field(default_factory=dict)
    container_format: str | None = None
    container_options: dict[str, str] = field(default_factory=dict)
    sample_aspect_ratio: Fraction | None = None
    clockwise_degrees: int | None = None
    mirrored: bool = False
    with_sound: bool = False
    pictures: Iterable[np.ndarray] | None = None
    picture_format: str = "rgb24"


def write_clip(folder: Path, clip: Clip) -> Path:
    """Write a clip; numbers 1, 2, ... are drawn, so that no picture is all black."""
    path = folder / clip.name
    with av.open(str(path), "w", format=clip.container_format, options=clip.container_options) as container:
        stream = container.add_stream(clip.codec, rate=clip.rate, options=dict(clip.options))
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, clip.pixel_format
        time_base = clip.time_base or 1 / clip.rate
        stream.codec_context.time_base = time_base
        if clip.sample_aspect_ratio:
            stream.codec_context.sample_aspect_ratio = clip.sample_aspect_ratio
        if clip.clockwise_degrees is not None or clip.mirrored:
            stream.set_display_rotation(-(clip.clockwise_degrees or 0), hflip=clip.mirrored)
        if clip.with_sound:
            _write_sound(container, container.add_stream("aac", rate=16000), seconds=1)
        pictures = clip.pictures or (number_picture(n + 1, clip.width, clip.height) for n in range(clip.frame_count))
        for position, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format=clip.picture_format)
            frame.pts = clip.ticks[position] if clip.ticks else position
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream, seconds: int) -> None:
    for position in range(0, 16000 * seconds, 1000):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
        frame.pts, frame.sample_rate, frame.time_base = position, 16000, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@dataclass
class ClipStudio:
    """Writes clips into a folder and reads frame numbers off pictures."""

    folder: Path

    def write(self, **wanted) -> Path:
        return write_clip(self.folder, Clip(**wanted))

    def write_sound(self, name: str) -> Path:
        path = self.folder / name
        with av.open(str(path), "w") as container:
            _write_sound(container, container.add_stream("aac", rate=16000), seconds=1)
        return path

    @staticmethod
    def numbers(pictures: Iterable[np.ndarray]) -> list[int]:
        """Return the source frame that each picture shows."""
        return [read_number(picture) - 1 for picture in pictures]

    picture = staticmethod(number_picture)
