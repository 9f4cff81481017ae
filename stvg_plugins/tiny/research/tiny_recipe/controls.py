"""Attention maps computed once per clip, joined in every way that is to be compared.

`attribute x action` and `paper's join` are the method; `attribute only` and `action only` are the
same join with one branch in both places. All of them see the same maps and the same tracks,
so a difference between two rows comes from nothing else. Ground truth comes in only as oracle
tracks, and afterwards, to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from stvg_core.errors import StvgError
from stvg_core.host.session import Session
from stvg_core.inputs.query.catalog import open_decomposer
from stvg_core.inputs.tracks.catalog import open_tracker
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.method.pipeline import Pipeline, join_branches
from stvg_core.method.tube import assemble_tube
from stvg_core.metrics import TubeOverlap, tube_overlap
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.settings import JointSettings, Settings
from stvg_core.values import FrameMaps, Frames, SubQueries, Tube
from stvg_tiny.clips import CLIP_PIXELS, Clip, OracleTracker, benchmark_clips, clip_frames, query, true_tube
from stvg_tiny.errors import SceneError
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import Difficulty, Scene
from tiny_recipe.measurements import Comparison, Row

ORACLE: Final = "oracle"
ATTRIBUTE_TIMES_ACTION: Final = "attribute x action"
PAPERS_JOIN: Final = "paper's join"
ATTRIBUTE_ONLY: Final = "attribute only"
ACTION_ONLY: Final = "action only"
RANDOM: Final = "random track and span"
_RANDOM_KEY: Final = 1

Join = Callable[[FrameMaps, FrameMaps, JointSettings], tuple[FrameMaps, FrameMaps, JointSettings]]
"""From the attribute branch's maps, the action branch's maps and the settings to what `join_branches` is given."""


def _both(branches: str) -> Join:
    return lambda attribute, action, settings: (
        attribute,
        action,
        settings.model_copy(update={"track_branches": branches}),
    )


JOINS: Final[Mapping[str, Join]] = MappingProxyType(
    {
        ATTRIBUTE_TIMES_ACTION: _both("product"),
        PAPERS_JOIN: _both("spatial"),
        ATTRIBUTE_ONLY: lambda attribute, action, settings: (attribute, attribute, settings),
        ACTION_ONLY: lambda attribute, action, settings: (action, action, settings),
    }
)
"""Every way to join the branches, by name."""


def join_of(settings: Settings) -> str:
    """Return the name of the join that the settings themselves call for."""
    return ATTRIBUTE_TIMES_ACTION if settings.joint.track_branches == "product" else PAPERS_JOIN


@dataclass(frozen=True, eq=False)
class ClipMaps:
    """What the model said about one clip: its sampled frames, and one map per frame and branch."""

    frames: Frames
    sub_queries: SubQueries
    attribute_maps: FrameMaps
    action_maps: FrameMaps

    @property
    def request(self) -> TrackRequest:
        """What a tracker may look at."""
        return TrackRequest(self.frames, self.sub_queries, self.attribute_maps, self.action_maps)


def compute_maps(scene: Scene, session: Session, settings: Settings) -> ClipMaps:
    """Run the method on a clip, and keep what does not depend on tracks.

    Raises:
        StvgError: a stage failed.
    """
    frames = clip_frames(scene, CLIP_PIXELS, settings.sampling)
    sub_queries = open_decomposer("rules", generate=None, video_name=None).decompose(query(scene))
    # The true tracks stand in for any: they never fail, and the maps do not depend on them.
    (grounding,) = Pipeline(session, settings, OracleTracker(scene, CLIP_PIXELS)).ground(frames, (sub_queries,))
    return ClipMaps(frames, sub_queries, grounding.spatial_maps, grounding.temporal_maps)


def joined_tubes(maps: ClipMaps, tracker: Tracker, settings: JointSettings, joins: Sequence[str]) -> dict[str, Tube]:
    """Return the tube of each join, all on the same tracks.

    Raises:
        StvgError: the tracker finds nothing, or its tracks make no tube.
    """
    tracks = tracker.propose(maps.request)
    rows, columns = maps.action_maps.values.shape[1:]
    coverage = cell_coverage(tracks, maps.frames.indices, maps.frames.info, rows, columns, settings.track_cells)
    tubes = {}
    for name in joins:
        spatial, temporal, joint = JOINS[name](maps.attribute_maps, maps.action_maps, settings)
        tubes[name] = join_branches(maps.frames, tracks, coverage, spatial, temporal, joint).tube
    return tubes


def random_tube(scene: Scene, settings: Settings) -> Tube:
    """Return a random true track over a random span of the settings' length; the same one for the same scene."""
    generator = np.random.default_rng([_RANDOM_KEY, scene.texture.seed])
    frames = clip_frames(scene, CLIP_PIXELS, settings.sampling)
    length = min(settings.joint.span_length(len(frames)), len(frames))
    first = int(generator.integers(len(frames) - length + 1))
    tracks = OracleTracker(scene, CLIP_PIXELS).tracks()
    track = tracks[int(generator.integers(len(tracks)))]
    return assemble_tube(track, (first, first + length - 1), frames, settings.joint)


def compare(
    session: Session,
    settings: Settings,
    clips: Sequence[Clip],
    trackers: Sequence[str] = ("regions",),
) -> Comparison:
    """Ground every clip in every way.

    Args:
        session: the model.
        settings: every choice of the method; the joins replace `joint.track_branches` alone.
        clips: what to ground.
        trackers: names of trackers; the true tracks are always among them.

    Returns:
        Per tracker one row for each of `JOINS`, and the random row. Each join of both branches is compared with the
        random row, and on each tracker with its own one-branch joins.
    """
    opened = {name: open_tracker(name) for name in trackers if name != ORACLE}
    overlaps: dict[str, list[TubeOverlap | None]] = {RANDOM: []}
    for clip in clips:
        truth = true_tube(clip.scene, CLIP_PIXELS)
        overlaps[RANDOM].append(tube_overlap(random_tube(clip.scene, settings), truth))
        for name, tube in _tubes_of_clip(clip.scene, session, settings, opened).items():
            overlaps.setdefault(name, []).append(None if tube is None else tube_overlap(tube, truth))
    rows = {name: Row(name, tuple(joined)) for name, joined in overlaps.items()}
    pairs = [
        (_row_name(join, tracker), control)
        for tracker in (*opened, ORACLE)
        for join in (ATTRIBUTE_TIMES_ACTION, PAPERS_JOIN)
        for control in (_row_name(ATTRIBUTE_ONLY, tracker), _row_name(ACTION_ONLY, tracker), RANDOM)
    ]
    return Comparison(rows, pairs, [clip.tags for clip in clips])


def _tubes_of_clip(
    scene: Scene, session: Session, settings: Settings, opened: Mapping[str, Tracker]
) -> dict[str, Tube | None]:
    """Return the tube of every row but the random one; None where it failed."""
    oracle = OracleTracker(scene, CLIP_PIXELS)
    combinations = [(name, tracker, tuple(JOINS)) for name, tracker in {**opened, ORACLE: oracle}.items()]
    tubes: dict[str, Tube | None] = {_row_name(join, name): None for name, _, joins in combinations for join in joins}
    try:
        maps = compute_maps(scene, session, settings)
    except StvgError:
        return tubes
    for name, tracker, joins in combinations:
        try:
            joined = joined_tubes(maps, tracker, settings.joint, joins)
        except StvgError:
            continue
        tubes |= {_row_name(join, name): tube for join, tube in joined.items()}
    return tubes


def _row_name(join: str, tracker: str) -> str:
    return f"{join}, {tracker}"


def ground_scenes(session: Session, settings: Settings, tracker: str, scenes: Sequence[Scene]) -> Row:
    """Ground every scene by the settings' own join, and compare with its true tube.

    `tracker` is the name of an installed tracker, or "oracle" for the true tracks of all objects.
    """
    installed = None if tracker == ORACLE else open_tracker(tracker)
    join = join_of(settings)
    overlaps: list[TubeOverlap | None] = []
    for scene in scenes:
        proposer: Tracker = installed or OracleTracker(scene, CLIP_PIXELS)
        try:
            maps = compute_maps(scene, session, settings)
            tube = joined_tubes(maps, proposer, settings.joint, (join,))[join]
        except StvgError:
            overlaps.append(None)
            continue
        overlaps.append(tube_overlap(tube, true_tube(scene, CLIP_PIXELS)))
    return Row(f"{settings.preset}, {tracker}", tuple(overlaps))


def random_choice(settings: Settings, scenes: Sequence[Scene]) -> Row:
    """Return what a random true track over a random span of the settings' length reaches."""
    return Row(
        RANDOM,
        tuple(tube_overlap(random_tube(scene, settings), true_tube(scene, CLIP_PIXELS)) for scene in scenes),
    )


def scenes_of(split: Split, difficulty: Difficulty, count: int) -> list[Scene]:
    """Return the first scenes of a split."""
    return [held_out_scene(split, index, difficulty) for index in range(count)]


def clips_of(split: Split, difficulty: Difficulty, count: int) -> list[Clip]:
    """Return the first clips of a split; only those of the test split have tags.

    Raises:
        SceneError: count is below 1.
    """
    if count < 1:
        raise SceneError(f"expected at least one clip, got {count}")
    if split is Split.TEST:
        return benchmark_clips(difficulty, count)
    scenes = scenes_of(split, difficulty, count)
    return [Clip(f"{split.name.lower()}_{difficulty}_{index:04d}", scene) for index, scene in enumerate(scenes)]
