"""Tracks of the last video are kept, for trackers that look at the video alone."""

from typing import Any

from stvg_core.tracks.description import describe_tracker, describe_tracks
from stvg_core.tracks.tracker import Tracker, TrackRequest
from stvg_core.values import Frames, Track


class VideoCache:
    """A tracker that proposes once per video where the tracker it wraps does not look at the query.

    A tracker says so with an attribute `per_video` that is true; one without it is asked every time.
    Frames count as the same video when they are the same object, so that nothing is compared or hashed.
    """

    def __init__(self, tracker: Tracker) -> None:
        """Wrap a tracker; nothing is kept yet."""
        self._tracker = tracker
        self._frames: Frames | None = None
        self._tracks: tuple[Track, ...] = ()

    @property
    def name(self) -> str:
        """Name of the tracker inside."""
        return self._tracker.name

    @property
    def per_video(self) -> bool:
        """Whether the tracker inside looks at the frames alone."""
        return bool(getattr(self._tracker, "per_video", False))

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
        """
        if not self.per_video:
            return self._tracker.propose(request)
        if request.frames is not self._frames:
            self._tracks = self._tracker.propose(request)
            self._frames = request.frames
        return self._tracks
