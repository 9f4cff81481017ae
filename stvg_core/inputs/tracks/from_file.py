"""Tracks that somebody made before: the tracker `file:PATH`.

Reads the framework's own files (track_file.py) and those of the released code (released_file.py). A
folder holds one file per video, or, as the released code keeps VidSTG, one folder per video with a file per
ground-truth category.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from stvg_core.errors import NoTracksError, TrackError, UsageError
from stvg_core.inputs.tracks.description import ORACLE_CATEGORIES
from stvg_core.inputs.tracks.released_file import TRACKS, parse_released
from stvg_core.inputs.tracks.stored import StoredTracks
from stvg_core.inputs.tracks.track_file import FORMAT, parse_document, read_bytes
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import Track

_SUFFIXES = (".json", ".json.gz")


def read_tracks(path: Path) -> StoredTracks:
    """Return the tracks of one file, whichever of the two formats it has.

    Raises:
        TrackError: it is missing, damaged, too large, or of neither format.
        PluginError: it is of the released code and pycocotools is not installed.
    """
    try:
        content = from_json(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise TrackError(f"expected JSON in {path}, got {error}; it is damaged or cut off: make it anew") from error
    if isinstance(content, dict) and TRACKS in content:
        return parse_released(content, path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        return parse_document(content, path)
    raise TrackError(
        f"expected a file of tracks ({FORMAT} or {TRACKS}), got something else in {path}; see docs/tracks.md"
    )


class FileTracker(Tracker):
    """Proposes what a file holds, as it is.

    Attributes:
        per_video: the video alone decides.
    """

    per_video = True

    def __init__(self, path: Path | str) -> None:
        """Remember where the tracks are; a file is read when it is wanted.

        Args:
            path: a file of one video, or a folder with one file or folder per video, named like it.

        Raises:
            TrackError: there is no such file or folder.
        """
        self._path = Path(path)
        if not self._path.exists():
            raise TrackError(f"expected a file or folder of tracks, {path} is not there; check the path")
        self._read: StoredTracks | None = None

    @classmethod
    def open(cls, argument: str) -> Tracker:
        """Return the tracker of a file or folder.

        Raises:
            UsageError: there is no path.
            TrackError: there is no such file or folder.
        """
        if not argument:
            raise UsageError("expected tracker file:PATH, got no path; write it after the colon")
        return cls(argument)

    @property
    def name(self) -> str:
        """Name as the user types it, without the path."""
        return "file"

    def describe(self) -> Mapping[str, Any]:
        """Return where the tracks are."""
        return {"path": str(self._path)}

    def report(self) -> Mapping[str, Any]:
        """Return which file the last tracks came from, and what it says of how they were made."""
        if self._read is None:
            return {}
        return {
            "file": self._read.source,
            "tracker": self._read.tracker,
            "settings": dict(self._read.settings),
            ORACLE_CATEGORIES: self._read.oracle_categories,
        }

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return the tracks of the request's video.

        Raises:
            TrackError: there is no file for the video, it is damaged, or it belongs to another video.
            NoTracksError: the file holds no track.
            PluginError: the file needs pycocotools, which is not installed.
        """
        info = request.frames.info
        self._read = self._find(Path(info.path).name)
        if not self._read.tracks:
            raise NoTracksError(f"{self._read.source} holds no track of {info.path}")
        self._read.check_video(info)
        return self._read.tracks_of(info)

    def _find(self, video_name: str) -> StoredTracks:
        if not self._path.is_dir():
            return read_tracks(self._path)
        # As the released code names them (stvg/datasets/hcstvg.py).
        stem = video_name.partition(".")[0]
        for name in dict.fromkeys((stem, Path(video_name).stem)):
            for suffix in _SUFFIXES:
                if (self._path / f"{name}{suffix}").is_file():
                    return read_tracks(self._path / f"{name}{suffix}")
        for folder in (self._path / stem, self._path):
            if stem and folder.is_dir() and folder.name == stem:
                return self._by_category(folder)
        raise TrackError(
            f"expected tracks for {video_name} in {self._path}, found neither {stem}.json nor a folder {stem}; "
            "add it, or choose another tracker"
        )

    def _by_category(self, folder: Path) -> StoredTracks:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIXES))
        if not paths:
            raise TrackError(f"expected files of tracks in {folder}, found none; add them, or choose another tracker")
        parts = [read_tracks(path) for path in paths]
        sizes = {(part.width, part.height) for part in parts if part.tracks}
        if len(sizes) > 1:
            raise TrackError(f"expected tracks of one video in {folder}, got sizes {sorted(sizes)}")
        best = max(parts, key=lambda part: len(part.tracks))
        together = tuple(track for part in parts for track in part.tracks)
        # The files of one video are those of its ground truth's categories (stvg/datasets/vidstg.py:272-288).
        return replace(best, source=str(folder), tracks=together, oracle_categories=True)
