"""Makes good tracks worse by a stated amount, to see what a method loses to its tracker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from stvg_core.errors import UsageError
from stvg_core.inputs.tracks.assembly import inside_picture
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import Track, VideoInfo

DROP_OUT_FRAMES: Final = 16
"""Source frames that a drop-out lasts."""


@dataclass(frozen=True)
class TrackNoise:
    """How much worse tracks become.

    Attributes:
        jitter: standard deviation, for each box on its own, of the centre's shift as a share of the
            box's width and height, and of the logarithm of its width and height.
        drop_out: chance that a track loses its boxes in a stretch of `DROP_OUT_FRAMES` frames. Inside a
            track the gap is interpolated; at its ends the track is shorter.
        switches: how often two tracks, drawn at random, change places for the rest of the clip.
    """

    jitter: float = 0.0
    drop_out: float = 0.0
    switches: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.jitter < 0 or not 0 <= self.drop_out <= 1 or self.switches < 0:
            raise UsageError(f"expected jitter and switches of at least 0 and drop_out in 0..1, got {self}")

    @property
    def name(self) -> str:
        """Name in tables.

        >>> TrackNoise(jitter=0.1, switches=2).name
        'jitter 0.1, switches 2'
        """
        levels = {"jitter": self.jitter, "drop-outs": self.drop_out, "switches": self.switches}
        return ", ".join(f"{name} {level}" for name, level in levels.items() if level) or "no noise"


TRACK_NOISES: Final = (
    TrackNoise(jitter=0.1),
    TrackNoise(jitter=0.2),
    TrackNoise(drop_out=0.25),
    TrackNoise(drop_out=0.5),
    TrackNoise(switches=1),
    TrackNoise(switches=3),
)
"""The levels that are measured."""


@dataclass(frozen=True)
class NoisyTracker(Tracker):
    """Another tracker's tracks, made worse: the same way for equal seeds.

    Attributes:
        tracker: proposes the tracks.
        noise: what happens to them: first switches, then drop-outs, then jitter.
        seed: of all that is random; give each clip its own.
    """

    tracker: Tracker
    noise: TrackNoise
    seed: int

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.tracker.name} with {self.noise.name}"

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return the other tracker's tracks, made worse, in its order.

        Raises:
            TrackError: the other tracker found nothing.
        """
        generator = np.random.default_rng(self.seed)
        info = request.frames.info
        tracks = list(self.tracker.propose(request))
        for _ in range(self.noise.switches):
            _switch(tracks, info.frame_count, generator)
        worse = [_drop_out(track, self.noise.drop_out, info.frame_count, generator) for track in tracks]
        return tuple(_jitter(track, self.noise.jitter, info, generator) for track in worse)


def _switch(tracks: list[Track], frame_count: int, generator: np.random.Generator) -> None:
    """Let two tracks change places from a random frame on; where one would be left empty, neither changes."""
    if len(tracks) < 2 or frame_count < 2:  # noqa: PLR2004  # two tracks, two frames
        return
    first, second = (int(place) for place in generator.choice(len(tracks), size=2, replace=False))
    frame = int(generator.integers(1, frame_count))
    heads = [_part(tracks[place], tracks[place].frames < frame) for place in (first, second)]
    tails = [_part(tracks[place], tracks[place].frames >= frame) for place in (second, first)]
    parts = list(zip(heads, tails, (first, second), strict=True))
    if all(len(head[0]) + len(tail[0]) for head, tail, _ in parts):
        for head, tail, place in parts:
            boxes = np.concatenate([head[1], tail[1]])
            tracks[place] = Track(np.concatenate([head[0], tail[0]]), boxes, tracks[place].label)


def _part(track: Track, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return track.frames[kept], track.boxes_xyxy[kept]


def _drop_out(track: Track, chance: float, frame_count: int, generator: np.random.Generator) -> Track:
    """Lose the boxes of some stretches; a track that would lose all keeps its first stretch."""
    stretches = track.frames // DROP_OUT_FRAMES
    lost = generator.random(-(-frame_count // DROP_OUT_FRAMES)) < chance
    kept = ~lost[stretches]
    if not kept.any():
        kept = stretches == stretches[0]
    return Track(*_part(track, kept), track.label)


def _jitter(track: Track, level: float, info: VideoInfo, generator: np.random.Generator) -> Track:
    if level == 0:
        return track
    low, high = track.boxes_xyxy[:, :2], track.boxes_xyxy[:, 2:]
    size = high - low
    center = (low + high) / 2 + generator.normal(0.0, level, size.shape) * size
    half = size * np.exp(generator.normal(0.0, level, size.shape)) / 2
    boxes = np.concatenate([center - half, center + half], axis=1)
    return Track(track.frames, inside_picture(boxes, info), track.label)


def noisy_trackers(tracker: Tracker, noises: Sequence[TrackNoise], seed: int) -> dict[str, Tracker]:
    """Return one noisy tracker per noise, by name."""
    trackers = [NoisyTracker(tracker, noise, seed) for noise in noises]
    return {noisy.name: noisy for noisy in trackers}
