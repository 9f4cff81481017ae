"""The framework's own file of tracks: one JSON document per video, gzip-compressed where it is named *.gz.

docs/schema/tracks-1.schema.json is its schema. Files are untrusted: bounded in size and checked
entry by entry. Writing is atomic.
"""

import gzip
import secrets
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from stvg_core._internal.json_schema import published_schema
from stvg_core._internal.masks import RunLengthMask
from stvg_core.errors import OutputError, TrackError
from stvg_core.inputs.tracks.stored import StoredTracks, stored_track
from stvg_core.values import Track, VideoInfo, as_boxes

FORMAT: Final = "stvg-tracks"
SCHEMA_ID: Final = "urn:stvg:schema:tracks:1"
MAXIMUM_BYTES: Final = 2**29
"""Largest file, unpacked (512 MiB): about 200 tracks with masks at every tenth frame of a minute at 1080p."""
_GZIP: Final = b"\x1f\x8b"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class MaskEntry(_Model):
    """A mask as COCO's uncompressed run lengths."""

    size: tuple[int, int] = Field(
        description="height and width in pixels: those of the video, or of it shrunk as a whole"
    )
    counts: list[int] = Field(description="lengths of runs down the columns, background first")


class TrackEntry(_Model):
    """One object's boxes."""

    label: str = Field("", description="what it shows, may be empty")
    frames: list[int] = Field(description="source frame of each box, 0-based, strictly increasing")
    boxes_xyxy: list[tuple[float, float, float, float]] = Field(description="pixels of the video as displayed")
    absent: list[tuple[int, int]] = Field(
        default_factory=list, description="stretches of frames (first, last) between boxes without the object"
    )
    masks: list[MaskEntry | None] | None = Field(None, description="one per box, or null: boxes alone")


class VideoEntry(_Model):
    """The video that the tracks belong to."""

    name: str = Field(description="file name; not compared")
    width: int = Field(ge=1, description="pixels as displayed; must be the video's")
    height: int = Field(ge=1, description="pixels as displayed; must be the video's")
    frame_count: int = Field(ge=1, description="must be the video's")


class TrackDocument(_Model):
    """Tracks of one video."""

    format: Literal["stvg-tracks"]
    schema_version: Literal[1] = Field(description="a new number where a field changes its meaning or goes")
    video: VideoEntry
    tracker: str = Field("", description="what made them")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="how it was set")
    oracle_categories: bool = Field(
        False, description="true where the ground truth's categories said what to look for: not zero-shot"
    )
    tracks: list[TrackEntry] = Field(description="best first; may be none")


def schema_text() -> str:
    """Return the JSON schema (draft 2020-12) of a track file, as docs/schema holds it."""
    return published_schema(TrackDocument.model_json_schema(), SCHEMA_ID)


def track_document(
    info: VideoInfo,
    tracks: Sequence[Track],
    tracker: str = "",
    settings: Mapping[str, Any] | None = None,
    *,
    oracle_categories: bool = False,
) -> TrackDocument:
    """Return tracks of a video as the document that is written."""
    return TrackDocument(
        format="stvg-tracks",
        schema_version=1,
        video=VideoEntry(name=Path(info.path).name, width=info.width, height=info.height, frame_count=info.frame_count),
        tracker=tracker,
        settings=dict(settings or {}),
        oracle_categories=oracle_categories,
        tracks=[_entry(track, info) for track in tracks],
    )


def _entry(track: Track, info: VideoInfo) -> TrackEntry:
    masks = None
    if track.masks is not None:
        masks = [
            None if mask is None else MaskEntry(size=(mask.height, mask.width), counts=mask.counts.tolist())
            for mask in track.masks
        ]
    return TrackEntry(
        label=track.label,
        frames=track.frames.tolist(),
        boxes_xyxy=[(x0, y0, x1, y1) for x0, y0, x1, y1 in track.boxes_xyxy.tolist()],
        absent=list(track.absent),
        masks=masks,
    )


def write_document(path: Path, document: TrackDocument) -> None:
    """Write a document; compressed where the name ends in .gz.

    Raises:
        OutputError: the file cannot be written; what was there stays.
    """
    content = document.model_dump_json().encode()
    if path.suffix == ".gz":
        # Without a time stamp, so that equal tracks make equal files.
        content = gzip.compress(content, compresslevel=6, mtime=0)
    write_bytes(path, content)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: it cannot be written; what was there stays.
    """
    draft = path.with_name(f".stvg-{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another file") from error


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked where it is gzip-compressed.

    Raises:
        TrackError: it is missing, larger than MAXIMUM_BYTES, or its compression is damaged.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAXIMUM_BYTES + 1)
        if content[:2] == _GZIP:
            with gzip.open(path, "rb") as packed:
                content = packed.read(MAXIMUM_BYTES + 1)
    except FileNotFoundError as error:
        raise TrackError(f"expected a file of tracks, {path} is not there; check the path") from error
    except (OSError, EOFError, zlib.error) as error:
        raise TrackError(f"cannot read tracks of {path} ({error}); it is damaged or cut off: make it anew") from error
    if len(content) > MAXIMUM_BYTES:
        raise TrackError(f"expected tracks of at most {MAXIMUM_BYTES // 2**20} MiB, got more in {path}; split the file")
    return content


def parse_document(content: Mapping[str, Any], path: Path) -> StoredTracks:
    """Return the tracks of a document that was read.

    Raises:
        TrackError: an entry is missing, of another type, or out of range.
    """
    try:
        # Not strict: JSON has lists where the document has tuples.
        document = TrackDocument.model_validate(content, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise TrackError(
            f"expected tracks in {path}, got {place} = {repr(first['input'])[:60]}: {first['msg']}; "
            "see docs/schema/tracks-1.schema.json"
        ) from error
    size = (document.video.width, document.video.height)
    tracks = []
    for number, entry in enumerate(document.tracks):
        try:
            masks = None
            if entry.masks is not None:
                masks = [
                    None
                    if mask is None
                    else RunLengthMask(mask.size[0], mask.size[1], np.asarray(mask.counts, dtype=np.int64))
                    for mask in entry.masks
                ]
            tracks.append(
                stored_track(
                    entry.frames,
                    as_boxes(entry.boxes_xyxy),
                    size,
                    label=entry.label,
                    masks=masks,
                    absent=entry.absent,
                )
            )
        except (TrackError, OverflowError) as error:
            raise TrackError(f"track {number} of {path}: {error}; fix or remake the file") from error
    return StoredTracks(
        source=str(path),
        width=size[0],
        height=size[1],
        frame_count=document.video.frame_count,
        sampled_frames=None,
        tracks=tuple(tracks),
        tracker=document.tracker,
        settings=document.settings,
        oracle_categories=document.oracle_categories,
    )
