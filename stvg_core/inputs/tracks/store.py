"""Tracks that were made before, on disk: per video, tracker and settings.

A video counts as the same by name, size, time of change and the start of its content; the tracks of a
video that was changed or replaced are made anew. Files are those of track_file.py; one that is damaged
counts as missing. Knows no tracker.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stvg_core._internal.user_cache import cache_folder
from stvg_core.errors import TrackError
from stvg_core.inputs.tracks.from_file import read_tracks
from stvg_core.inputs.tracks.track_file import track_document, write_document
from stvg_core.values import Track, VideoInfo

FOLDER_VARIABLE: Final = "STVG_TRACKS_CACHE"
"""Environment variable that names the folder; without it a folder in the user's cache is taken."""
OFF: Final = "off"
_HEAD_BYTES: Final = 2**20
_LOG: Final = logging.getLogger(__name__)


def default_folder() -> Path:
    """Return the folder of cached tracks where none is named."""
    return cache_folder("tracks", FOLDER_VARIABLE)


@dataclass(frozen=True)
class TrackStore:
    """Tracks in a folder.

    Attributes:
        folder: made where it is missing; None: nothing is kept.
    """

    folder: Path | None

    @classmethod
    def named(cls, name: str | None) -> "TrackStore":
        """Return the store that a user means: "off", a folder, or None for the default folder."""
        return cls(None if name == OFF else default_folder() if name is None else Path(name))

    def remember(
        self, info: VideoInfo, tracker: str, settings: Mapping[str, Any], make: Callable[[], tuple[Track, ...]]
    ) -> tuple[tuple[Track, ...], bool]:
        """Return the stored tracks, else make and store them; and whether they were stored.

        No track is a result too and is stored. Tracks of a video without a file are not.

        Args:
            info: the video.
            tracker: its name.
            settings: everything else that decides the tracks, as JSON values.
            make: makes them.

        Raises:
            OutputError: the folder cannot be written to.
        """
        path = self._path(info, tracker, settings)
        stored = None if path is None else _read(path, info)
        if stored is not None:
            return stored, True
        tracks = make()
        if path is not None:
            write_document(path, track_document(info, tracks, tracker, settings))
        return tracks, False

    def _path(self, info: VideoInfo, tracker: str, settings: Mapping[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        video = _video_key(Path(info.path))
        if video is None:
            return None
        key = json.dumps([video, info.frame_count, tracker, settings], sort_keys=True)
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json.gz"


def _video_key(path: Path) -> list[Any] | None:
    """Return what tells a video file from others; None where there is no file."""
    try:
        status = path.stat()
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    except OSError:
        return None
    return [path.name, status.st_size, status.st_mtime_ns, head]


def _read(path: Path, info: VideoInfo) -> tuple[Track, ...] | None:
    if not path.exists():
        return None
    try:
        stored = read_tracks(path)
        stored.check_video(info)
    except TrackError as error:
        _LOG.warning("cached tracks are made anew: %s", error)
        return None
    return stored.tracks
