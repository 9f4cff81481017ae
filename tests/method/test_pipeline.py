from dataclasses import dataclass

import numpy as np
import pytest
import torch

from stvg_core.host.session import Session
from stvg_core.method.pipeline import Stopwatch, encode_views, ground_frames, ground_queries, ground_views
from stvg_core.plugin.tracker import TrackRequest
from stvg_core.settings import Settings, load_settings
from stvg_core.values import Frames, Grounding, SubQueries, Track
from tests.support.scripted import ScriptedAdapter

SUB_QUERIES = SubQueries("The tall man walks.", "the tall man", "the man walks", "test")


@dataclass
class ColumnTracker:
    """One track per column of the scripted grid, 20 pixels wide."""

    request: TrackRequest | None = None
    name: str = "columns"

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        self.request = request
        return tuple(
            Track(np.array([0, 99]), np.tile([20.0 * column, 0, 20.0 * column + 20, 40], (2, 1))) for column in range(4)
        )


def run(frames: Frames, session: Session, settings: Settings) -> Grounding:
    return ground_frames(frames, SUB_QUERIES, session, ColumnTracker(), settings)


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
    grounding = ground_frames(frames, SUB_QUERIES, session, tracker, load_settings("paper"))
    assert tracker.request is not None
    assert tracker.request.spatial_maps is grounding.spatial_maps
    assert set(grounding.timings_seconds) == {"encode", "prompts", "attention", "tracks", "tube"}


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
    views = encode_views(frames, session, settings, Stopwatch())
    together = ground_queries(views, queries, session, ColumnTracker(), settings, Stopwatch())
    if steps == 0:
        assert max(len(asked) for asked in adapter.asked) <= 17, "a pass takes no more than its share"
        assert len(adapter.asked) == 3 + 2
    assert len(together) == len(queries)
    for query, own in zip(queries, together, strict=True):
        alone = ground_views(views, query, session, ColumnTracker(), settings, Stopwatch())
        assert own.sub_queries is query
        assert own.span_frames == alone.span_frames
        assert set(own.diagnostics) == set(alone.diagnostics)
        np.testing.assert_allclose(own.spatial_maps.values, alone.spatial_maps.values, rtol=1e-5)
        np.testing.assert_allclose(own.temporal_maps.values, alone.temporal_maps.values, rtol=1e-5)
    assert ground_queries(views, (), session, ColumnTracker(), settings, Stopwatch()) == ()
