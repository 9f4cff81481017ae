"""Frames with presentation times -> an H.264 file that plays everywhere; one image at a time."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from stvg_core._internal.codecs import H264_ENCODERS, REINSTALL
from stvg_core.errors import OutputError, VideoError
from stvg_core.outputs.report.drawing import ResizedImage, RgbImage
from stvg_core.values import VideoInfo

NumberedImages = Iterable[tuple[int, RgbImage]]
"""Source frame number and image as displayed, in display order; taken one at a time."""
TICKS_PER_SECOND = 90_000
"""Unit of time in the file: divides the frame durations of all common rates, 29.97 among them."""

_TIME_BASE = Fraction(1, TICKS_PER_SECOND)
_BT709 = 1
_LIMITED_RANGE = 1
_KEY_FRAME_EVERY = 48


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """An image and when it is on the screen.

    Attributes:
        pixels: RGB; width and height even and the same for all images of a video.
        start_seconds: presentation time.
        end_seconds: when it leaves the screen.
    """

    pixels: RgbImage
    start_seconds: float
    end_seconds: float


def encode_video(path: Path, images: Iterable[TimedFrame], *, width: int, height: int, fps: float) -> int:
    """Write an MP4 file (H.264, yuv420p, header in front) and return its number of frames.

    Presentation times are rounded to 1/90000 s, whatever the frame rate does; times that fall
    together are moved apart by that. A file that could not be finished is removed.

    Args:
        path: the file to write; an existing one is replaced.
        images: in display order.
        width: pixels, even.
        height: pixels, even.
        fps: mean frames per second; guides the encoder's rate control only.

    Raises:
        OutputError: the file cannot be written, or no H.264 encoder is installed.
    """
    # Edit lists in the movie's unit keep the first image's time, when it is not zero.
    options = {"movflags": "+faststart", "movie_timescale": str(TICKS_PER_SECOND)}
    with contextlib.ExitStack() as undo:
        undo.callback(path.unlink, missing_ok=True)
        try:
            with av.open(str(path.absolute()), "w", format="mp4", options=options) as container:
                count = _encode(container, _add_stream(container, width, height, fps), images)
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                f"cannot write {path}: {error}; is the disk full? choose another folder with --out"
            ) from error
        undo.pop_all()
    return count


def encode_frames(
    path: Path,
    images: NumberedImages,
    info: VideoInfo,
    paint: Callable[[int, RgbImage], ResizedImage],
    width: int,
    height: int,
) -> int:
    """Write a video of what `paint` makes of every image, with the presentation times; return its number of frames.

    Raises:
        OutputError: the file cannot be written, or no H.264 encoder is installed.
        VideoError: there are no images, or their numbers do not fit the video.
    """

    def painted() -> Iterator[TimedFrame]:
        last_frame = -1
        for frame, image in images:
            if not last_frame < frame < info.frame_count:
                raise VideoError(
                    f"expected frames in order and below {info.frame_count} in {info.path}, got {frame} after "
                    f"{last_frame}; has the file changed since it was read?"
                )
            last_frame = frame
            yield TimedFrame(paint(frame, image), float(info.frame_seconds[frame]), info.frame_end_seconds(frame))
        if last_frame < 0:
            raise VideoError(f"expected images of {info.path}, got none; has the file changed since it was read?")

    return encode_video(path, painted(), width=width, height=height, fps=info.fps)


def _encode(container: OutputContainer, stream: VideoStream, images: Iterable[TimedFrame]) -> int:
    tick_durations: dict[int, int] = {}
    count, last_tick = 0, None
    for image in images:
        tick = round(image.start_seconds * TICKS_PER_SECOND)
        if last_tick is not None:
            tick = max(last_tick + 1, tick)
        tick_durations[tick] = max(1, round(image.end_seconds * TICKS_PER_SECOND) - tick)
        frame = av.VideoFrame.from_ndarray(image.pixels, format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = tick, _TIME_BASE
        _write_packets(container, stream, frame, tick_durations)
        count, last_tick = count + 1, tick
    _write_packets(container, stream, None, tick_durations)
    return count


def _write_packets(
    container: OutputContainer, stream: VideoStream, frame: av.VideoFrame | None, tick_durations: dict[int, int]
) -> None:
    """Encode a frame, or what is left where there is none; the last frame's duration is said, not guessed."""
    for packet in stream.encode(frame):
        if packet.pts is not None:
            packet.duration = tick_durations.pop(packet.pts, packet.duration or 1)
        container.mux(packet)


def _add_stream(container: OutputContainer, width: int, height: int, fps: float) -> VideoStream:
    name = next((name for name in H264_ENCODERS if name in av.codecs_available), None)
    if name is None:
        raise OutputError(
            f"expected an H.264 encoder ({', '.join(H264_ENCODERS)}) in PyAV, found none; "
            f"install PyAV's own wheel: {REINSTALL}"
        )
    rate = Fraction(min(240.0, max(1.0, fps))).limit_denominator(1001)
    options = {"crf": "20", "preset": "veryfast"} if name == "libx264" else {}
    stream = container.add_stream(name, rate=rate, options=options)
    if not isinstance(stream, VideoStream):
        raise OutputError(f"expected {name} to encode video, got {type(stream).__name__}; update PyAV")
    stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", _TIME_BASE
    context = stream.codec_context
    context.time_base = _TIME_BASE
    context.max_b_frames = 0  # frames leave in display order, so players show exact times
    context.gop_size = _KEY_FRAME_EVERY
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    return stream
