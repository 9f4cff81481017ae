"""The tracker `grounding-dino+sam2`: the paper's pipeline for object tracks, through transformers."""

from functools import cached_property
from typing import Final

import torch

from stvg_core.plugin import Track, TrackRequest
from stvg_sam.detector import GroundingDinoDetector, load_detector
from stvg_sam.following import follow
from stvg_sam.frame_reader import FrameReader
from stvg_sam.loading import LoadedModel
from stvg_sam.objects import as_tracks, merge_duplicates
from stvg_sam.sam2 import Sweep, load_sam2
from stvg_sam.settings import GroundingDinoSam2Settings
from stvg_sam.word_tracker import WordTracker

NAME: Final = "grounding-dino+sam2"


class GroundingDinoSam2Tracker(WordTracker[GroundingDinoSam2Settings]):
    """Boxes of Grounding DINO in key frames, carried through the video by SAM 2."""

    def __init__(self, settings: GroundingDinoSam2Settings | None = None) -> None:
        """Keep the settings; models are loaded when they are needed.

        Args:
            settings: None: the paper's.
        """
        super().__init__(settings or GroundingDinoSam2Settings())

    @property
    def name(self) -> str:
        """Name as the user types it."""
        return NAME

    def _looked_at(self) -> tuple[int, ...]:
        return self.settings.track_every_frames, self.settings.detect_every_frames

    def _checkpoints(self) -> tuple[str, ...]:
        return self.settings.detector, self.settings.segmenter

    def _cure(self) -> str:
        return f" at box_threshold {self.settings.box_threshold}; name other classes, or lower it"

    def _track(self, request: TrackRequest, pictures: FrameReader) -> tuple[Track, ...]:
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
