"""Variants on a scripted model: equal to the pipeline's own grounding, shared where they may be, with controls."""

from typing import Any
from zlib import crc32

import numpy as np
import pytest

from stvg_core.errors import UsageError
from stvg_core.evaluation.ablation import evaluating
from stvg_core.evaluation.ablation.evaluating import (
    ACTION_ONLY,
    ATTRIBUTE_ONLY,
    BEST_TRACK,
    BEST_TRACK_TRUE_SPAN,
    EXTRAS,
    OWN,
    RANDOM,
    Evaluator,
    Measured,
    _Evaluation,
)
from stvg_core.evaluation.ablation.measures import consistency, pointing
from stvg_core.evaluation.ablation.paper_tables import ORACLE_TRACKS
from stvg_core.evaluation.ablation.plan import make_plan
from stvg_core.evaluation.ablation.tables import TABLE_NAMES, make_tables
from stvg_core.evaluation.ablation.variants import Variant
from stvg_core.evaluation.runs.tasks import Failure
from stvg_core.host.session import Session, open_backend
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.inputs.tracks.noise import NoisyTracker, TrackNoise
from stvg_core.method.branches import read_branches
from stvg_core.method.pipeline import Stopwatch, encode_views, ground_views
from stvg_core.metrics import box_iou
from stvg_core.plugin.adapter import AttentionRequest
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import FamilyPresets
from stvg_core.values import FrameMaps, Frames
from tests.support.ablation import (
    EXACT,
    TRUTH,
    ColumnTracker,
    ScriptedSource,
    SensitiveAdapter,
    grounder,
    settings,
)
from tests.support.scripted import ScriptedAdapter, ScriptedBackend, found_backend


def plain_scores(start: int, end: int, right_column: bool) -> list[float]:
    """The truth's frames are 30 to 58 and its boxes column 2: counted by hand."""
    common = max(0, min(end, 58) - max(start, 30) + 1)
    either = (end - start + 1) + 29 - common
    video = common / either if right_column else 0.0
    return [common / either, video, float(right_column), float(video > 0.3), float(video > 0.5)]


def measured(session: Session, frames: Frames, variants: list[Variant], **overrides: object) -> list[Measured]:
    (sample, *_) = ScriptedSource(frames).samples()
    found = Evaluator(grounder(session, **overrides), EXACT).evaluate(sample, variants)
    for one in found:
        assert isinstance(one, Measured), one
    return found  # type: ignore[return-value]


def test_every_variant_is_what_the_pipeline_gives_alone(frames: Frames, session: Session) -> None:
    source = ScriptedSource(frames)
    opened = grounder(session)
    (sample, *_) = source.samples()
    plan = make_plan(opened, source, [name for name in TABLE_NAMES if name != "tracker"], 2)
    found = Evaluator(opened, EXACT, 2).evaluate(sample, list(plan.variants.values()))
    compared = 0
    for variant, one in zip(plan.variants.values(), found, strict=True):
        wanted = variant.settings(opened.settings)
        shown = sample.read(wanted.sampling)
        if isinstance(one, Failure):
            assert one.kind == "SettingsError", one
            assert "fixed_position" in one.message, "this model has three template tokens alone"
            continue
        watch = Stopwatch()
        alone = ground_views(
            encode_views(shown, session, wanted, watch),
            opened.decompose(sample.task.query, "clip.mp4", watch),
            session,
            opened.tracker,
            wanted,
            watch,
        )
        tube = alone.tube
        expected = plain_scores(tube.start_frame, tube.end_frame, alone.chosen_track == 2)
        assert one.scores[OWN] == pytest.approx(expected), variant.name
        compared += 1
    assert compared > 60


def test_maps_that_share_are_those_of_each_variant_alone(frames: Frames) -> None:
    session = open_backend(
        ScriptedBackend(SensitiveAdapter()), found_backend(), ModelReference("scripted"), LoadOptions()
    )
    source = ScriptedSource(frames)
    opened = grounder(session, **{"prompt.step_size": 0.05, "prompt.objective": "linear"})
    (sample, *_) = source.samples()
    shared = _Evaluation(Evaluator(opened, EXACT), sample)
    seen: dict[bytes, str] = {}
    for variant in make_plan(opened, source, (), 1).variants.values():
        wanted = variant.settings(opened.settings)
        if wanted.spatial.tokens.rule == "fixed":
            continue
        read = shared._read(wanted)
        watch = Stopwatch()
        views = encode_views(sample.read(wanted.sampling), session, wanted, watch)
        query = opened.decompose(sample.task.query, "clip.mp4", watch)
        alone = read_branches(session, views.clip, views.reversed_clip, query, wanted, watch)
        for own, other in ((read.spatial, alone.spatial), (read.temporal, alone.temporal)):
            np.testing.assert_allclose(own.values, other.values, rtol=1e-5, err_msg=variant.name)
        assert read.margins == pytest.approx(alone.margins, rel=1e-5), variant.name
        seen[alone.spatial.values.round(6).tobytes()] = variant.name
    assert len(seen) > 30, "the model tells settings apart"


def test_layers_weighed_by_activation_are_those_of_separate_passes(frames: Frames) -> None:
    adapter = SensitiveAdapter()
    session = open_backend(ScriptedBackend(adapter), found_backend(), ModelReference("scripted"), LoadOptions())
    layers = {"start": 0.25, "stop": 1.0, "weights": "activation"}
    wanted = settings(
        **{"spatial.layers": layers, "temporal.layers": layers, "prompt.steps": 0, "augment.enabled": False}
    )
    watch = Stopwatch()
    clip = encode_views(frames, session, wanted, watch).clip
    query = grounder(session).decompose("The tall man walks.", "clip.mp4", watch)
    read = read_branches(session, clip, None, query, wanted, watch)
    for part, found in ((query.attribute, read.spatial), (query.action, read.temporal)):
        asked, neutral = np.zeros((2, 4, clip.layout.cell_count))
        for layer in range(2, 8):
            questions = (wanted.question(part), wanted.relative.neutral_question)
            own, other = (
                one.rows.numpy() for one in adapter.attention_rows(AttentionRequest(clip, questions, None, (layer,)))
            )
            weight = (own[1:] / (other[1:] + 1e-4)).max()
            asked, neutral = asked + weight * own, neutral + weight * other
            total = weight if layer == 2 else total + weight
        relative = asked[1:] / total / (neutral[1:] / total + 1e-4)
        expected = relative[relative.max(axis=1).argmax()].reshape(clip.layout.shape)
        np.testing.assert_allclose(found.values, expected, rtol=1e-5)


def test_what_variants_share_is_computed_once(frames: Frames, session: Session, adapter: ScriptedAdapter) -> None:
    source = ScriptedSource(frames)
    opened = grounder(session, **{"prompt.steps": 0})
    (sample, *_) = source.samples()
    variants = [
        Variant("a"),
        Variant("b", {"joint.boundary": "contiguous"}),
        Variant("c", {"spatial.tokens.rule": "mean"}),
        Variant("d", {"augment.enabled": False}),
    ]
    Evaluator(opened, EXACT).evaluate(sample, variants)
    assert len(source.read) == 1
    assert adapter.encoded == [tuple(range(10))]
    assert len(adapter.asked) == 2, "both branches forward, the attribute backward"
    assert opened.tracker._tracker.asked == 1  # type: ignore[attr-defined]
    other = grounder(session)
    Evaluator(other, EXACT).evaluate(sample, [Variant("a"), Variant("e", {"sampling.frame_count": 5}), Variant("f")])
    assert len(source.read) == 3, "another sampling is read on its own"
    assert other.tracker._tracker.asked == 2, "and has tracks of its own"  # type: ignore[attr-defined]


def test_noise_makes_the_tracks_of_a_sample_worse_in_its_own_way(frames: Frames, session: Session) -> None:
    source = ScriptedSource(frames)
    opened = grounder(session, **{"prompt.steps": 0})
    noise = TrackNoise(jitter=0.3, switches=2)
    variants = [Variant("own"), Variant("worse", noise=noise), Variant("true", tracks=ORACLE_TRACKS, noise=noise)]
    scores = []
    for sample in source.samples():
        own, worse, true = Evaluator(opened, EXACT).evaluate(sample, variants)
        assert isinstance(own, Measured)
        assert isinstance(worse, Measured)
        assert isinstance(true, Measured)
        wanted = variants[1].settings(opened.settings)
        watch = Stopwatch()
        alone = ground_views(
            encode_views(sample.read(wanted.sampling), session, wanted, watch),
            opened.decompose(sample.task.query, "clip.mp4", watch),
            session,
            NoisyTracker(ColumnTracker(), noise, crc32(sample.task.sample_id.encode())),
            wanted,
            watch,
        )
        boxes = alone.tube.boxes_xyxy
        truth = np.tile(TRUTH.tube.boxes_xyxy[0], (len(boxes), 1))
        assert worse.scores[OWN][1] < own.scores[OWN][1]
        assert true.scores == worse.scores, "the own tracks are the true ones here"
        scores.append(worse.scores[OWN])
        common = [place for place in range(len(boxes)) if 30 <= alone.tube.start_frame + place <= 58]
        overlap = box_iou(boxes[common], truth[common]).sum()
        union = len(boxes) + 29 - len(common)
        assert worse.scores[OWN][1] == pytest.approx(overlap / union, rel=1e-5)
    assert len(set(scores)) == len(scores), "each sample has a seed of its own"


def test_seconds_count_what_was_shared_again(frames: Frames, session: Session) -> None:
    first, second = measured(session, frames, [Variant("a"), Variant("b", {"joint.track_pooling": "mean"})])
    place = EXTRAS.index("seconds")
    assert second.extras[place] == pytest.approx(first.extras[place], rel=0.2, abs=0.01)


def test_controls_have_the_variant_s_reading_and_tracks(frames: Frames, session: Session) -> None:
    (one,) = measured(session, frames, [Variant("a", controls=True)], **{"prompt.steps": 0})
    # The attribute question looks at column 2 in every frame alike, so its best frames are the first three;
    # the action question at column 2 in frames 33 to 55.
    assert one.scores[ATTRIBUTE_ONLY] == pytest.approx(plain_scores(0, 22, True))
    assert one.scores[ACTION_ONLY] == pytest.approx(plain_scores(33, 55, True))
    assert one.scores[OWN] == pytest.approx(plain_scores(33, 55, True))
    assert one.scores[BEST_TRACK] == pytest.approx(plain_scores(33, 55, True))
    assert one.scores[BEST_TRACK_TRUE_SPAN] == pytest.approx([1.0, 1.0, 1.0, 1.0, 1.0])
    assert 0 <= one.scores[RANDOM][1] < 0.5


def test_random_choices_are_the_same_every_time_and_others_for_other_samples(frames: Frames, session: Session) -> None:
    opened = grounder(session)
    variant = [Variant("a", controls=True)]
    drawn = [
        tuple(Evaluator(opened, EXACT, 50).evaluate(sample, variant)[0].scores[RANDOM])  # type: ignore[union-attr]
        for sample in (*ScriptedSource(frames).samples(), *ScriptedSource(frames).samples())
    ]
    assert drawn[:3] == drawn[3:]
    assert len(set(drawn)) == 3
    # A quarter of the tracks is right.
    assert np.mean([found[2] for found in drawn]) == pytest.approx(0.25, abs=0.12)


def test_the_true_tracks_stand_in_for_a_tracker(frames: Frames, session: Session) -> None:
    (one,) = measured(session, frames, [Variant("a", tracks=ORACLE_TRACKS)])
    assert one.scores[OWN][2] == 1.0


def test_measures(frames: Frames, session: Session) -> None:
    plain, tuned = measured(
        session,
        frames,
        [Variant("plain", {"prompt.steps": 0, "augment.enabled": False}, consistency=True), Variant("tuned")],
        **{"prompt.step_size": 0.1, "prompt.objective": "linear"},
    )
    first, second = (dict(zip(EXTRAS, one.extras, strict=True)) for one in (plain, tuned))
    assert first["attribute_points"] == first["action_points"] == first["peak_frame_inside"] == 1.0
    assert first["consistency"] == pytest.approx(1.0), "the scripted model does not care for time"
    assert first["prompt_norm"] is first["attribute_margin_after"] is None
    assert second["span_frames"] == 3.0
    before, after = second["attribute_margin_before"], second["attribute_margin_after"]
    assert before is not None
    assert after is not None
    assert after > before, "a step against the gradient raises yes - no"
    assert second["prompt_norm"] is not None
    assert second["prompt_norm"] > 0


def test_one_variant_that_fails_leaves_the_others(frames: Frames, session: Session) -> None:
    (sample, *_) = ScriptedSource(frames).samples()
    found = Evaluator(grounder(session), EXACT).evaluate(
        sample, [Variant("a"), Variant("b", {"spatial.tokens.rule": "fixed", "spatial.tokens.fixed_position": -9})]
    )
    assert isinstance(found[0], Measured)
    assert isinstance(found[1], Failure)
    assert "fixed_position" in found[1].message


def test_the_peak_points_inside_the_true_span_alone() -> None:
    maps = FrameMaps(np.array([[[9.0, 0.0]], [[1.0, 2.0]], [[3.0, 0.0]]]))
    cells = np.zeros((3, 1, 2))
    assert pointing(maps, cells) is None
    cells[1] = [[0.0, 1.0]]
    assert pointing(maps, cells) == 1.0, "the larger peaks are outside the span"
    cells[2] = [[0.0, 0.6]]
    assert pointing(maps, cells) == 0.0


def test_views_agree_by_correlation() -> None:
    generator = np.random.default_rng(0)
    first, second = (FrameMaps(generator.random((4, 3, 3))) for _ in range(2))
    wanted = np.corrcoef(first.values.ravel(), second.values.ravel())[0, 1]
    assert consistency(first, second) == pytest.approx(wanted)
    assert consistency(first, FrameMaps(np.ones((4, 3, 3)))) == 0.0


def test_rows_that_run_the_same_are_run_once_and_a_source_without_true_tracks_has_no_oracle(
    frames: Frames, session: Session
) -> None:
    opened = grounder(session)
    plan = make_plan(opened, ScriptedSource(frames), (), 1)
    rows = [(table.name, variant.name) for table in plan.tables for variant in table.variants]
    assert len(plan.variants) < len(rows) == len(set(rows)) == len(plan.identifiers)
    assert plan.identifiers["ladder", "+ identification"] == plan.identifiers["steps", "no prompt"]
    shared = plan.variants[plan.identifiers["ladder", "+ TAS"]]
    assert shared.controls, "controls that one table wants are run for all"
    tracker = make_plan(opened, ScriptedSource(frames, knows_true_tracks=False), ("tracker",), 1).tables[0]
    noisy = make_plan(opened, ScriptedSource(frames), ("tracker",), 1)
    assert len(set(noisy.identifiers.values())) == len(noisy.tables[0].variants), "tracks made worse are others"
    names = [variant.name for variant in tracker.variants]
    assert names[:2] == ["own", "attention"]
    assert all(name.startswith("own, ") for name in names[2:])
    with pytest.raises(UsageError, match="expected a table"):
        make_plan(opened, ScriptedSource(frames), ("nothing",), 1)


def test_variants_share_what_tracks_cover_under_one_rule_alone(
    frames: Frames, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules: list[str] = []

    def recording(*given: Any) -> Any:
        rules.extend(given[5:])
        return cell_coverage(*given)

    monkeypatch.setattr(evaluating, "cell_coverage", recording)
    variants = [Variant("a"), Variant("b", {"joint.track_cells": "centre"}), Variant("c", {"augment.enabled": False})]
    Evaluator(grounder(session), EXACT).evaluate(next(ScriptedSource(frames).samples()), variants)
    assert rules == ["share", "centre"]


def test_presets_are_those_of_the_models_family(frames: Frames, session: Session) -> None:
    session.family = FamilyPresets("stvg-x:x", {"released": {"augment.enabled": False, "joint.span_share": 0.3}})
    (table,) = make_plan(grounder(session), ScriptedSource(frames), ("presets",), 1).tables
    released = {variant.name: variant for variant in table.variants}["released"].settings(settings())
    assert (released.augment.enabled, released.joint.span_share) == (False, 0.3)


def test_half_and_double_the_frames_have_half_and_double_the_span() -> None:
    for overrides in ({"joint.span_frame_count": 4}, {"joint.span_frame_count": None, "joint.span_share": 0.4}):
        base = settings(**overrides)
        (table,) = make_tables(("frames",), base, 4)
        lengths = {
            made.sampling.frame_count: made.joint.span_length(made.sampling.frame_count)
            for made in (variant.settings(base) for variant in table.variants)
        }
        assert lengths == {10: 4, 5: 2, 20: 8}


def test_windows_are_refused(frames: Frames, session: Session) -> None:
    with pytest.raises(UsageError, match="without windows"):
        make_plan(grounder(session, **{"windows.length_seconds": 2.0}), ScriptedSource(frames), (), 1)


def test_tables_take_one_step_where_the_settings_take_none() -> None:
    (ladder,) = make_tables(("ladder",), settings(**{"prompt.steps": 0}), 4)
    assert {variant.settings(settings()).prompt.steps for variant in ladder.variants} == {1}
    (ladder,) = make_tables(("ladder",), settings(**{"prompt.steps": 3}), 4)
    assert {variant.settings(settings()).prompt.steps for variant in ladder.variants} == {3}


@pytest.mark.parametrize("layer_count", [1, 4, 28, 80])
def test_every_table_is_valid_for_every_depth(layer_count: int) -> None:
    base = settings(**{"joint.track_branches": "product"})
    for table in make_tables((), base, layer_count):
        names = [variant.name for variant in table.variants]
        assert len(names) == len(set(names)), table.name
        for variant in table.variants:
            variant.settings(base)
