"""The interface of object-track proposers (entry-point group `stvg.trackers`).

An entry point names a callable without arguments that returns a Tracker.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from stvg_core.values import FrameMaps, Frames, SubQueries, Track


@dataclass(frozen=True, eq=False)
class TrackRequest:
    """What a tracker may look at.

    Attributes:
        frames: the sampled frames; frames.info.path is the file, where more are wanted.
        spatial_maps: attention of the attribute branch, one map per sampled frame.
        temporal_maps: attention of the action branch, one map per sampled frame.
    """

    frames: Frames
    sub_queries: SubQueries
    spatial_maps: FrameMaps
    temporal_maps: FrameMaps


@runtime_checkable
class Tracker(Protocol):
    """Proposes tracks of objects that may be what the query means.

    A tracker that looks at `request.frames` alone may say so with an attribute `per_video` that is true: a run
    over a data set then asks it once for all queries about a video. With a method `describe() -> Mapping[str, JSON]`
    it says what decides its tracks, with `report()` of the same type what came of the last ones, for the record; with
    `configure(settings: Mapping[str, str]) -> Tracker` it
    takes the settings that a user types as NAME:setting=value.
    """

    @property
    def name(self) -> str:
        """Name as the user types it."""
        ...

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return at least one track; boxes in pixels of the video as displayed.

        Raises:
            NoTracksError: nothing was found; the method falls back to the tracker `attention`.
            TrackError: the tracker cannot work, with what the user can do.
        """
        ...
