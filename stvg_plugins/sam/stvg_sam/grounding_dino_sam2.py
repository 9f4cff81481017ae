"""The tracker `grounding-dino+sam2`: the paper's pipeline for object tracks, through transformers."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import torch

from stvg_core.errors import NoTracksError
from stvg_core.tracks.store import TrackStore
from stvg_core.tracks.tracker import TrackRequest
from stvg_core.values import Track
from stvg_sam.detector import GroundingDinoDetector, load_detector
from stvg_sam.following import follow
from stvg_sam.loading import LoadedModel, checkpoint_stamp
from stvg_sam.objects import as_tracks, merge_duplicates
from stvg_sam.pictures import Pictures
from stvg_sam.sam2 import Sweep, load_sam2
from stvg_sam.settings import CIRCUMSTANCES, GroundingDinoSam2Settings, read_settings
from stvg_sam.words import head_noun

NAME: Final = "grounding-dino+sam2"


class GroundingDinoSam2Tracker:
    """Boxes of Grounding DINO in key frames, carried through the video by SAM 2."""

    def __init__(self, settings: GroundingDinoSam2Settings | None = None) -> None:
        """Keep the settings; models are loaded when they are needed.

        Args:
            settings: None: the paper's.
        """
        self.settings = settings or GroundingDinoSam2Settings()
        self._classes = self.settings.classes
        self._from_cache: bool | None = None

    @property
    def name(self) -> str:
        """Name as the user types it."""
        return NAME

    @property
    def per_video(self) -> bool:
        """Whether the video alone decides: where classes are given, whatever is asked."""
        return bool(self.settings.classes)

    def configure(self, settings: Mapping[str, str]) -> "GroundingDinoSam2Tracker":
        """Return the tracker with other settings.

        Raises:
            UsageError: a setting is unknown or out of range.
        """
        return GroundingDinoSam2Tracker(read_settings(GroundingDinoSam2Settings, NAME, settings))

    def describe(self) -> Mapping[str, Any]:
        """Return the settings that decide the tracks."""
        return self.settings.model_dump(mode="json", exclude=set(CIRCUMSTANCES))

    def report(self) -> Mapping[str, Any]:
        """Return the words that were last looked for, whether the tracks came from the cache, and where it ran."""
        return {
            **self.settings.model_dump(mode="json", include=set(CIRCUMSTANCES)),
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
        every = (settings.track_every_frames, settings.detect_every_frames)
        pictures = Pictures(request.frames, every, settings.longest_side_pixels)
        decisive = dict(self.describe()) | {
            "classes": list(self._classes),
            "looked": pictures.source_frames.tolist(),
            "checkpoints": [checkpoint_stamp(settings.detector), checkpoint_stamp(settings.segmenter)],
        }
        tracks, self._from_cache = TrackStore.named(settings.cache).remember(
            request.frames.info, NAME, decisive, lambda: self._track(request, pictures)
        )
        if not tracks:
            raise NoTracksError(
                f"no {' or '.join(self._classes)} in {request.frames.info.path} at box_threshold "
                f"{settings.box_threshold}; name other classes, or lower it"
            )
        return tracks

    def _track(self, request: TrackRequest, pictures: Pictures) -> tuple[Track, ...]:
        settings = self.settings
        detector = GroundingDinoDetector(self._detector, self._classes, settings.box_threshold, settings.text_threshold)
        segmenter, state_device = self._segmenter, torch.device(settings.state_device)

        def start_sweep(*, backwards: bool) -> Sweep:
            return Sweep(
                segmenter.model, pictures, segmenter.statistics, segmenter.device, state_device, backwards=backwards
            )

        objects = follow(
            pictures,
            pictures.on_grid(settings.detect_every_frames),
            detector,
            start_sweep,
            settings.match_overlap,
            settings.most_objects,
        )
        merged = merge_duplicates(objects, settings.merge_overlap)
        return as_tracks(merged, pictures.source_frames, request.frames.info, settings.most_objects)

    @cached_property
    def _detector(self) -> LoadedModel:
        return load_detector(self.settings.detector, self.settings.device, self.settings.dtype)

    @cached_property
    def _segmenter(self) -> LoadedModel:
        return load_sam2(self.settings.segmenter, self.settings.device, self.settings.dtype)
