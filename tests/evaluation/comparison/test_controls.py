"""Controls and measures out of what a run of a scripted model stores; its right answer is known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stvg_core.api.grounder import Grounder
from stvg_core.evaluation.comparison.controls import (
    BEST_TRACK,
    BEST_TRACK_TRUE_SPAN,
    CONTROLS,
    measure_run,
    score_controls,
)
from stvg_core.evaluation.runs import score_run
from stvg_core.evaluation.runs.controls import dump_maps_and_controls
from stvg_core.evaluation.runs.tasks import (
    ACTION_ONLY,
    ATTRIBUTE_ONLY,
    CONTROLS_KEY,
    RANDOM,
    Failure,
    Outcome,
    Task,
    dump_track,
)
from stvg_core.host.session import Session
from stvg_core.inputs.datasets import open_dataset
from stvg_core.inputs.tracks.given import GivenTracks
from stvg_core.metrics import METRIC_NAMES, Rules, ScoringProtocol
from stvg_core.outputs.report.document import dump_document
from stvg_core.settings import load_settings
from stvg_core.values import Frames, Track
from tests.support.runs import MadeUpEngine, work

EXACT = ScoringProtocol("exact", Rules(video_union="union"), "the tests", "nothing")
COLUMNS = tuple(
    Track(np.array([0, 99]), np.tile([20.0 * column, 0, 20.0 * column + 20, 40], (2, 1))) for column in range(4)
)
TRUE_SPAN = (30, 58)
"""Of column 2, where the scripted model looks; its best frames are 33, 44 and 55."""


def plain_scores(start: int, end: int, *, right_column: bool) -> list[float]:
    """The scores of a column over a span, counted by hand."""
    common = max(0, min(end, 58) - max(start, 30) + 1)
    either = (end - start + 1) + 29 - common
    video = common / either if right_column else 0.0
    return [common / either, video, float(right_column), float(video > 0.3), float(video > 0.5)]


def a_run(
    tmp_path: Path,
    session: Session,
    frames: Frames,
    count: int = 1,
    change: Callable[[dict[str, Any]], object] | None = None,
    fail: str = "",
    **overrides: Any,
) -> Path:
    """A run over samples that all show the same; records may be changed, and one sample fails."""
    base = {"sampling.frame_count": 10, "joint.span_frame_count": 3, "prompt.steps": 0}
    settings = load_settings("paper", overrides=base | overrides)
    grounder = Grounder(session, settings, GivenTracks(COLUMNS))
    result = grounder.ground(frames, "The tall man walks.")

    def speak(task: Task) -> Outcome:
        if task.sample_id == fail:
            return Outcome(task.sample_id, None, None, Failure("TrackError", "none"), 0.1)
        record = json.loads(dump_maps_and_controls(result.grounding, settings.joint, task.sample_id))
        if change is not None:
            change(record)
        track = dump_track(result.grounding.tracks[result.grounding.chosen_track])
        return Outcome(task.sample_id, dump_document(result.document), track, None, 0.1, json.dumps(record))

    boxes = {str(frame): [40, 0, 60, 40] for frame in range(TRUE_SPAN[0], TRUE_SPAN[1] + 1)}
    samples = [
        {
            "id": f"sample-{number}",
            "video": "clip.mp4",
            "query": "The tall man walks.",
            "frame_count": 100,
            "width": 80,
            "height": 40,
            "tube": {"start_frame": TRUE_SPAN[0], "end_frame": TRUE_SPAN[1], "boxes": boxes},
        }
        for number in range(count)
    ]
    data = tmp_path / "data"
    data.mkdir(parents=True)
    (data / "samples.json").write_text(json.dumps(samples))
    run = tmp_path / "run"
    work(run, open_dataset("folder", data), MadeUpEngine(speak=speak))
    return run


def test_controls_share_the_maps_and_tracks_of_the_result(tmp_path: Path, session: Session, frames: Frames) -> None:
    run = a_run(tmp_path, session, frames)
    controls = {name: found["sample-0"] for name, found in score_controls(run, EXACT).items()}
    # The attribute question looks at column 2 in every frame alike, so its best frames are the first three;
    # the action question at column 2 in frames 33 to 55.
    (own,) = score_run(run, EXACT).results
    assert own.scores.video_iou == pytest.approx(plain_scores(33, 55, right_column=True)[1])
    assert controls[ATTRIBUTE_ONLY] == pytest.approx(plain_scores(0, 22, right_column=True))
    assert controls[ACTION_ONLY] == pytest.approx(plain_scores(33, 55, right_column=True))
    assert controls[BEST_TRACK] == pytest.approx(plain_scores(33, 55, right_column=True))
    assert controls[BEST_TRACK_TRUE_SPAN] == pytest.approx([1.0] * 5)
    assert tuple(controls) == CONTROLS
    # A span that reaches to the middle between sampled frames is the result's too.
    wide = a_run(tmp_path / "wide", session, frames, **{"joint.boundary_extent": "midpoint"})
    found = score_controls(wide, EXACT)[ACTION_ONLY]["sample-0"]
    (own,) = score_run(wide, EXACT).results
    assert found[1] == own.scores.video_iou


def test_random_choices_are_the_same_every_time_and_others_for_other_samples(
    tmp_path: Path, session: Session, frames: Frames
) -> None:
    drawn = [score_controls(a_run(tmp_path / folder, session, frames, 40), EXACT)[RANDOM] for folder in ("one", "two")]
    values = {name: tuple(found) for name, found in drawn[0].items()}
    assert values == {name: tuple(found) for name, found in drawn[1].items()}
    assert len(set(values.values())) > 30
    # A quarter of the tracks is right: 40 samples of 20 draws.
    assert np.mean([found[2] for found in values.values()]) == pytest.approx(0.25, abs=0.06)
    assert all(0 <= found[1] < 0.6 for found in values.values())


def test_a_sample_that_failed_counts_as_zero_under_every_control(
    tmp_path: Path, session: Session, frames: Frames
) -> None:
    controls = score_controls(a_run(tmp_path, session, frames, 3, fail="sample-1"), EXACT)
    for found in controls.values():
        assert set(found) == {"sample-0", "sample-1", "sample-2"}
        assert found["sample-1"].tolist() == [0.0] * len(METRIC_NAMES)


def test_measures(tmp_path: Path, session: Session, frames: Frames) -> None:
    plain = {name: found["sample-0"] for name, found in measure_run(a_run(tmp_path, session, frames)).items()}
    assert plain == {"attribute_points": 1.0, "action_points": 1.0, "peak_frame_inside": 1.0, "span_frames": 3.0}
    tuned = a_run(
        tmp_path / "tuned",
        session,
        frames,
        **{"prompt.steps": 1, "prompt.step_size": 0.1, "prompt.objective": "linear"},
    )
    found = {name: values["sample-0"] for name, values in measure_run(tuned).items()}
    assert found["attribute_margin_after"] > found["attribute_margin_before"], "a step raises yes - no"
    assert found["prompt_norm"] > 0


def test_the_peak_points_inside_the_true_span_alone(tmp_path: Path, session: Session, frames: Frames) -> None:
    import base64

    def elsewhere(frame: int) -> Callable[[dict[str, Any]], None]:
        def change(record: dict[str, Any]) -> None:
            for branch in record["branches"]:
                maps = branch["prompted"]
                codes = np.frombuffer(base64.b64decode(maps["codes"]), np.uint8)
                codes = codes.reshape(10, branch["rows"], branch["columns"]).copy()
                codes[:, :, 0] = 0
                codes[frame, 0, 0] = 255
                codes[codes == 255] = 254
                codes[frame, 0, 0] = 255
                maps["codes"] = base64.b64encode(codes.tobytes()).decode()

        return change

    outside = measure_run(a_run(tmp_path / "outside", session, frames, change=elsewhere(0)))
    inside = measure_run(a_run(tmp_path / "inside", session, frames, change=elsewhere(4)))
    for name in ("attribute_points", "action_points"):
        assert outside[name]["sample-0"] == 1.0, "a larger peak before the span does not count"
        assert inside[name]["sample-0"] == 0.0


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop(CONTROLS_KEY),
        lambda record: record.update({CONTROLS_KEY: 5}),
        lambda record: record[CONTROLS_KEY].update(tracks=[]),
        lambda record: record[CONTROLS_KEY]["choices"].update({RANDOM: [[9, 0, 5]]}),
        lambda record: record[CONTROLS_KEY]["choices"].update({RANDOM: [["x"]]}),
        lambda record: record[CONTROLS_KEY]["tracks"][0].update(boxes_xyxy=[["<b>"]]),
        lambda record: record.update(branches=[{"name": "attribute", "rows": 10**9, "columns": 10**9}]),
    ],
)
def test_damaged_records_are_left_out(
    change: Callable[[dict[str, Any]], object], tmp_path: Path, session: Session, frames: Frames
) -> None:
    run = a_run(tmp_path, session, frames, change=change)
    assert set(score_controls(run, EXACT)) in (set(), set(CONTROLS))
    assert "peak_frame_inside" in measure_run(run)
