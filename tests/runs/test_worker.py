"""What a worker makes of tasks: tubes, failures that belong to a sample, and stops that belong to the run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stvg_core.api import Grounder
from stvg_core.config import load_settings
from stvg_core.errors import RunError, TrackError
from stvg_core.report.kept_maps import check_maps
from stvg_core.runs.tasks import Outcome, Task
from stvg_core.runs.worker import Worker
from stvg_core.session import Session
from stvg_core.tracks.cached import VideoCache
from stvg_core.tracks.tracker import TrackRequest
from stvg_core.values import Track
from tests.conftest import ScriptedAdapter
from tests.test_video.conftest import Clip, write_clip


class WholePicture:
    """One track as large as the picture; counts how often it was asked."""

    name = "whole"
    per_video = True

    def __init__(self) -> None:
        self.asked: list[int] = []

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        self.asked.append(int(request.frames.indices[-1]))
        return (Track(np.array([0, 29]), np.array([[0.0, 0, 64, 48]] * 2)),)


@pytest.fixture
def tracker() -> WholePicture:
    return WholePicture()


@pytest.fixture
def grounder(session: Session, tracker: WholePicture) -> Grounder:
    settings = load_settings("paper", overrides={"sampling.frame_count": 6, "prompt.steps": 0})
    return Grounder(session, settings, VideoCache(tracker))


def outcomes(grounder: Grounder, root: Path, *groups: tuple[Task, ...]) -> list[Outcome]:
    with Worker(grounder, root) as worker:
        for group in groups:
            worker.submit(group)
        return [outcome for _ in groups for outcome in worker.outcomes()]


def task(name: str, video: str = "clip.mp4", query: str = "The man walks.", **fields: object) -> Task:
    return Task(name, video, query, **fields)  # type: ignore[arg-type]


def test_a_video_is_encoded_and_tracked_once_for_all_its_queries(
    grounder: Grounder, adapter: ScriptedAdapter, tracker: WholePicture, tmp_path: Path
) -> None:
    write_clip(tmp_path, Clip())
    write_clip(tmp_path, Clip(name="other.mp4", frame_count=20))
    found = outcomes(
        grounder,
        tmp_path,
        (task("a"), task("b", query="The woman walks."), task("c")),
        (task("d", "other.mp4"),),
        (task("e"),),
    )
    assert [outcome.sample_id for outcome in found] == ["a", "b", "c", "d", "e"]
    assert all(outcome.document for outcome in found)
    # Both views of three groups; without the cache they would be ten.
    assert len(adapter.encoded) == 3
    assert tracker.asked == [29, 19, 29]


def test_the_outcome_of_a_query_does_not_depend_on_those_before(grounder: Grounder, tmp_path: Path) -> None:
    write_clip(tmp_path, Clip())
    together = outcomes(grounder, tmp_path, (task("a"), task("b", query="The woman runs.")))
    alone = outcomes(grounder, tmp_path, (task("b", query="The woman runs."),))
    (first, second), (other,) = [[_without_times(outcome) for outcome in found] for found in (together, alone)]
    assert second == other
    assert first != second


def test_maps_are_kept_where_they_are_wanted(grounder: Grounder, tmp_path: Path) -> None:
    write_clip(tmp_path, Clip())
    (plain,) = outcomes(grounder, tmp_path, (task("a"),))
    assert plain.maps is None
    keeping = replace(grounder, keep_maps=True)
    prompted = replace(
        keeping, settings=load_settings("paper", overrides={"sampling.frame_count": 6, "prompt.steps": 1})
    )
    for opened, steps in ((keeping, 0), (prompted, 1)):
        (kept,) = outcomes(opened, tmp_path, (task("a"),))
        record = json.loads(kept.maps or "")
        check_maps(record)
        assert len(record["frames"]) == 6
        assert [branch["unprompted"] is not None for branch in record["branches"]] == [steps > 0] * 2
        assert ("unprompted" in json.loads(kept.document or "")["timings_seconds"]) == (steps > 0)
    assert _without_times(plain) == _without_times(outcomes(keeping, tmp_path, (task("a"),))[0])


def _without_times(outcome: Outcome) -> dict[str, object]:
    document: dict[str, object] = json.loads(outcome.document or "")
    del document["timings_seconds"]
    return document


def test_a_video_that_does_not_open_fails_its_samples_alone(grounder: Grounder, tmp_path: Path) -> None:
    write_clip(tmp_path, Clip())
    (tmp_path / "broken.mp4").write_bytes(b"no picture in it")
    found = outcomes(
        grounder, tmp_path, (task("a", "broken.mp4"), task("b", "broken.mp4")), (task("c", "gone.mp4"),), (task("d"),)
    )
    assert [outcome.failure.kind if outcome.failure else "ok" for outcome in found] == [
        "VideoError",
        "VideoError",
        "VideoError",
        "ok",
    ]


def test_a_query_that_cannot_be_split_fails_alone(grounder: Grounder, tmp_path: Path) -> None:
    write_clip(tmp_path, Clip())
    found = outcomes(grounder, tmp_path, (task("a", query="..."), task("b")))
    assert [outcome.failure.kind if outcome.failure else "ok" for outcome in found] == ["QueryError", "ok"]


def test_an_error_of_a_tracker_and_a_defect_are_told_apart(
    grounder: Grounder, tracker: WholePicture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path, Clip())

    def on_purpose(request: TrackRequest) -> tuple[Track, ...]:
        raise TrackError("expected an object,\ngot none")

    def defect(request: TrackRequest) -> tuple[Track, ...]:
        raise KeyError("missing")

    failures = []
    for propose in (on_purpose, defect):
        monkeypatch.setattr(tracker, "propose", propose)
        (found,) = outcomes(grounder, tmp_path, (task("a"),))
        failures.append(found.failure)
    assert failures[0] is not None
    assert failures[1] is not None
    assert (failures[0].message, failures[0].traceback) == ("expected an object, got none", "")
    assert failures[1].message.startswith("internal error, KeyError: 'missing'")
    assert "in defect" in failures[1].traceback


def test_a_device_that_broke_ends_the_run(
    grounder: Grounder, adapter: ScriptedAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path, Clip())

    def broken(*arguments: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered\nCompile with ...")

    monkeypatch.setattr(adapter, "encode", broken)
    with pytest.raises(RunError, match="the device stopped working and every further sample would fail"):
        outcomes(grounder, tmp_path, (task("a"),))


def test_only_the_segment_is_shown(grounder: Grounder, tracker: WholePicture, tmp_path: Path) -> None:
    write_clip(tmp_path, Clip())
    (found,) = outcomes(grounder, tmp_path, (task("a", segment=(10, 20)),))
    document = _without_times(found)
    frames = [entry["frame"] for entry in document["scores"]["frames"]]  # type: ignore[index]
    assert frames == [10, 12, 14, 16, 18, 20]
    assert 10 <= document["tube"]["start_frame"] <= document["tube"]["end_frame"] <= 20  # type: ignore[index]
    (failed,) = outcomes(grounder, tmp_path, (task("a", segment=(30, 40)),))
    assert failed.failure is not None
    assert "expected frames 30 to 40" in failed.failure.message


def test_time_is_told_apart_into_work_and_waiting(
    grounder: Grounder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path, Clip())
    clock = iter(range(100))
    monkeypatch.setattr("stvg_core.runs.worker.time.perf_counter", lambda: float(next(clock)))
    with Worker(grounder, tmp_path) as worker:
        worker.submit((task("a"), task("b")))
        worker._ahead[0].result()
        seconds = [outcome.seconds for outcome in worker.outcomes()]
    assert worker.waited_seconds == 1.0
    assert worker.busy_seconds == pytest.approx(sum(seconds) - 1.0)
