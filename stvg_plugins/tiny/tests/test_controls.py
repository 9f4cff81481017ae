"""The controls see what they should and nothing else; the method's own join is the pipeline's."""

from collections.abc import Callable

import numpy as np
import pytest

from stvg_core import Session, open_session
from stvg_core.api.grounder import settings_of
from stvg_core.errors import StvgError, TrackError
from stvg_core.inputs.query.rules import RulesDecomposer
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.inputs.tracks.noise import TRACK_NOISES
from stvg_core.inputs.tracks.regions import RegionTracker
from stvg_core.method.pipeline import ground_frames
from stvg_core.metrics import tube_overlap
from stvg_core.plugin import Tracker
from stvg_core.settings import Settings
from stvg_core.values import FrameMaps
from stvg_tiny import controls, grounding
from stvg_tiny.clips import (
    CLIP_PIXELS,
    Clip,
    OracleTracker,
    benchmark_clips,
    clip_frames,
    query,
    true_track,
    true_tube,
)
from stvg_tiny.controls import JOINS, RANDOM, ClipReading, compare, join_of, joined_tubes, random_tube, read_clip
from stvg_tiny.scenes import Scene, frame_times

SETTINGS = Settings.model_validate({"sampling": {"frame_count": 16}, "joint": {"track_branches": "product"}})
CLIPS = benchmark_clips("hard", 12)
NO_SESSION = object.__new__(Session)
"""Where the model's reading is given, nothing is asked of it."""


def ideal_reading(scene: Scene, settings: Settings = SETTINGS) -> ClipReading:
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
    return ClipReading(frames, RulesDecomposer().decompose(query(scene)), FrameMaps(looks), FrameMaps(acts))


def patched(monkeypatch: pytest.MonkeyPatch, read: Callable[[Scene], ClipReading]) -> None:
    monkeypatch.setattr(controls, "read_clip", lambda scene, session, settings, form: read(scene))


def test_a_perfect_model_needs_both_branches_on_hard_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, ideal_reading)
    comparison = compare(NO_SESSION, SETTINGS, CLIPS, ())
    reached = {name: row.summary()["m_vIoU"] for name, row in comparison.rows.items()}
    both = reached["attribute x action, oracle"]
    assert both > 0.6
    assert reached["attribute only, oracle"] < both - 0.2
    assert reached["action only, oracle"] < both - 0.1
    assert reached[RANDOM] < both - 0.3
    for noise in TRACK_NOISES:
        assert 0 < reached[f"attribute x action, oracle with {noise.name}"] <= both + 0.05
    assert reached["attribute x action, oracle with jitter 0.2"] < reached["attribute x action, oracle with jitter 0.1"]


def test_a_single_branch_never_sees_the_other() -> None:
    generator = np.random.default_rng(0)
    found: dict[str, set[str]] = {name: set() for name in JOINS}
    for clip in CLIPS:
        reading = ideal_reading(clip.scene)
        noise = FrameMaps(generator.random(reading.action_maps.values.shape))
        other_looks = ClipReading(reading.frames, reading.sub_queries, noise, reading.action_maps)
        other_acts = ClipReading(reading.frames, reading.sub_queries, reading.attribute_maps, noise)
        tracker = OracleTracker(clip.scene, CLIP_PIXELS)
        tubes = [joined_tubes(one, tracker, SETTINGS.joint, tuple(JOINS)) for one in (reading, other_looks, other_acts)]
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
    reading = ideal_reading(scene)
    tracks = [true_track(item, CLIP_PIXELS) for item in scene.objects[:2]]
    target, double = cell_coverage(tracks, reading.frames.indices, reading.frames.info, 12, 12)
    looks, acts = FrameMaps(0.01 + target + 1.2 * double), FrameMaps(0.01 + target)
    skewed = ClipReading(reading.frames, reading.sub_queries, looks, acts)
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
    def read(scene: Scene) -> ClipReading:
        if scene == CLIPS[1].scene:
            raise StvgError("no")
        return ideal_reading(scene)

    patched(monkeypatch, read)
    comparison = compare(NO_SESSION, SETTINGS, CLIPS[:3], ("regions",))
    for name, row in comparison.rows.items():
        assert len(row.overlaps) == 3
        assert row.failures == (0 if name == RANDOM else 1)
        assert row.video_ious[1] == 0 or name == RANDOM
    assert len(comparison.rows) == 1 + 2 * 4 + len(TRACK_NOISES)
    assert {control for _, control in comparison.pairs} <= set(comparison.rows)
    assert len(comparison.pairs) == 2 * 2 * 3


def test_a_tracker_that_finds_nothing_fails_in_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(Tracker):
        name = "regions"

        def propose(self, request: object) -> tuple:
            raise TrackError("nothing stands out")

    patched(monkeypatch, ideal_reading)
    monkeypatch.setattr(controls, "open_tracker", lambda name: Blind())
    comparison = compare(NO_SESSION, SETTINGS, CLIPS[:2], ("regions",))
    failed = {name for name, row in comparison.rows.items() if row.failures}
    assert failed == {f"{join}, regions" for join in JOINS}
    assert all(comparison.rows[name].failures == 2 for name in failed)


def test_measure_is_the_row_of_the_settings_own_join(monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, ideal_reading)
    monkeypatch.setattr(grounding, "read_clip", lambda scene, session, settings: ideal_reading(scene))
    for branches, name in (("product", "attribute x action"), ("spatial", "paper's join")):
        settings = SETTINGS.model_copy(update={"joint": SETTINGS.joint.model_copy(update={"track_branches": branches})})
        assert join_of(settings) == name
        row = compare(NO_SESSION, settings, CLIPS[:4], ()).rows[f"{name}, oracle"]
        measured = grounding.measure(NO_SESSION, settings, "oracle", [clip.scene for clip in CLIPS[:4]])
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
        expected = ground_frames(frames, sub_queries, session, RegionTracker(), settings).tube
        reading = read_clip(clip.scene, session, settings)
        found = joined_tubes(reading, RegionTracker(), settings.joint, (join_of(settings),))[join_of(settings)]
        asked = read_clip(clip.scene, session, settings, "interrogative")
    assert found.start_frame == expected.start_frame
    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
    # The rules make the same sub-queries of both forms.
    np.testing.assert_array_equal(asked.action_maps.values, reading.action_maps.values)


def test_results_are_whole_json(monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    patched(monkeypatch, ideal_reading)
    said: list[str] = []
    levels: dict[str, list[Clip]] = {"hard": CLIPS[:4]}
    found = grounding.evaluate_grounding(NO_SESSION, SETTINGS, levels, (), report=said.append)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["join_of_the_settings"] == "attribute x action"
    level = found["levels"]["hard"]
    assert set(level["groups"]) == {"all", "none", "pair", "triple", "background", "five_objects"}
    assert set(level["per_clip"]) == {clip.identifier for clip in CLIPS[:4]}
    assert "five_objects (1)" in said[0]
