"""Frames in memory as a video file, so that everything that reads files (trackers, windows, players) works alike."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8

from stvg_core.errors import VideoError

_CODEC = "ffv1"
_CONTAINER = "nut"  # the one that keeps times exactly and takes every codec
_RATE_DENOMINATOR = 1001
_MAXIMUM_RATE = 1000
_RGB_CHANNELS = 3
_VIDEO_AXES = 4


def write_lossless_video(path: Path, frames: UInt8[np.ndarray, "frame height width 3"], fps: float) -> None:
    """Write RGB frames so that `read_frames` returns the same bytes.

    Args:
        path: the file to write.
        frames: RGB, 0..255, in display order.
        fps: frames per second; kept as a fraction with a denominator of at most 1001.

    Raises:
        VideoError: the array is no video, the rate is not possible, or the file cannot be written.
    """
    rate = _checked_rate(fps)
    if frames.ndim != _VIDEO_AXES or frames.shape[-1] != _RGB_CHANNELS or frames.dtype != np.uint8 or 0 in frames.shape:
        raise VideoError(
            f"expected frames as uint8 RGB of shape (frame, height, width, 3), got {frames.dtype} of {frames.shape}; "
            "convert with array.astype('uint8') and move channels last"
        )
    try:
        with av.open(str(path), "w", format=_CONTAINER) as container:
            stream = container.add_stream(_CODEC, rate=rate)
            if not isinstance(stream, VideoStream):
                raise VideoError(f"expected {_CODEC} to encode video, got {type(stream).__name__}; update PyAV")
            stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "bgr0"
            for pixels in frames:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"cannot write {path} from frames in memory: {error}; is the disk full?") from error


@contextmanager
def temporary_video(frames: UInt8[np.ndarray, "frame height width 3"], fps: float) -> Iterator[Path]:
    """Yield a file of the frames that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="stvg-frames-") as folder:
        path = Path(folder) / f"frames.{_CONTAINER}"
        write_lossless_video(path, frames, fps)
        yield path


def _checked_rate(fps: float) -> Fraction:
    try:
        rate = float(fps)
    except (TypeError, ValueError):
        rate = float("nan")
    # No camera is faster, and codecs refuse it; slower is a fraction that the denominator cannot hold.
    if not 1 / _RATE_DENOMINATOR <= rate <= _MAXIMUM_RATE:
        raise VideoError(f"expected fps of 1/{_RATE_DENOMINATOR} to {_MAXIMUM_RATE}, got {fps!r}")
    return Fraction(rate).limit_denominator(_RATE_DENOMINATOR)
