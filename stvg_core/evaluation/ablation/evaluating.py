"""Every variant on one sample: what they share is computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zlib import crc32

import numpy as np
from jaxtyping import Float64

from stvg_core._internal.memo import Recall
from stvg_core.api.grounder import Grounder
from stvg_core.errors import ScoreError
from stvg_core.evaluation.ablation.measures import consistency, pointing, true_track
from stvg_core.evaluation.ablation.paper_tables import ORACLE_TRACKS
from stvg_core.evaluation.ablation.sources import AblationSample, FixedTracks
from stvg_core.evaluation.ablation.variants import Variant
from stvg_core.evaluation.runs.scoring import predicted_tube
from stvg_core.evaluation.runs.tasks import Failure
from stvg_core.inputs.tracks.catalog import open_tracker
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.inputs.tracks.noise import NoisyTracker
from stvg_core.inputs.tracks.proposing import propose_tracks
from stvg_core.method.branches import BranchMaps, read_queries
from stvg_core.method.pipeline import Joined, Stopwatch, join_branches, score_track_frames
from stvg_core.method.tube import choose_span, source_bounds
from stvg_core.metrics import ScoringProtocol, box_iou, score_sample
from stvg_core.plugin.adapter import EncodedClip
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.settings import JointSettings, Settings
from stvg_core.values import FrameMaps, Frames, SubQueries, Track

OWN: Final = "own"
ATTRIBUTE_ONLY: Final = "attribute only"
ACTION_ONLY: Final = "action only"
RANDOM: Final = "random track and span"
BEST_TRACK: Final = "best track, own span"
BEST_TRACK_TRUE_SPAN: Final = "best track, true span"
CONTROLS: Final = (ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM, BEST_TRACK, BEST_TRACK_TRUE_SPAN)

EXTRAS: Final = (
    "attribute_points",
    "action_points",
    "peak_frame_inside",
    "consistency",
    "attribute_margin_before",
    "attribute_margin_after",
    "action_margin_before",
    "action_margin_after",
    "prompt_norm",
    "span_frames",
    "seconds",
)
"""Beside the scores of a variant; None where there is no such thing.

attribute_points, action_points: the peak of a branch's maps, in the frames of the true span, lies on the true object.
peak_frame_inside: the best frame of the chosen track lies in the true span. consistency: correlation of both views.
margins: yes minus no of a branch's question under no prompt and under the learned one. prompt_norm: of the attribute's
prompt, as a share of the visual tokens' norm. span_frames: sampled frames in the span. seconds: of this variant alone.
"""

Scores = tuple[float, ...]
"""In the order of METRIC_NAMES, each in 0..1."""

_RANDOM_KEY: Final = 11


@dataclass(frozen=True)
class Measured:
    """What came of one variant on one sample.

    Attributes:
        scores: of the variant under OWN, and of each of its CONTROLS.
        extras: in the order of EXTRAS.
    """

    scores: Mapping[str, Scores]
    extras: tuple[float | None, ...]


@dataclass(frozen=True, eq=False)
class Evaluator:
    """A model with everything that all variants share.

    Attributes:
        grounder: the opened model, with the settings that variants differ from and the tracker of those that name none.
        protocol: whose rules the scores follow.
        random_seeds: so many random choices are averaged in each sample.
    """

    grounder: Grounder
    protocol: ScoringProtocol
    random_seeds: int = 5
    _trackers: dict[str, Tracker] = field(default_factory=dict)

    def evaluate(self, sample: AblationSample, variants: Sequence[Variant]) -> list[Measured | Failure]:
        """Return what came of each variant, in their order; a failure where one cannot ground the sample."""
        one = _Evaluation(self, sample)
        found: list[Measured | Failure] = []
        for variant in variants:
            try:
                found.append(one.measure(variant))
            except Exception as error:  # noqa: BLE001  # the sample's failure, not the ablation's
                found.append(Failure.of(error))
        return found

    def tracker(self, name: str | None, sample: AblationSample) -> Tracker:
        """Return the tracker of a name; None: the grounder's."""
        if name is None:
            return self.grounder.tracker
        if name == ORACLE_TRACKS:
            return FixedTracks(sample.true_tracks)
        if name not in self._trackers:
            self._trackers[name] = open_tracker(name)
        return self._trackers[name]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a variant sees of a sample."""

    frames: Frames
    clip: EncodedClip
    tracks: tuple[Track, ...]
    coverage: Float64[np.ndarray, "track frame row column"]
    read: BranchMaps


class _Evaluation:
    """One sample, and what was computed of it."""

    def __init__(self, evaluator: Evaluator, sample: AblationSample) -> None:
        self._evaluator = evaluator
        self._session = evaluator.grounder.session
        self._sample = sample
        self._recall = Recall()

    def measure(self, variant: Variant) -> Measured:
        settings = variant.settings(self._evaluator.grounder.settings)
        watch = Stopwatch()
        self._recall.seconds = 0.0
        seen = self._see(settings, variant)
        with watch.stage("tube"):
            joined = _join(seen, seen.read.spatial, seen.read.temporal, settings.joint)
        seconds = self._recall.seconds + watch.seconds["tube"]
        found = {OWN: self._score(joined.span_frames, seen, joined.chosen_track, settings)}
        if variant.controls:
            found |= self._controls(seen, settings, joined)
        true_cells = self._true_cells(seen)
        views = seen.read.views
        if variant.consistency and len(views) == 1:
            views = self._read(
                settings.model_copy(update={"augment": settings.augment.model_copy(update={"enabled": True})})
            ).views
        peak = int(seen.frames.indices[int(joined.frame_scores.argmax())]) // self._sample.task.frame_step
        truth = self._sample.truth.tube
        extras: dict[str, float | None] = {
            "attribute_points": pointing(seen.read.spatial, true_cells),
            "action_points": pointing(seen.read.temporal, true_cells),
            "peak_frame_inside": float(truth.start_frame <= peak <= truth.end_frame),
            "consistency": consistency(views[0], views[1]) if len(views) > 1 else None,
            "span_frames": float(joined.span_frames[1] - joined.span_frames[0] + 1),
            "seconds": seconds,
            **_prompt_measures(seen.read),
        }
        return Measured(found, tuple(extras.get(name) for name in EXTRAS))

    def _frames(self, settings: Settings) -> Frames:
        return self._recall(("frames", settings.sampling), lambda: self._sample.read(settings.sampling))

    def _sub_queries(self) -> SubQueries:
        task = self._sample.task
        return self._recall("query", lambda: self._evaluator.grounder.decompose(task.query, task.video, Stopwatch()))

    def _clip(self, settings: Settings) -> EncodedClip:
        frames = self._frames(settings)
        order = tuple(range(len(frames)))
        return self._recall(
            ("clip", settings.sampling, settings.input),
            lambda: self._session.adapter.encode(frames, settings.input, order),
        )

    def _read(self, settings: Settings) -> BranchMaps:
        clip, frames = self._clip(settings), self._frames(settings)
        backward = None
        if settings.augment.enabled:
            backward = self._recall(
                ("reversed", settings.sampling, settings.input),
                lambda: self._session.augment_frames(frames, clip, settings.input),
            )
        (read,) = read_queries(
            self._session, clip, backward, (self._sub_queries(),), settings, Stopwatch(), self._recall
        )
        return read

    def _see(self, settings: Settings, variant: Variant) -> _Seen:
        clip, frames, read = self._clip(settings), self._frames(settings), self._read(settings)
        tracker = self._evaluator.tracker(variant.tracks, self._sample)
        request = TrackRequest(frames, self._sub_queries(), read.spatial, read.temporal)
        key: tuple[Any, ...] = ("tracks", variant.tracks, settings.sampling)
        if not getattr(tracker, "per_video", False):
            # Maps have no value of their own: two variants that read the same ask twice.
            key = (*key, read.spatial, read.temporal)
        proposed, _ = self._recall(key, lambda: propose_tracks(tracker, request))
        if variant.noise is not None:
            seed = crc32(self._sample.task.sample_id.encode())
            noisy = NoisyTracker(FixedTracks(proposed), variant.noise, seed)
            key = (*key, variant.noise)
            proposed = self._recall(key, lambda: noisy.propose(request))
        rows, columns = read.temporal.values.shape[1:]
        coverage = self._recall(
            ("coverage", *key, rows, columns, settings.joint.track_cells),
            lambda: cell_coverage(proposed, frames.indices, frames.info, rows, columns, settings.joint.track_cells),
        )
        return _Seen(frames, clip, proposed, coverage, read)

    def _score(self, span: tuple[int, int], seen: _Seen, track: int, settings: Settings) -> Scores:
        """Return the scores of a track over a span of sampled frames."""
        return self._score_source(source_bounds(span, seen.frames, settings.joint), seen, track)

    def _score_source(self, bounds: tuple[int, int], seen: _Seen, track: int) -> Scores:
        info, rules = seen.frames.info, self._evaluator.protocol.rules
        chosen = seen.tracks[track]
        tube = predicted_tube(
            {
                "tube": {"start_frame": bounds[0], "end_frame": bounds[1]},
                "video": {"frame_count": info.frame_count, "width": info.width, "height": info.height},
            },
            {"frames": chosen.frames.tolist(), "boxes_xyxy": chosen.boxes_xyxy.tolist()},
            self._sample.task,
            self._evaluator.protocol,
        )
        if isinstance(tube, ScoreError):
            raise tube
        found = score_sample(tube, self._sample.truth, rules)
        return (
            found.temporal_iou,
            found.video_iou,
            found.truth_video_iou,
            *(float(rules.passes(found.video_iou, threshold)) for threshold in rules.thresholds),
        )

    def _controls(self, seen: _Seen, settings: Settings, own: Joined) -> dict[str, Scores]:
        found: dict[str, Scores] = {}
        for name, maps in ((ATTRIBUTE_ONLY, seen.read.spatial), (ACTION_ONLY, seen.read.temporal)):
            joined = _join(seen, maps, maps, settings.joint)
            found[name] = self._score(joined.span_frames, seen, joined.chosen_track, settings)
        length = own.span_frames[1] - own.span_frames[0] + 1
        draws = []
        for seed in range(self._evaluator.random_seeds):
            generator = np.random.default_rng([_RANDOM_KEY, seed, *self._sample.task.sample_id.encode()])
            start = int(generator.integers(len(seen.frames) - length + 1))
            track = int(generator.integers(len(seen.tracks)))
            draws.append(self._score((start, start + length - 1), seen, track, settings))
        found[RANDOM] = tuple(float(value) for value in np.mean(draws, axis=0))
        truth, step = self._sample.truth.tube, self._sample.task.frame_step
        fits = [
            float(box_iou(track.boxes_at(truth.frames * step)[0], truth.boxes_xyxy).mean()) for track in seen.tracks
        ]
        best = int(np.argmax(fits))
        rated = score_track_frames(
            seen.frames, seen.tracks[best], seen.coverage[best], seen.read.temporal, settings.joint
        )
        found[BEST_TRACK] = self._score(choose_span(rated, settings.joint), seen, best, settings)
        found[BEST_TRACK_TRUE_SPAN] = self._score_source((truth.start_frame * step, truth.end_frame * step), seen, best)
        return found

    def _true_cells(self, seen: _Seen) -> Float64[np.ndarray, "frame row column"]:
        rows, columns = seen.read.temporal.values.shape[1:]
        track = true_track(self._sample.truth, self._sample.task.frame_step)
        (cells,) = cell_coverage([track], seen.frames.indices, seen.frames.info, rows, columns)
        return np.asarray(cells, dtype=np.float64)


def _prompt_measures(read: BranchMaps) -> dict[str, float]:
    found: dict[str, float] = {}
    for branch, name in (("attribute", "spatial"), ("action", "temporal")):
        if name in read.prompts:
            found[f"{branch}_margin_before"] = read.prompts[name].margin_before
            found[f"{branch}_margin_after"] = read.prompts[name].margin_after
    if "spatial" in read.prompts:
        found["prompt_norm"] = read.prompts["spatial"].prompt_norm_share
    return found


def _join(seen: _Seen, spatial: FrameMaps, temporal: FrameMaps, settings: JointSettings) -> Joined:
    return join_branches(seen.frames, seen.tracks, seen.coverage, spatial, temporal, settings)
