"""What a worker makes of tasks: tubes, failures that belong to a sample, and stops that belong to the run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stvg_core.api.grounder import Grounder
from stvg_core.errors import DeviceMemoryError, RunError, TrackError
from stvg_core.evaluation.runs.tasks import Outcome, Task
from stvg_core.evaluation.runs.worker import Worker
from stvg_core.host.session import Session
from stvg_core.inputs.tracks.cached import VideoCache
from stvg_core.method.pipeline import EncodedViews, Stopwatch
from stvg_core.outputs.report.kept_maps import check_maps
from stvg_core.plugin.adapter import AttentionRequest, QuestionAttention
from stvg_core.plugin.tracker import TrackRequest
from stvg_core.settings import load_settings
from stvg_core.values import SubQueries, Track
from tests.support.clips import Clip, write_clip
from tests.support.runs import WholePicture
from tests.support.scripted import ScriptedAdapter


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
    monkeypatch.setattr("stvg_core.evaluation.runs.worker.time.perf_counter", lambda: float(next(clock)))
    with Worker(grounder, tmp_path) as worker:
        worker.submit((task("a"), task("b")))
        worker._ahead[0].result()
        seconds = [outcome.seconds for outcome in worker.outcomes()]
    assert worker.waited_seconds == 1.0
    assert worker.busy_seconds == pytest.approx(sum(seconds) - 1.0)


@pytest.fixture
def windowed(session: Session, tracker: WholePicture) -> Grounder:
    """Windows of half a second: 12 or 13 of the clip's 30 frames, half of them in the next window as well."""
    overrides = {"sampling.frame_count": 6, "prompt.steps": 0, "windows.length_seconds": 0.5}
    return Grounder(session, load_settings("paper", overrides=overrides), VideoCache(tracker))


def test_queries_about_a_long_video_share_its_windows(
    windowed: Grounder, adapter: ScriptedAdapter, tmp_path: Path
) -> None:
    write_clip(tmp_path, Clip())
    group = (task("a"), task("b", query="..."), task("c", query="The woman walks."))
    found = outcomes(windowed, tmp_path, group, (task("d", "gone.mp4"),), (task("e"),))
    assert [outcome.failure.kind if outcome.failure else "ok" for outcome in found] == [
        "ok",
        "QueryError",
        "ok",
        "VideoError",
        "ok",
    ]
    first, third, last = (_without_times(found[place]) for place in (0, 2, 4))
    assert len(first["windows"]) == 4  # type: ignore[arg-type]
    assert first == last
    assert first["windows"] != [] != third["windows"]
    # Of each of two groups every window once, and those once more that joined.
    joined = sum(window["joined"] for window in first["windows"])  # type: ignore[attr-defined]
    assert len(adapter.encoded) == 2 * (4 + joined)


def test_a_long_video_of_which_a_window_fails_fails_its_samples(
    windowed: Grounder, adapter: ScriptedAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path, Clip())

    def full(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(adapter, "encode", full)
    found = outcomes(windowed, tmp_path, (task("a"), task("b")))
    assert [outcome.failure.kind for outcome in found if outcome.failure] == ["DeviceMemoryError"] * 2
    assert found[0].failure is not None
    assert found[0].failure.message.startswith("window 1 of 4 (0.00 to 0.52 s): out of memory")

    def broken(*arguments: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(adapter, "encode", broken)
    with pytest.raises(RunError, match="the device stopped working"):
        outcomes(windowed, tmp_path, (task("a"),))


def test_windows_of_a_segment_lie_inside_it(windowed: Grounder, tracker: WholePicture, tmp_path: Path) -> None:
    write_clip(tmp_path, Clip())
    (found,) = outcomes(windowed, tmp_path, (task("a", segment=(5, 25)),))
    windows = _without_times(found)["windows"]
    assert (windows[0]["start_frame"], windows[-1]["end_frame"]) == (5, 25)  # type: ignore[index]
    # One as long as a window is sampled as a whole.
    (found,) = outcomes(windowed, tmp_path, (task("a", segment=(5, 15)),))
    assert _without_times(found)["windows"] == []


QUERIES = ("The man walks.", "The woman walks.", "The woman runs.")


def three() -> tuple[Task, ...]:
    return tuple(task(name, query=query) for name, query in zip("abc", QUERIES, strict=True))


def test_queries_of_a_video_are_read_in_one_pass_and_come_out_as_if_alone(
    grounder: Grounder, adapter: ScriptedAdapter, tmp_path: Path
) -> None:
    write_clip(tmp_path, Clip())
    together = outcomes(grounder, tmp_path, three())
    # Both views; each question once, that of "the woman" and the neutral one too.
    assert [len(asked) for asked in adapter.asked] == [6, 3]
    adapter.asked.clear()
    with Worker(grounder, tmp_path, share=False) as worker:
        worker.submit(three())
        alone = list(worker.outcomes())
    assert len(adapter.asked) == 6
    assert [_without_times(outcome) for outcome in together] == [_without_times(outcome) for outcome in alone]
    assert [outcome.track for outcome in together] == [outcome.track for outcome in alone]
    assert together[0].document is not None
    assert {"video", "query", "encode", "attention", "tracks", "tube"} == set(
        json.loads(together[0].document)["timings_seconds"]
    )


@pytest.fixture
def read_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries were read at a time."""
    compute, sizes = Grounder.compute_maps, []

    def counted(self: Grounder, views: EncodedViews, queries: Sequence[SubQueries], watch: Stopwatch) -> object:
        sizes.append(len(queries))
        return compute(self, views, queries, watch)

    monkeypatch.setattr(Grounder, "compute_maps", counted)
    return sizes


def test_where_prompts_are_learned_each_query_is_read_alone(
    session: Session, read_sizes: list[int], tmp_path: Path
) -> None:
    write_clip(tmp_path, Clip())
    settings = load_settings("paper", overrides={"sampling.frame_count": 6, "augment.enabled": False})
    grounder = Grounder(session, settings, VideoCache(WholePicture()))
    assert all(outcome.document for outcome in outcomes(grounder, tmp_path, three()))
    assert read_sizes == [1, 1, 1]


def test_a_query_that_cannot_be_asked_fails_alone(
    grounder: Grounder, adapter: ScriptedAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass that all share fails; each is tried alone then."""
    write_clip(tmp_path, Clip())
    rows = adapter.attention_rows

    def without_women(request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        if any("woman runs" in question for question in request.questions):
            raise DeviceMemoryError("expected room for the woman, got none")
        return rows(request)

    monkeypatch.setattr(adapter, "attention_rows", without_women)
    found = outcomes(grounder, tmp_path, three())
    assert [outcome.failure and outcome.failure.kind for outcome in found] == [None, None, "DeviceMemoryError"]


def test_a_device_that_broke_in_a_shared_pass_ends_the_run(
    grounder: Grounder, adapter: ScriptedAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path, Clip())

    def broken(request: AttentionRequest) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(adapter, "attention_rows", broken)
    with pytest.raises(RunError, match="the device stopped working"):
        outcomes(grounder, tmp_path, three())


def test_many_queries_of_a_video_are_read_eight_at_a_time(
    grounder: Grounder, read_sizes: list[int], tmp_path: Path
) -> None:
    write_clip(tmp_path, Clip())
    names = [f"q{number}" for number in range(18)]
    found = outcomes(grounder, tmp_path, tuple(task(name) for name in names))
    assert [outcome.sample_id for outcome in found] == names
    assert read_sizes == [8, 8, 2]


def test_tracks_that_other_runs_profit_from_are_made_once_and_are_no_ones_cost(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path, Clip())
    settings = load_settings("paper", overrides={"sampling.frame_count": 6, "prompt.steps": 0})
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    found, trackers = [], [WholePicture(), WholePicture()]
    propose = WholePicture.propose

    def slow(self: WholePicture, request: TrackRequest) -> tuple[Track, ...]:
        clock[0] += 100.0
        return propose(self, request)

    monkeypatch.setattr(WholePicture, "propose", slow)
    for tracker in trackers:
        grounder = Grounder(session, settings, VideoCache(tracker, tmp_path / "tracks"))
        found += outcomes(grounder, tmp_path, (task("a"),))
    assert [len(tracker.asked) for tracker in trackers] == [1, 0]
    assert [outcome.seconds for outcome in found] == [0.0, 0.0]
    assert found[0].track == found[1].track
    assert outcomes(Grounder(session, settings, VideoCache(WholePicture())), tmp_path, (task("a"),))[0].seconds == 100.0
    # Another choice of frames is another question.
    fewer = load_settings("paper", overrides={"sampling.frame_count": 4, "prompt.steps": 0})
    outcomes(Grounder(session, fewer, VideoCache(trackers[1], tmp_path / "tracks")), tmp_path, (task("a"),))
    assert len(trackers[1].asked) == 1
