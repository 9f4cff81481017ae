"""What the trackers share that look for words: whose words, what is recorded, and the cache on disk."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from stvg_core.inputs.tracks.store import TrackStore
from stvg_core.plugin import NoTracksError, Track, Tracker, TrackRequest
from stvg_sam.frame_reader import FrameReader
from stvg_sam.loading import checkpoint_stamp
from stvg_sam.settings import EXECUTION_SETTINGS, TextSettings, read_settings
from stvg_sam.words import head_noun

AnySettings = TypeVar("AnySettings", bound=TextSettings)


class WordTracker(Tracker, Generic[AnySettings]):
    """Looks for the classes of its settings, or for the noun of the query's attribute where there are none.

    A tracker of this kind names itself, its checkpoints and the frames it looks at, and makes tracks.
    """

    def __init__(self, settings: AnySettings) -> None:
        """Keep the settings; models are loaded when they are needed."""
        self.settings = settings
        self._classes = settings.classes
        self._from_cache: bool | None = None

    @abstractmethod
    def _looked_at(self) -> tuple[int, ...]:
        """Return the steps, in source frames, on whose multiples frames are looked at."""

    @abstractmethod
    def _checkpoints(self) -> tuple[str, ...]:
        """Return the folders or hub ids of its models."""

    @abstractmethod
    def _cure(self) -> str:
        """Return what the message says behind the video's name where nothing was found."""

    @abstractmethod
    def _track(self, request: TrackRequest, pictures: FrameReader) -> tuple[Track, ...]:
        """Return the tracks of what `self._classes` name; none where nothing was found."""

    @property
    def per_video(self) -> bool:
        """Whether the video alone decides: where classes are given, whatever is asked."""
        return bool(self.settings.classes)

    def configure(self, settings: Mapping[str, str]) -> "WordTracker[AnySettings]":
        """Return the tracker with other settings.

        Raises:
            UsageError: a setting is unknown or out of range.
        """
        return type(self)(read_settings(type(self.settings), self.name, settings))

    def describe(self) -> Mapping[str, Any]:
        """Return the settings that decide the tracks."""
        return self.settings.model_dump(mode="json", exclude=set(EXECUTION_SETTINGS))

    def report(self) -> Mapping[str, Any]:
        """Return the words that were last looked for, whether the tracks came from the cache, and where it ran."""
        return {
            **self.settings.model_dump(mode="json", include=set(EXECUTION_SETTINGS)),
            "classes": list(self._classes),
            "from_cache": self._from_cache,
        }

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return a track with masks for every object that the words name, best first.

        Raises:
            NoTracksError: nothing of that name was found.
            ModelError: a checkpoint is missing, damaged, or of another type.
            DeviceMemoryError: it does not fit.
        """
        settings = self.settings
        self._classes = settings.classes or (head_noun(request.sub_queries.attribute),)
        pictures = FrameReader(request.frames, self._looked_at(), settings.longest_side_pixels)
        decisive = dict(self.describe()) | {
            "classes": list(self._classes),
            "looked": pictures.source_frames.tolist(),
            "checkpoints": [checkpoint_stamp(checkpoint) for checkpoint in self._checkpoints()],
        }
        tracks, self._from_cache = TrackStore.named(settings.cache).remember(
            request.frames.info, self.name, decisive, lambda: self._track(request, pictures)
        )
        if not tracks:
            raise NoTracksError(f"no {' or '.join(self._classes)} in {request.frames.info.path}{self._cure()}")
        return tracks
