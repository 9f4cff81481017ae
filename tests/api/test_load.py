"""`load` and `Grounder.ground`: every form of input gives the same tube."""

import gc
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL.Image import Image

import stvg_core
from stvg_core import Grounder, GroundingResult, RunSpec, ground, load
from stvg_core.devtools.demos import DemoCase, find_demos
from stvg_core.errors import QueryError, TrackError, UsageError, VideoError
from stvg_core.inputs.video import iterate_frames, probe_video, read_frames
from stvg_core.inputs.video.from_array import write_lossless_video
from stvg_core.plugin import Track, Tracker, TrackRequest
from stvg_core.settings import load_settings

MODEL = "tiny:qwen2-vl"
OTHER = "The blue square stands still."
FAST = {"prompt.steps": 0}


@pytest.fixture(scope="module")
def case() -> DemoCase:
    return find_demos()[0]


@pytest.fixture(scope="module")
def grounder() -> Iterator[Grounder]:
    with load(MODEL, device="cpu", overrides=FAST) as opened:
        yield opened


@pytest.fixture(scope="module")
def whole(grounder: Grounder, case: DemoCase) -> GroundingResult:
    return grounder.ground(case.video, case.query)


@pytest.fixture(scope="module")
def pixels(case: DemoCase) -> np.ndarray:
    info = probe_video(case.video)
    return np.stack([frame for _, frame in iterate_frames(case.video, info, 0, info.frame_count - 1)])


def same(one: GroundingResult, other: GroundingResult) -> bool:
    return (
        one.tube.start_frame == other.tube.start_frame
        and np.array_equal(one.tube.boxes_xyxy, other.tube.boxes_xyxy)
        and np.array_equal(one.grounding.frame_scores, other.grounding.frame_scores)
    )


def test_ground_is_load_and_ground(case: DemoCase, whole: GroundingResult) -> None:
    assert same(ground(case.video, case.query, model=MODEL, device="cpu", overrides=FAST), whole)
    assert same(ground(case.video, case.query, model=RunSpec(MODEL, overrides=FAST)), whole)


def test_an_array_is_the_file(
    grounder: Grounder, case: DemoCase, whole: GroundingResult, pixels: np.ndarray, tmp_path: object
) -> None:
    result = grounder.ground(pixels, case.query, fps=probe_video(case.video).fps)
    assert same(result, whole)
    assert np.allclose(result.tube.frame_seconds, whole.tube.frame_seconds, atol=1e-3)
    result.save(str(tmp_path))
    file = result.grounding.frames.info.path
    assert probe_video(file).frame_count == len(pixels)
    del result
    with pytest.raises(VideoError):
        probe_video(file)


def test_the_file_of_an_array_lives_as_long_as_any_result(
    grounder: Grounder, case: DemoCase, pixels: np.ndarray, tmp_path: Path
) -> None:
    first, second = grounder.ground(pixels, [case.query, OTHER], fps=10.0)
    file = second.grounding.frames.info.path
    assert first.grounding.frames.info.path == file
    del first
    gc.collect()
    second.save(tmp_path)
    del second
    gc.collect()
    assert not Path(file).exists()


def test_a_failure_leaves_no_file_behind(grounder: Grounder, case: DemoCase, pixels: np.ndarray) -> None:
    class Refuses(Tracker):
        name = "refuses"
        path = ""

        def propose(self, request: TrackRequest) -> tuple[Track, ...]:
            Refuses.path = request.frames.info.path
            raise TrackError("no tracks today")

    with pytest.raises(TrackError, match="no tracks today"):
        grounder.ground(pixels, case.query, fps=10.0, tracks=Refuses())
    assert Refuses.path
    assert not Path(Refuses.path).exists()


@pytest.mark.parametrize("fps", [10.0, 29.97, 30000 / 1001, 0.5, 240.0])
def test_frames_in_memory_are_written_without_loss(fps: float, tmp_path: object) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (7, 37, 53, 3), dtype=np.uint8)
    path = stvg_core.api.results.Path(str(tmp_path)) / "frames.nut"
    write_lossless_video(path, frames, fps)
    info = probe_video(path)
    assert np.array_equal(np.stack([frame for _, frame in iterate_frames(path, info, 0, 6)]), frames)
    assert info.frame_seconds == pytest.approx(np.arange(7) / fps, abs=1e-6)


def test_sampled_frames_are_seen_as_they_are(grounder: Grounder, case: DemoCase, whole: GroundingResult) -> None:
    frames = read_frames(case.video, grounder.settings.sampling)
    assert same(grounder.ground(frames, case.query), whole)


@pytest.mark.parametrize("steps", [0, 1])
def test_several_queries_are_each_alone(case: DemoCase, steps: int) -> None:
    with load(MODEL, device="cpu", overrides={"prompt.steps": steps}) as grounder:
        stages: list[str] = []
        both = grounder.ground(case.video, [case.query, OTHER], on_stage=stages.append)
        alone = [grounder.ground(case.video, query) for query in (case.query, OTHER)]
    assert stages.count("video") == stages.count("encode") == 1
    for one, other in zip(both, alone, strict=True):
        assert np.allclose(one.grounding.frame_scores, other.grounding.frame_scores, atol=1e-5)
        assert one.grounding.sub_queries == other.grounding.sub_queries


def test_given_tracks(grounder: Grounder, case: DemoCase, whole: GroundingResult) -> None:
    result = grounder.ground(case.video, case.query, tracks=list(whole.grounding.tracks))
    assert same(result, whole)
    assert result.to_dict()["settings"]["tracker"] == "given"
    with pytest.raises(TrackError, match="at least one track"):
        grounder.ground(case.video, case.query, tracks=[])


def test_detections_are_tracks(grounder: Grounder, case: DemoCase) -> None:
    supervision = pytest.importorskip("supervision")
    frames = [
        supervision.Detections(
            xyxy=np.array([[0.0 + n, 0, 30 + n, 30], [10.0, 20, 40, 60]]),
            tracker_id=np.array([4, 2]),
            data={"class_name": np.array(["cat", "dog"])},
        )
        for n in range(probe_video(case.video).frame_count)
    ]
    tracks = grounder.ground(case.video, case.query, tracks=frames).grounding.tracks
    assert [track.label for track in tracks] == ["dog", "cat"]
    assert tracks[1].boxes_xyxy[5].tolist() == [5, 0, 35, 30]
    with pytest.raises(TrackError, match="tracker ids in the detections of frame 0"):
        grounder.ground(case.video, case.query, tracks=[replace(frames[0], tracker_id=None)])


def test_given_parts_replace_the_decomposers(grounder: Grounder, case: DemoCase) -> None:
    both = grounder.ground(case.video, case.query, attribute="The Red Circle.", action="it moves").to_dict()["query"]
    assert (both["attribute"], both["action"], both["decomposer"]) == ("the red circle", "it moves", "given")
    one = grounder.ground(case.video, case.query, action="it moves").to_dict()["query"]
    assert (one["action"], one["decomposer"]) == ("it moves", "rules")
    with pytest.raises(QueryError):
        grounder.ground(case.video, case.query, attribute=" ", action="it moves")


def test_settings_of_one_call(grounder: Grounder, case: DemoCase) -> None:
    settings = load_settings("paper", overrides={"prompt.steps": 0, "sampling.frame_count": 4})
    assert len(grounder.ground(case.video, case.query, settings=settings).grounding.frames) == 4


def test_results_speak_the_languages_of_others(whole: GroundingResult) -> None:
    assert len(repr(whole)) < 200
    assert "\n" not in repr(whole)
    assert whole.to_dict()["schema_version"] == 1
    assert list(whole) == list(whole.tube)
    assert [frame for frame, _ in whole] == list(range(whole.tube.start_frame, whole.tube.end_frame + 1))
    assert isinstance(whole.plot(), Image)
    detections = whole.to_supervision()
    assert list(detections) == [frame for frame, _ in whole]
    assert np.allclose(detections[whole.tube.end_frame].xyxy[0], whole.tube.boxes_xyxy[-1])


def test_threads_wait_for_each_other(grounder: Grounder, case: DemoCase, whole: GroundingResult) -> None:
    results: list[GroundingResult] = []

    def work() -> None:
        results.append(grounder.ground(case.video, case.query))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(same(result, whole) for result in results)


def test_a_closed_grounder_says_so(case: DemoCase) -> None:
    grounder = load(MODEL, device="cpu")
    grounder.close()
    grounder.close()
    with pytest.raises(UsageError, match="closed; load the model again"):
        grounder.ground(case.video, case.query)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"video": np.zeros((2, 8, 8, 3), np.uint8)}, "expected fps"),
        ({"video": np.zeros((0, 8, 8, 3), np.uint8), "fps": 5.0}, "uint8 RGB of shape"),
        ({"video": np.zeros((2, 8, 8, 3), np.uint8), "fps": 0.0}, "fps of 1/1001 to 1000"),
        ({"fps": 5.0}, "beside an array of frames alone"),
        ({"query": []}, "at least one query"),
        ({"query": ["a dog runs", "a cat runs"], "action": "it runs"}, "expected one query beside"),
        ({"tracks": "regoins"}, "regoins"),
    ],
)
def test_what_does_not_fit_is_said(
    grounder: Grounder, case: DemoCase, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(stvg_core.StvgError, match=message):
        grounder.ground(**{"video": case.video, "query": case.query} | arguments)


def test_options_that_exclude_each_other(case: DemoCase) -> None:
    with pytest.raises(UsageError, match="RunSpec or options"):
        ground(case.video, case.query, model=RunSpec(MODEL), device="cpu")
    with pytest.raises(UsageError, match="leave one of them out"):
        ground(case.video, case.query, model=MODEL, settings=load_settings("paper"), preset="paper")
