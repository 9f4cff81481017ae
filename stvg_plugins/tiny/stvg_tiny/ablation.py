"""The synthetic clips as samples of `stvg ablate`'s machinery: `stvg-tiny ablate`.

Clips are rendered, not decoded, in the frames that a setting samples; the true tracks of all objects are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stvg_core.ablation import AblationSample
from stvg_core.metrics import Protocol, Rules, SampleTruth, SampleTube
from stvg_core.runs.tasks import Task
from stvg_core.values import Tube
from stvg_tiny.benchmark import LEVELS
from stvg_tiny.clips import CLIP_FRAMES, CLIP_PIXELS, Clip, OracleTracker, benchmark_clips, clip_frames, query, true_tube
from stvg_tiny.grounding import clips_of
from stvg_tiny.sampling import Split

EXACT: Final = Protocol(
    "exact",
    Rules(video_union="union"),
    "stvg_core.metrics.tube_overlap: VidSTG's definitions (Zhang et al., CVPR 2020) over sets of frames",
    "the cards of the tiny models",
)
"""Both ends of a span belong to it, and a perfect tube scores 1; no published code scores so."""


@dataclass(frozen=True)
class SceneSource:
    """Clips of one split.

    Attributes:
        split: `test` for reporting, `development` for choosing.
        clips: of each level and seed, the first so many.
        seeds: of the test split: 0 is the benchmark itself, others are more clips like it.
    """

    split: str
    clips: int
    seeds: tuple[int, ...] = (0,)

    @property
    def protocol(self) -> Protocol:
        """The cards' own measures."""
        return EXACT

    @property
    def knows_true_tracks(self) -> bool:
        """Scenes know everything."""
        return True

    def describe(self) -> dict[str, Any]:
        """Return what decides a sample; not how many there are, so that more can be added."""
        return {"dataset": "stvg-tiny", "split": self.split, "pixels": CLIP_PIXELS, "protocol": EXACT.name}

    def samples(self) -> Iterator[AblationSample]:
        """Yield clips of all levels and seeds in turn, so that any first ones have the same shares.

        Raises:
            SceneError: no clips are asked for, or a seed is negative.
        """
        split = Split[self.split.upper()]
        streams = [
            (level, seed, clips_of(split, level, self.clips, seed))
            for seed in (self.seeds if split is Split.TEST else (0,))
            for level in LEVELS
        ]
        for number in range(self.clips):
            for level, seed, clips in streams:
                yield _sample(clips[number], (level, f"seed {seed}"), seed)


def _sample(clip: Clip, groups: tuple[str, ...], seed: int) -> AblationSample:
    scene = clip.scene
    return AblationSample(
        Task(f"{clip.identifier}_seed_{seed}", f"{clip.identifier}.mp4", query(scene), frame_count=CLIP_FRAMES),
        _truth(true_tube(scene, CLIP_PIXELS)),
        lambda sampling: clip_frames(scene, CLIP_PIXELS, sampling),
        (*groups, *clip.tags),
        OracleTracker(scene, CLIP_PIXELS).tracks(),
    )


def _truth(tube: Tube) -> SampleTruth:
    frames = np.arange(tube.start_frame, tube.end_frame + 1)
    return SampleTruth(SampleTube(tube.start_frame, tube.end_frame, frames, tube.boxes_xyxy), CLIP_FRAMES, "declarative")
