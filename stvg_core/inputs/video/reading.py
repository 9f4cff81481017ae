"""What a video file says of itself, sampled frames of it, and streams of its frames.

The public functions of this package: they put path checks, time line, decoder and display
together. What the frames are for is not known here.
"""

import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import Int64, UInt8

from stvg_core.errors import VideoError
from stvg_core.inputs.video.decoding import FrameDecoder
from stvg_core.inputs.video.display import Display, ImageMaker
from stvg_core.inputs.video.sampling import sample_indices
from stvg_core.inputs.video.selection import frames_from, select_frames
from stvg_core.inputs.video.source import MAXIMUM_IMAGE_PIXELS, FileIdentity, open_container, video_stream
from stvg_core.inputs.video.timeline import Timeline, scan
from stvg_core.settings import SamplingSettings
from stvg_core.values import Frames, VideoInfo

MAXIMUM_SAMPLE_BYTES = 4 * 2**30
"""Most memory that the images of one call to read_frames may fill."""

_LOG = logging.getLogger(__name__)


def probe_video(path: str | Path) -> VideoInfo:
    """Return what a video file says of itself.

    Every packet of the video stream is read, none but the first images are decoded. Times count from
    the container's start (an image that follows it by less than a frame starts at 0.0). Where packets
    carry no presentation times, their decoding times in order stand in, and failing those the stated
    frame rate.

    Raises:
        VideoError: the path is no plain local file, or holds no video that can be decoded.
    """
    timeline, display = _examine(FileIdentity.of(path))
    return _info(path, timeline, display)


def read_frames(
    path: str | Path,
    settings: SamplingSettings,
    *,
    maximum_side_pixels: int | None = None,
    segment: tuple[int, int] | None = None,
) -> Frames:
    """Return sampled frames of a video as displayed.

    A requested frame that does not decode is replaced by the nearest earlier one that does (the first that
    decodes, where none is earlier); `Frames.indices` names the frame that is shown, and a warning is
    logged. Memory: the images returned, and a handful of decoded frames.

    Args:
        path: a plain local file.
        settings: which frames.
        maximum_side_pixels: maximum of the longer side in pixels, images are shrunk to it; boxes
            elsewhere stay in pixels of the full size, `Frames.info.width` x `Frames.info.height`.
        segment: first and last source frame (0-based, inclusive) to sample from; None: the whole video. A
            segment that reaches beyond the video's end is cut there.

    Raises:
        VideoError: no video, or one that ends before the segment; more than half of the requested frames do
            not decode; or the images would fill more than MAXIMUM_SAMPLE_BYTES.
    """
    file = FileIdentity.of(path)
    timeline, display = _examine(file)
    info = _info(path, timeline, display)
    if segment is not None:
        segment = inside_segment(segment, info)
    indices = sample_indices(info, settings, segment)
    width, height = display.size(_checked_side(maximum_side_pixels))
    if len(indices) * width * height * 3 > MAXIMUM_SAMPLE_BYTES:
        raise VideoError(
            f"expected images of at most {MAXIMUM_SAMPLE_BYTES / 2**30:g} GiB, got {len(indices)} of "
            f"{width}x{height} from {file.shown_name}; sample fewer frames or set maximum_side_pixels"
        )
    requested = np.unique(indices)
    images = np.empty((len(requested), height, width, 3), np.uint8)
    shown = np.full(len(requested), -1, np.int64)
    maker = ImageMaker(display, maximum_side_pixels)
    with FrameDecoder(file, timeline) as decoder:
        for frame_number, source_frame, frame in select_frames(decoder, timeline, requested.tolist()):
            position = int(np.searchsorted(requested, frame_number))
            images[position] = maker.image(frame)
            shown[position] = source_frame
    positions = np.searchsorted(requested, indices)
    lost = int((shown != requested)[positions].sum())
    if 2 * lost > len(indices):
        raise VideoError(
            f"expected {len(indices)} frames of {file.shown_name}, got {len(indices) - lost}: the file is damaged or "
            "cut off; copy it again or convert it to mp4"
        )
    if lost:
        _LOG.warning("%d of %d frames of %s do not decode; neighbours stand in", lost, len(indices), file.shown_name)
        _fill_gaps(images, shown)
    return Frames(info, shown[positions], images if len(requested) == len(indices) else images[positions], segment)


def inside_segment(segment: tuple[int, int], info: VideoInfo) -> tuple[int, int]:
    """Return the part of a segment that the video has."""
    first, last = segment
    if not 0 <= first <= last:
        raise VideoError(f"expected a segment as first and last frame, got {first} and {last}")
    if first >= info.frame_count:
        raise VideoError(
            f"expected frames {first} to {last} of {info.path}, but it has {info.frame_count}; is it the whole video?"
        )
    return first, min(last, info.frame_count - 1)


def iterate_frames(
    path: str | Path, info: VideoInfo, start_frame: int, end_frame: int, *, maximum_side_pixels: int | None = None
) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
    """Yield (source frame number, image as displayed) for every frame of a range, in display order.

    A frame that does not decode shows the image before it (the first that decodes, at the start of the
    range). One image is held at a time. The file stays open until the iterator ends or is closed.

    Args:
        path: a plain local file.
        info: what probe_video said of it.
        start_frame: first source frame, 0-based.
        end_frame: last source frame, inclusive.
        maximum_side_pixels: as in read_frames.

    Raises:
        VideoError: no video, a range outside it, a file that changed since it was probed, or a range of
            which nothing decodes.
    """
    file = FileIdentity.of(path)
    timeline, display = _examine(file)
    if not 0 <= start_frame <= end_frame < info.frame_count:
        raise VideoError(
            f"expected frames within 0..{info.frame_count - 1} of {file.shown_name}, got {start_frame}..{end_frame}"
        )
    if len(timeline.frame_seconds) != info.frame_count or (display.width, display.height) != (info.width, info.height):
        raise VideoError(f"{file.shown_name} is not the file that was probed; probe it again")
    maker = ImageMaker(display, _checked_side(maximum_side_pixels))
    return _stream(file, timeline, maker, range(start_frame, end_frame + 1))


def _stream(
    file: FileIdentity, timeline: Timeline, maker: ImageMaker, requested: range
) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
    following = requested.start
    before: VideoFrame | None = None
    last_packet = int(timeline.packet_of_frame[requested.start : requested.stop].max())
    with FrameDecoder(file, timeline) as decoder:
        for source_frame, frame in frames_from(decoder, timeline, requested.start, last_packet):
            if source_frame >= requested.stop:
                break
            for missing in range(following, source_frame):
                yield missing, maker.image(before or frame)
            if source_frame >= following:
                yield source_frame, maker.image(frame)
            before, following = frame, max(following, source_frame + 1)
            if following == requested.stop:
                return
    if before is None:
        raise VideoError(
            f"expected frames {requested.start}..{requested.stop - 1} of {file.shown_name}, got none that decodes: "
            "the file is damaged or cut off; copy it again or convert it to mp4"
        )
    for missing in range(following, requested.stop):
        yield missing, maker.image(before)


@lru_cache(maxsize=8)
def _examine(file: FileIdentity) -> tuple[Timeline, Display]:
    """Return time line and geometry of a file; remembered, since every stage asks for them again."""
    with open_container(file) as container:
        stream = video_stream(container, file.shown_name)
        sample_aspect_ratio = stream.sample_aspect_ratio
        timeline = scan(container, stream, file.shown_name)
    with FrameDecoder(file, timeline) as decoder:
        for _, frame in decoder.frames(0, len(timeline.frame_of_packet) - 1):
            display = Display.of(frame, sample_aspect_ratio)
            if display.width * display.height > MAXIMUM_IMAGE_PIXELS:
                raise VideoError(
                    f"expected images of at most {MAXIMUM_IMAGE_PIXELS} pixels in {file.shown_name}, "
                    f"got {display.width}x{display.height}; scale the video down"
                )
            return timeline, display
    raise VideoError(
        f"expected images in {file.shown_name}, got none that decodes: the file is damaged or encrypted; copy it again"
    )


def _info(path: str | Path, timeline: Timeline, display: Display) -> VideoInfo:
    return VideoInfo(
        path=str(path),
        width=display.width,
        height=display.height,
        fps=len(timeline.frame_seconds) / timeline.duration_seconds,
        duration_seconds=timeline.duration_seconds,
        frame_seconds=timeline.frame_seconds,
    )


def _checked_side(maximum_side_pixels: int | None) -> int | None:
    if maximum_side_pixels is not None and maximum_side_pixels < 1:
        raise VideoError(f"expected maximum_side_pixels of at least 1, got {maximum_side_pixels}")
    return maximum_side_pixels


def _fill_gaps(images: UInt8[np.ndarray, "frame height width 3"], shown: Int64[np.ndarray, " frame"]) -> None:
    """Give every missing image its neighbour's, and the neighbour's frame number."""
    first = int((shown >= 0).argmax())
    images[:first], shown[:first] = images[first], shown[first]
    for position in range(first + 1, len(shown)):
        if shown[position] < shown[position - 1]:
            images[position], shown[position] = images[position - 1], shown[position - 1]
