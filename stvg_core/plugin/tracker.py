"""The base class of trackers, which propose object tracks (entry-point group `stvg.trackers`)."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stvg_core.errors import UsageError
from stvg_core.values import FrameMaps, Frames, SubQueries, Track


@dataclass(frozen=True, eq=False)
class TrackRequest:
    """What a tracker may look at.

    Attributes:
        frames: the sampled frames; frames.info.path is the video file, for trackers that need more of them.
        sub_queries: attribute and action of the query.
        spatial_maps: attention of the attribute branch, one map per sampled frame.
        temporal_maps: attention of the action branch, one map per sampled frame.
    """

    frames: Frames
    sub_queries: SubQueries
    spatial_maps: FrameMaps
    temporal_maps: FrameMaps


class Tracker(ABC):
    """Proposes tracks of objects that may be the query's target.

    An entry point names a subclass. `name` and `propose` are abstract; everything else has a default.
    """

    shared_seconds: float = 0.0
    """Wall-clock time spent on tracks that several processes share; it is not counted for any one query."""

    @classmethod
    def open(cls, argument: str) -> "Tracker":
        """Return the tracker for what the user typed: NAME or NAME:ARGUMENT.

        Args:
            argument: the text after the first colon; empty without one. By default `setting=value,setting=value`.

        Raises:
            UsageError: the argument is malformed, or a setting is unknown.
        """
        tracker = cls()
        settings = parse_settings(argument)
        return tracker.configure(settings) if settings else tracker

    @property
    @abstractmethod
    def name(self) -> str:
        """Name as the user types it."""

    @property
    def per_video(self) -> bool:
        """Whether tracks depend on the frames alone; they are then proposed once for all queries on a video."""
        return False

    def configure(self, settings: Mapping[str, str]) -> "Tracker":
        """Return the tracker with other settings.

        Raises:
            UsageError: a setting is unknown or out of range. By default there are no settings.
        """
        names = ", ".join(settings)
        raise UsageError(f"tracker {self.name} takes no settings, got {names!r}; leave out what follows the colon")

    def describe(self) -> Mapping[str, Any]:
        """Return what determines the tracks, as JSON values: settings, checkpoints, files."""
        return {}

    def report(self) -> Mapping[str, Any] | None:
        """Return how the last tracks were made, as JSON values; None for trackers that report nothing."""
        return None

    @abstractmethod
    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return at least one track; boxes in pixels of the video as displayed.

        Raises:
            NoTracksError: no object was detected; the method falls back to the tracker `attention`.
            TrackError: the tracker cannot run; the message says what the user can do.
        """


def parse_settings(text: str) -> dict[str, str]:
    """Return settings as the user types them after a tracker's name.

    Raises:
        UsageError: a part is not `name=value`, or a name is repeated.

    >>> parse_settings("classes=dog+cat,box_threshold=0.3")
    {'classes': 'dog+cat', 'box_threshold': '0.3'}
    """
    settings: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or name.strip() in settings:
            raise UsageError(f"expected a tracker's settings as NAME:setting=value,setting=value, got {part!r}")
        settings[name.strip()] = value.strip()
    return settings


def check_settings(tracker: str, settings: Mapping[str, str], available: Sequence[str]) -> None:
    """Check that a tracker has all settings; for implementations of `Tracker.configure`.

    Raises:
        UsageError: one is unknown; the message suggests the nearest.

    >>> check_settings("mine", {"size": "1"}, ("size",))
    """
    for name in settings:
        if name not in available:
            nearest = difflib.get_close_matches(name, available, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise UsageError(f"expected a setting of tracker {tracker} ({', '.join(available)}), got {name!r}{hint}")
