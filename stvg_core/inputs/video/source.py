"""Opening untrusted files: plain local files only, no format that refers to other files.

Knows paths, containers and streams; no frames and no times.
"""

import re
import stat
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from stvg_core.errors import VideoError

MAXIMUM_IMAGE_PIXELS = 2**26
"""Largest image that is decoded (8192 x 8192): a file of some bytes can claim any size."""

MAXIMUM_DECODER_THREADS = 4
"""Every decoder thread holds images; more threads cost memory and bring little."""

# Playlists and image sequences (hls, dash, concat, image2, ...) name other files and addresses and are
# left out. Sound formats are in, so that the error for a sound file differs from that for a broken one.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,apng,nut,rm,mxf,wtv,dv,h264,hevc,vvc,m4v,"
    "mpegvideo,obu,av1,ivf,yuv4mpegpipe,mp3,wav,flac,aac"
)
_DECODER_LIMITS = {"max_pixels": str(MAXIMUM_IMAGE_PIXELS)}
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


@dataclass(frozen=True)
class FileIdentity:
    """A file as it was when it was looked at: the key under which facts about it are remembered."""

    shown_name: str
    absolute_path: str
    size_bytes: int
    modified_nanoseconds: int

    @classmethod
    def of(cls, path: str | Path) -> "FileIdentity":
        """Look a file up, and refuse everything but a plain local file with content.

        Raises:
            VideoError: the path is an address, a folder, a device, missing, forbidden or empty.
        """
        shown = one_line(path)
        try:
            status = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            if _PROTOCOL.match(str(path)) and len(str(path).partition(":")[0]) > 1:
                raise VideoError(
                    f"expected a video file on this machine, got {shown}; "
                    "addresses and protocols are not opened: download the file and give its path"
                ) from error
            raise VideoError(f"expected a video file, got {shown}, which does not exist; check the path") from error
        except (OSError, ValueError) as error:
            raise VideoError(f"cannot read {shown}: {one_line(error)}; check the path and its permissions") from error
        if stat.S_ISDIR(status.st_mode):
            raise VideoError(f"expected a video file, got the folder {shown}; name a file in it")
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(f"expected a plain file, got {shown}, a device or pipe; save the video to a file first")
        if status.st_size == 0:
            raise VideoError(f"expected a video, got the empty file {shown}; copy or download it again")
        return cls(shown, str(Path(path).absolute()), status.st_size, status.st_mtime_ns)


def one_line(value: object) -> str:
    r"""Return a name or message that can stand in a one-line error.

    >>> one_line("a" + chr(10) + "b.mp4")
    "'a\\nb.mp4'"
    """
    text = str(value)
    return text if text.isprintable() else repr(text)


def open_container(file: FileIdentity) -> InputContainer:
    """Open a checked file for demuxing.

    Raises:
        VideoError: it is no video or sound file, or its header is missing.
    """
    try:
        # The prefix keeps libav from reading a protocol out of a file's name.
        return av.open(
            f"file:{file.absolute_path}",
            mode="r",
            options={"protocol_whitelist": "file", "format_whitelist": _FORMATS, **_DECODER_LIMITS},
            metadata_errors="replace",
        )
    except (av.FFmpegError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, av.FFmpegError) else "its name cannot be encoded"
        raise VideoError(
            f"expected a video, got {file.shown_name}, which cannot be opened ({one_line(reason)}): "
            "no video format that is read here, or cut off before its header; copy it again or convert it to mp4"
        ) from error


def video_stream(container: InputContainer, shown_name: str) -> VideoStream:
    """Return the stream to read: the default one, else the first, never a cover picture.

    Raises:
        VideoError: there is none, no decoder knows it, or its images are too large.
    """
    candidates = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not candidates:
        kinds = ", ".join(
            sorted({_kind(stream.type, shown_is_cover=stream.type == "video") for stream in container.streams})
        )
        raise VideoError(
            f"expected a video stream in {shown_name}, got only {kinds or 'no streams'}; give a video file"
        )
    stream = next((stream for stream in candidates if stream.disposition & Disposition.default), candidates[0])
    context = stream.codec_context
    if context is None:
        raise VideoError(f"no decoder is built in for the video stream of {shown_name}; convert it to h264 in mp4")
    if context.width * context.height > MAXIMUM_IMAGE_PIXELS:
        raise VideoError(
            f"expected images of at most {MAXIMUM_IMAGE_PIXELS} pixels in {shown_name}, "
            f"got {context.width}x{context.height}; scale the video down"
        )
    context.options = dict(_DECODER_LIMITS)
    context.thread_type = "AUTO"
    context.thread_count = MAXIMUM_DECODER_THREADS
    return stream


def _kind(stream_type: str, *, shown_is_cover: bool) -> str:
    return "a cover picture" if shown_is_cover else stream_type
