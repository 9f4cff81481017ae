from dataclasses import dataclass

import numpy as np
import pytest
import torch

from stvg_core.host.session import Session
from stvg_core.method.branches import BranchQuery
from stvg_core.method.pipeline import Pipeline
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.settings import Settings, load_settings
from stvg_core.values import Frames, Grounding, SubQueries, Track
from tests.support.scripted import ScriptedAdapter

SUB_QUERIES = SubQueries("The tall man walks.", "the tall man", "the man walks", "test")


@dataclass
class ColumnTracker(Tracker):
    """One track per column of the scripted grid, 20 pixels wide."""

    request: TrackRequest | None = None
    name: str = "columns"

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        self.request = request
        return tuple(
            Track(np.array([0, 99]), np.tile([20.0 * column, 0, 20.0 * column + 20, 40], (2, 1))) for column in range(4)
        )


@dataclass
class CountingTracker(ColumnTracker):
    """Counts its requests."""

    per_video: bool = False
    requests: int = 0

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        self.requests += 1
        return super().propose(request)


def run(frames: Frames, session: Session, settings: Settings) -> Grounding:
    (grounding,) = Pipeline(session, settings, ColumnTracker()).ground(frames, (SUB_QUERIES,))
    return grounding


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_scripted_object_is_found(preset: str, frames: Frames, session: Session) -> None:
    settings = load_settings(
        preset,
        overrides={
            "joint.span_frame_count": 3,
            "prompt.step_size": 1e-6,
            "spatial.tokens.fixed_position": -2,
            "temporal.tokens.fixed_position": -2,
        },
    )
    grounding = run(frames, session, settings)
    assert grounding.chosen_track == 2
    assert grounding.span_frames == (3, 5)
    assert (grounding.tube.start_frame, grounding.tube.end_frame) == (33, 55)
    assert grounding.tube.boxes_xyxy[0].tolist() == [40, 0, 60, 40]


def test_questions_are_those_of_the_paper(frames: Frames, session: Session, adapter: ScriptedAdapter) -> None:
    run(frames, session, load_settings("paper", overrides={"prompt.steps": 0}))
    attribute = ("Is there the tall man in this video?", "Describe this video in details.")
    both = (attribute[0], "Is there the man walks in this video?", attribute[1])
    assert adapter.asked == [both, attribute], "branches without a prompt share a pass"
    adapter.asked.clear()
    run(frames, session, load_settings("paper", overrides={"prompt.objective": "linear"}))
    assert adapter.asked == [attribute, both[1:], attribute], "a prompt of its own is a pass of its own"
    adapter.asked.clear()
    run(frames, session, load_settings("paper", overrides={"prompt.steps": 0, "temporal.layers.stop": 0.5}))
    assert adapter.asked == [attribute, both[1:], attribute], "so are layers of its own"


def test_a_branch_can_ask_the_whole_sentence(frames: Frames, session: Session, adapter: ScriptedAdapter) -> None:
    settings = load_settings("paper", overrides={"prompt.steps": 0, "temporal.inference_question": "sentence"})
    run(frames, session, settings)
    assert adapter.asked[0][1] == "Is there the tall man walks in this video?"


def test_raw_attention_needs_no_neutral_question(frames: Frames, session: Session, adapter: ScriptedAdapter) -> None:
    run(frames, session, load_settings("paper", overrides={"prompt.steps": 0, "relative.mode": "raw"}))
    assert [len(asked) for asked in adapter.asked] == [2, 1]


def test_reversed_view_reads_the_same_frames(frames: Frames, session: Session) -> None:
    # The script attends by frame, not by position: a frame shift in the way back would show.
    once = run(frames, session, load_settings("paper", overrides={"prompt.steps": 0, "augment.enabled": False}))
    both = run(frames, session, load_settings("paper", overrides={"prompt.steps": 0}))
    np.testing.assert_allclose(both.spatial_maps.values, 2 * once.spatial_maps.values)
    np.testing.assert_allclose(both.temporal_maps.values, once.temporal_maps.values)


def test_each_branch_and_view_learns_its_own_prompt(frames: Frames, session: Session, adapter: ScriptedAdapter) -> None:
    settings = load_settings("paper", overrides={"prompt.step_size": 1.0, "prompt.objective": "linear"})
    grounding = run(frames, session, settings)
    assert all(prompt is not None for prompt in adapter.prompts)
    assert set(grounding.diagnostics) == {"spatial_margin_step_0", "temporal_margin_step_0"}
    # d(1 - mean)/dP = -1/n everywhere, so one step of size 1 adds 1/n.
    expected = torch.full_like(adapter.prompts[0], 1 / adapter.prompts[0].numel())
    torch.testing.assert_close(adapter.prompts[0], expected)


def test_a_flipped_prompt_is_the_forward_one_reversed_in_time(
    frames: Frames, session: Session, adapter: ScriptedAdapter
) -> None:
    settings = load_settings("paper", overrides={"augment.prompts": "flipped", "prompt.objective": "linear"})
    run(frames, session, settings)
    forward, backward = adapter.prompts[0], adapter.prompts[2]
    torch.testing.assert_close(backward, forward.reshape(10, -1).flip(0).reshape(forward.shape))


def test_an_untuned_branch_has_no_prompt(frames: Frames, session: Session, adapter: ScriptedAdapter) -> None:
    settings = load_settings("paper", overrides={"temporal.tune": False, "prompt.objective": "linear"})
    run(frames, session, settings)
    assert [prompt is None for prompt in adapter.prompts] == [False, True, False]


def test_trackers_are_given_the_assembled_maps(frames: Frames, session: Session) -> None:
    tracker = ColumnTracker()
    (grounding,) = Pipeline(session, load_settings("paper"), tracker).ground(frames, (SUB_QUERIES,))
    assert tracker.request is not None
    assert tracker.request.spatial_maps is grounding.spatial_maps
    assert set(grounding.timings_seconds) == {"encode", "prompts", "attention", "tracks", "tube"}


def test_a_branch_query_names_its_sub_query_and_settings() -> None:
    settings = load_settings("paper", overrides={"temporal.inference_question": "sentence"})
    spatial, temporal = BranchQuery(SUB_QUERIES, "spatial"), BranchQuery(SUB_QUERIES, "temporal")
    assert (spatial.sub_query, temporal.sub_query) == ("the tall man", "the man walks")
    assert (spatial.branch_settings(settings), temporal.branch_settings(settings)) == (
        settings.spatial,
        settings.temporal,
    )
    assert spatial.attention_question(settings) == "Is there the tall man in this video?"
    assert temporal.attention_question(settings) == "Is there the tall man walks in this video?"
    assert temporal.prompt_questions(settings) == ("Is there the man walks in this video?",)


def test_a_tracker_that_needs_no_query_works_once_for_all_queries(frames: Frames, session: Session) -> None:
    queries = [SUB_QUERIES, SubQueries("The short man walks.", "the short man", "the man walks", "test")]
    settings = load_settings("paper", overrides={"prompt.steps": 0})
    for per_video, times in ((True, 1), (False, 2)):
        tracker = CountingTracker(per_video=per_video)
        assert len(Pipeline(session, settings, tracker).ground(frames, queries)) == 2
        assert tracker.requests == times


def test_one_query_given_twice_costs_no_more_than_once(
    frames: Frames, session: Session, adapter: ScriptedAdapter
) -> None:
    settings = load_settings("paper", overrides={"prompt.objective": "linear"})
    one, other = Pipeline(session, settings, ColumnTracker()).ground(frames, (SUB_QUERIES, SUB_QUERIES))
    assert len(adapter.asked) == 3, "two branches, one of them in both views"
    np.testing.assert_array_equal(one.spatial_maps.values, other.spatial_maps.values)


@pytest.mark.parametrize("steps", [0, 2])
def test_queries_of_one_video_are_grounded_as_if_alone(
    steps: int, frames: Frames, session: Session, adapter: ScriptedAdapter
) -> None:
    queries = [
        SubQueries(f"The {word} man walks.", f"the {word} man", "the man walks", "test")
        for word in ("tall", *(str(number) for number in range(20)))
    ]
    overrides = {"prompt.steps": steps, "prompt.step_size": 1e-6, "prompt.objective": "linear"}
    settings = load_settings("paper", overrides=overrides)
    together = Pipeline(session, settings, ColumnTracker()).ground(frames, queries)
    assert len(adapter.encoded) == 1, "the scripted backend flips the reversed view"
    if steps == 0:
        assert max(len(asked) for asked in adapter.asked) <= 17, "a pass takes no more than its share"
        assert len(adapter.asked) == 3 + 2
    assert len(together) == len(queries)
    for query, own in zip(queries, together, strict=True):
        (alone,) = Pipeline(session, settings, ColumnTracker()).ground(frames, (query,))
        assert own.sub_queries is query
        assert own.span_frames == alone.span_frames
        assert set(own.diagnostics) == set(alone.diagnostics)
        np.testing.assert_allclose(own.spatial_maps.values, alone.spatial_maps.values, rtol=1e-5)
        np.testing.assert_allclose(own.temporal_maps.values, alone.temporal_maps.values, rtol=1e-5)
    assert Pipeline(session, settings, ColumnTracker()).ground(frames, ()) == ()
