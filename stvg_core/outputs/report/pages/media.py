"""Videos for pages: inside the page's folder, in a form that browsers play, with exact times.

A video that browsers play is linked (a second name of the same file) or, across file systems, copied; any other is
encoded as H.264. Nothing outside the folder is ever referred to.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from stvg_core.errors import OutputError, UsageError, VideoError
from stvg_core.inputs.video import iterate_frames
from stvg_core.inputs.video.source import FileIdentity, open_container, video_stream
from stvg_core.outputs.report.drawing import resize
from stvg_core.outputs.report.encoding import TimedFrame, encode_video
from stvg_core.values import VideoInfo

MediaChoice = Literal["link", "encode", "none"]
MEDIA_CHOICES: Final = ("link", "encode", "none")
ENCODED_SIDE_PIXELS: Final = 960
"""Longer side of an encoded video; boxes keep the pixels of the source."""

_PLAYED: Final = {
    (".mp4", "h264"),
    (".m4v", "h264"),
    (".mp4", "av1"),
    (".mp4", "vp9"),
    (".webm", "vp8"),
    (".webm", "vp9"),
    (".webm", "av1"),
}
_PLAYED_FORMATS: Final = {"yuv420p", "yuvj420p"}
_LARGEST_START_SECONDS: Final = 0.001


@dataclass(frozen=True)
class Medium:
    """What a page's player is given.

    Attributes:
        name: of the file in its folder; empty where there is none.
        offset_seconds: what is added to a presentation time of ours to get the player's.
        note: why there is no video, or what was done to it; may be empty.
    """

    name: str
    offset_seconds: float = 0.0
    note: str = ""


def check_media_choice(text: str) -> MediaChoice:
    """Return a choice by its name.

    Raises:
        UsageError: there is none of this name.
    """
    for choice in MEDIA_CHOICES:
        if text == choice:
            return choice
    raise UsageError(f"expected --media {', '.join(MEDIA_CHOICES)}, got {text!r}")


def place_video(path: Path, info: VideoInfo, folder: Path, choice: MediaChoice, name: str | None = None) -> Medium:
    """Put a video into a folder, where it is not there already.

    Args:
        path: the video.
        info: what was read of it.
        folder: where to; made where it is missing.
        choice: link (or copy) what browsers play and encode the rest; encode everything, small; or nothing.
        name: file name without ending; None: one made of the file's path, size and date, so that a video that was
            placed is found again.

    Raises:
        OutputError: the folder cannot be written to.
        VideoError: the video can no longer be read.
    """
    if choice == "none":
        return Medium("", note="Videos were left out of this page.")
    file = FileIdentity.of(path)
    offset = playable_offset(file, info) if choice == "link" else None
    ending = path.suffix.lower() if offset is not None else ".mp4"
    key = f"{choice}\0{file.absolute_path}\0{file.size_bytes}\0{file.modified_nanoseconds}"
    target = folder / f"{name or hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:20]}{ending}"
    note = "" if offset is not None else f"Shown as an H.264 copy, {ENCODED_SIDE_PIXELS} pixels at most."
    medium = Medium(target.name, offset or 0.0, note)
    if name is None and target.exists():
        return medium
    with _written(target) as draft:
        if offset is None:
            _encode(path, info, draft)
        else:
            _link(path, draft)
    return medium


def playable_offset(file: FileIdentity, info: VideoInfo) -> float | None:
    """Return the offset of a browser's clock against ours; None where browsers do not play the file as it is.

    Browsers count from the container's start. We do as well, but a first image that is late by less than a frame
    is at 0 with us (`probe_video`).

    Raises:
        VideoError: the file can no longer be read.
    """
    with open_container(file) as container:
        stream = video_stream(container, file.shown_name)
        context = stream.codec_context
        known = (Path(file.absolute_path).suffix.lower(), context.codec.canonical_name)
        start = 0.0 if container.start_time is None else container.start_time / 1_000_000
        first = start if stream.start_time is None else float(stream.start_time * (stream.time_base or 0))
    if known not in _PLAYED or context.pix_fmt not in _PLAYED_FORMATS or abs(start) > _LARGEST_START_SECONDS:
        return None
    return first - start - float(info.frame_seconds[0])


def _link(path: Path, draft: Path) -> None:
    try:
        os.link(os.path.realpath(path), draft)
    except OSError:
        # Another file system, one without links, or somebody else's file.
        shutil.copyfile(path, draft)


def _encode(path: Path, info: VideoInfo, draft: Path) -> None:
    scale = min(1.0, ENCODED_SIDE_PIXELS / max(info.width, info.height))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (info.width, info.height))

    def images() -> Iterator[TimedFrame]:
        for frame, image in iterate_frames(
            path, info, 0, info.frame_count - 1, maximum_side_pixels=ENCODED_SIDE_PIXELS
        ):
            shown = resize(image, width, height)
            yield TimedFrame(shown, float(info.frame_seconds[frame]), info.frame_end_seconds(frame))

    encode_video(draft, images(), width=width, height=height, fps=info.fps)


@contextlib.contextmanager
def _written(target: Path) -> Iterator[Path]:
    """Hand out a name to write to, and move what was written to the target; nobody sees half a video."""
    draft = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(target)
    except OSError as error:
        if isinstance(error, VideoError | OutputError):
            raise
        raise OutputError(
            f"cannot write to {target.parent}: {error.strerror}; choose another folder with --out"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
