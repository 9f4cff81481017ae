"""The controls see what they should and nothing else; the method's own join is the pipeline's."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from stvg_core import Session, open_session
from stvg_core.api.grounder import settings_of
from stvg_core.errors import StvgError, TrackError
from stvg_core.inputs.query.rules import RulesDecomposer
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.inputs.tracks.regions import RegionTracker
from stvg_core.method.pipeline import Pipeline
from stvg_core.metrics import tube_overlap
from stvg_core.plugin import Tracker
from stvg_core.settings import Settings
from stvg_core.values import FrameMaps
from stvg_tiny.clips import (
    CLIP_PIXELS,
    OracleTracker,
    benchmark_clips,
    clip_frames,
    query,
    true_track,
    true_tube,
)
from stvg_tiny.errors import SceneError
from stvg_tiny.sampling import Split
from stvg_tiny.scenes import Scene, frame_times
from tiny_recipe import controls
from tiny_recipe.controls import JOINS, RANDOM, ClipMaps, compare, compute_maps, join_of, joined_tubes, random_tube

SETTINGS = Settings.model_validate({"sampling": {"frame_count": 16}, "joint": {"track_branches": "product"}})
CLIPS = benchmark_clips("hard", 12)
NO_SESSION = object.__new__(Session)
"""Where the maps are given, the model is not called."""


def ideal_maps(scene: Scene, settings: Settings = SETTINGS) -> ClipMaps:
    """Maps of a perfect model: one branch lights whatever looks like the target, the other what acts like it."""
    frames = clip_frames(scene, CLIP_PIXELS, settings.sampling)
    tracks = [true_track(item, CLIP_PIXELS) for item in scene.objects]
    coverage = cell_coverage(tracks, frames.indices, frames.info, 12, 12)
    times = frame_times(128)[frames.indices]
    looks, acts = np.full((2, len(frames), 12, 12), 0.01)
    for item, cells in zip(scene.objects, coverage, strict=True):
        if (item.color, item.shape) == (scene.target.color, scene.target.shape):
            looks = looks + cells
        if item.action == scene.target.action:
            acts = acts + cells * item.span.contains(times)[:, None, None]
    return ClipMaps(frames, RulesDecomposer().decompose(query(scene)), FrameMaps(looks), FrameMaps(acts))


def patched(monkeypatch: pytest.MonkeyPatch, read: Callable[[Scene], ClipMaps]) -> None:
    monkeypatch.setattr(controls, "compute_maps", lambda scene, session, settings: read(scene))


def test_a_perfect_model_needs_both_branches_on_hard_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, ideal_maps)
    comparison = compare(NO_SESSION, SETTINGS, CLIPS, ())
    reached = {name: row.summary()["m_vIoU"] for name, row in comparison.rows.items()}
    both = reached["attribute x action, oracle"]
    assert both > 0.6
    assert reached["attribute only, oracle"] < both - 0.2
    assert reached["action only, oracle"] < both - 0.1
    assert reached[RANDOM] < both - 0.3


def test_a_single_branch_never_sees_the_other() -> None:
    generator = np.random.default_rng(0)
    found: dict[str, set[str]] = {name: set() for name in JOINS}
    for clip in CLIPS:
        maps = ideal_maps(clip.scene)
        noise = FrameMaps(generator.random(maps.action_maps.values.shape))
        other_looks = ClipMaps(maps.frames, maps.sub_queries, noise, maps.action_maps)
        other_acts = ClipMaps(maps.frames, maps.sub_queries, maps.attribute_maps, noise)
        tracker = OracleTracker(clip.scene, CLIP_PIXELS)
        tubes = [joined_tubes(one, tracker, SETTINGS.joint, tuple(JOINS)) for one in (maps, other_looks, other_acts)]
        for name in JOINS:
            plain, looks, acts = (tube[name].boxes_xyxy.tolist() for tube in tubes)
            found[name] |= {"attribute"} if looks != plain else set()
            found[name] |= {"action"} if acts != plain else set()
    assert found == {
        "attribute x action": {"attribute", "action"},
        "paper's join": {"attribute", "action"},
        "attribute only": {"attribute"},
        "action only": {"action"},
    }


def test_the_two_joins_differ_in_who_chooses_the_track_alone() -> None:
    # The action branch points at the target alone, the attribute branch a little more at its double.
    scene = CLIPS[0].scene
    maps = ideal_maps(scene)
    tracks = [true_track(item, CLIP_PIXELS) for item in scene.objects[:2]]
    target, double = cell_coverage(tracks, maps.frames.indices, maps.frames.info, 12, 12)
    looks, acts = FrameMaps(0.01 + target + 1.2 * double), FrameMaps(0.01 + target)
    skewed = ClipMaps(maps.frames, maps.sub_queries, looks, acts)
    tubes = joined_tubes(skewed, OracleTracker(scene, CLIP_PIXELS), SETTINGS.joint, tuple(JOINS))

    def follows(name: str, place: int) -> bool:
        tube = tubes[name]
        frames = np.arange(tube.start_frame, tube.end_frame + 1)
        return bool(
            np.abs(true_track(scene.objects[place], CLIP_PIXELS).boxes_at(frames)[0] - tube.boxes_xyxy).max() < 1
        )

    assert follows("attribute x action", 0)
    assert follows("action only", 0)
    assert follows("paper's join", 1)
    assert follows("attribute only", 1)


def test_a_clip_that_cannot_be_read_fails_in_every_row_but_the_random_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(scene: Scene) -> ClipMaps:
        if scene == CLIPS[1].scene:
            raise StvgError("no")
        return ideal_maps(scene)

    patched(monkeypatch, read)
    comparison = compare(NO_SESSION, SETTINGS, CLIPS[:3], ("regions",))
    for name, row in comparison.rows.items():
        assert len(row.overlaps) == 3
        assert row.failures == (0 if name == RANDOM else 1)
        assert row.video_ious[1] == 0 or name == RANDOM
    assert len(comparison.rows) == 1 + 2 * 4
    assert {control for _, control in comparison.pairs} <= set(comparison.rows)
    assert len(comparison.pairs) == 2 * 2 * 3


def test_a_tracker_that_finds_nothing_fails_in_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(Tracker):
        name = "regions"

        def propose(self, request: object) -> tuple:
            raise TrackError("nothing stands out")

    patched(monkeypatch, ideal_maps)
    monkeypatch.setattr(controls, "open_tracker", lambda name: Blind())
    comparison = compare(NO_SESSION, SETTINGS, CLIPS[:2], ("regions",))
    failed = {name for name, row in comparison.rows.items() if row.failures}
    assert failed == {f"{join}, regions" for join in JOINS}
    assert all(comparison.rows[name].failures == 2 for name in failed)


def test_measure_is_the_row_of_the_settings_own_join(monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, ideal_maps)
    for branches, name in (("product", "attribute x action"), ("spatial", "paper's join")):
        settings = SETTINGS.model_copy(update={"joint": SETTINGS.joint.model_copy(update={"track_branches": branches})})
        assert join_of(settings) == name
        row = compare(NO_SESSION, settings, CLIPS[:4], ()).rows[f"{name}, oracle"]
        measured = controls.ground_scenes(NO_SESSION, settings, "oracle", [clip.scene for clip in CLIPS[:4]])
        assert measured.overlaps == row.overlaps


def test_the_random_tube_depends_on_the_scene_alone_and_not_on_its_target() -> None:
    tubes = [random_tube(clip.scene, SETTINGS) for clip in CLIPS]
    again = [random_tube(clip.scene, SETTINGS) for clip in CLIPS]
    assert all(np.array_equal(one.boxes_xyxy, other.boxes_xyxy) for one, other in zip(tubes, again, strict=True))
    assert len({tube.start_frame for tube in tubes}) > 3
    hits = [
        tube_overlap(tube, true_tube(clip.scene, CLIP_PIXELS)).video_iou > 0
        for tube, clip in zip(tubes, CLIPS, strict=True)
    ]
    assert not all(hits)


def test_the_shared_reading_gives_the_pipelines_own_tube() -> None:
    clip = benchmark_clips("easy", 1)[0]
    with open_session("tiny:qwen2-vl") as session:
        settings = settings_of(session)
        frames = clip_frames(clip.scene, CLIP_PIXELS, settings.sampling)
        sub_queries = RulesDecomposer().decompose(query(clip.scene))
        expected = Pipeline(session, settings, RegionTracker()).ground(frames, (sub_queries,))[0].tube
        maps = compute_maps(clip.scene, session, settings)
        found = joined_tubes(maps, RegionTracker(), settings.joint, (join_of(settings),))[join_of(settings)]
    assert found.start_frame == expected.start_frame
    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)


def test_results_are_whole_json(monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, ideal_maps)
    found = compare(NO_SESSION, SETTINGS, CLIPS[:4], ()).by_group()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {"all", "none", "pair", "triple", "background", "five_objects"}


def test_no_clips_are_refused() -> None:
    with pytest.raises(SceneError, match="at least one clip"):
        controls.clips_of(Split.TEST, "easy", 0)
