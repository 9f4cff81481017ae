"""Tracks that were proposed before, for trackers that look at the video alone."""

import importlib.metadata
import time
from pathlib import Path
from typing import Any

from stvg_core.inputs.tracks.description import describe_tracker, describe_tracks
from stvg_core.inputs.tracks.store import TrackStore
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import Frames, Track


class VideoCache(Tracker):
    """A tracker that proposes once per video if the wrapped tracker does not look at the query (`per_video`).

    In this process frames belong to the same video if they are the same object, so that nothing is compared or
    hashed. With a folder, other processes reuse the tracks as well, for the same frames of the same file, unless
    the wrapped tracker reports on its last tracks: that report would be lost.
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

    @property
    def per_video(self) -> bool:
        """Whether the tracker inside looks at the frames alone."""
        return self._tracker.per_video

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
        if not self.per_video:
            return self._tracker.propose(request)
        if request.frames is not self._frames:
            self._tracks = self._propose(request)
            self._frames = request.frames
        return self._tracks

    def _propose(self, request: TrackRequest) -> tuple[Track, ...]:
        if self._store.folder is None or self._tracker.report() is not None:
            return self._tracker.propose(request)
        decisive = self._decisive(request.frames)
        info, name = request.frames.info, self._tracker.name
        return self._store.remember(info, name, decisive, lambda: self._make(request))[0]

    def _make(self, request: TrackRequest) -> tuple[Track, ...]:
        start = time.perf_counter()
        try:
            return self._tracker.propose(request)
        finally:
            self.shared_seconds += time.perf_counter() - start

    def _decisive(self, frames: Frames) -> dict[str, Any]:
        """Return what decides the tracks beside the video: which pictures of it, the tracker, and our code."""
        return {
            "tracker": describe_tracker(self._tracker),
            "looked": frames.indices.tolist(),
            "pixels": list(frames.pixels.shape[1:3]),
            "stvg-core": importlib.metadata.version("stvg-core"),
        }
