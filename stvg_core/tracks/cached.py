"""Tracks that were proposed before, for trackers that look at the video alone."""

import importlib.metadata
import time
from pathlib import Path
from typing import Any

from stvg_core.tracks.description import describe_tracker, describe_tracks
from stvg_core.tracks.store import TrackStore
from stvg_core.tracks.tracker import Tracker, TrackRequest
from stvg_core.values import Frames, Track


class VideoCache:
    """A tracker that proposes once per video where the tracker it wraps does not look at the query.

    A tracker says so with an attribute `per_video` that is true; one without it is asked every time.
    In this process frames count as the same video when they are the same object, so that nothing is compared or
    hashed. With a folder other processes find the tracks as well, for the same frames of the same file.

    Attributes:
        shared_seconds: wall clock that making tracks for the folder took: what they all profit from is no one's cost.
    """

    def __init__(self, tracker: Tracker, folder: Path | None = None) -> None:
        """Wrap a tracker.

        Args:
            tracker: what proposes.
            folder: where tracks are kept for other processes; None: nowhere.
        """
        self._tracker = tracker
        self._store = TrackStore(folder)
        self.shared_seconds = 0.0
        self._frames: Frames | None = None
        self._tracks: tuple[Track, ...] = ()

    @property
    def name(self) -> str:
        """Name of the tracker inside."""
        return self._tracker.name

    def describe(self) -> dict[str, Any]:
        """Return what the tracker inside says of itself."""
        return describe_tracker(self._tracker)

    def report(self) -> dict[str, Any]:
        """Return what the tracker inside says of its last tracks."""
        return describe_tracks(self._tracker)

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return the tracks of the tracker inside, or what it proposed for the same frames before.

        Raises:
            TrackError: nothing could be found.
            OutputError: the folder cannot be written to.
        """
        if not getattr(self._tracker, "per_video", False):
            return self._tracker.propose(request)
        if request.frames is not self._frames:
            self._tracks, _ = self._store.remember(
                request.frames.info,
                self._tracker.name,
                self._decisive(request.frames),
                lambda: self._make(request),
            )
            self._frames = request.frames
        return self._tracks

    def _make(self, request: TrackRequest) -> tuple[Track, ...]:
        start = time.perf_counter()
        try:
            return self._tracker.propose(request)
        finally:
            if self._store.folder is not None:
                self.shared_seconds += time.perf_counter() - start

    def _decisive(self, frames: Frames) -> dict[str, Any]:
        """Return what decides the tracks beside the video: which pictures of it, the tracker, and our code."""
        return {
            "tracker": describe_tracker(self._tracker),
            "looked": frames.indices.tolist(),
            "pixels": list(frames.pixels.shape[1:3]),
            "stvg-core": importlib.metadata.version("stvg-core"),
        }
