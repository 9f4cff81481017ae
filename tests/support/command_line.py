"""What the command line is given in tests, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stvg_core.devtools.demos import DemoCase

QUERY = "The red circle moves left."
MODEL = "tiny:qwen2-vl"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    error: str


Run = Callable[..., Ran]


def write_video(path: Path, frame_count: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        picture = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
        for _ in range(frame_count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


def a_folder(path: Path, easy: DemoCase) -> Path:
    path.mkdir()
    return path


def a_text(path: Path, easy: DemoCase) -> Path:
    path.write_text("this is no video\n" * 40, encoding="utf-8")
    return path


def nothing(path: Path, easy: DemoCase) -> Path:
    path.touch()
    return path


def a_head(path: Path, easy: DemoCase) -> Path:
    # An mp4 written for streaming keeps its index at the end unless it was moved: half a file has none.
    path.write_bytes(easy.video.read_bytes()[: easy.video.stat().st_size // 2])
    return path


BAD_VIDEOS: dict[str, Callable[[Path, DemoCase], Path]] = {
    "missing": lambda path, easy: path,
    "folder": a_folder,
    "text": a_text,
    "empty": nothing,
    "truncated": a_head,
    "sound": lambda path, easy: write_sound(path),
}
