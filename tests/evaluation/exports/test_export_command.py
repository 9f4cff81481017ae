"""`stvg export` as its users meet it: from a grounding, from a run, and from files that somebody else wrote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from stvg_core.devtools.demos import DemoCase
from stvg_core.evaluation.exports import FORMATS, export
from stvg_core.evaluation.exports.sources import RunSource
from stvg_core.evaluation.runs.store import RunStore, StoredSample
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task
from stvg_core.outputs.attention.arrays import write_arrays
from tests.support.command_line import Run
from tests.support.runs import FRAMES, MadeUpEngine, answer, work, write_dataset

TUBE: dict[str, Any] = {
    "schema_version": 1,
    "status": "ok",
    "video": {"path": "/home/me/secret/walk.mp4", "width": 64, "height": 48, "frame_count": 30, "fps": 10.0},
    "query": {"text": "the man walks"},
    "model": {"id": "m"},
    "tube": {
        "start_frame": 28,
        "end_frame": 29,
        "boxes": [
            {"frame": 28, "seconds": 2.8, "xyxy": [1.5, 2.0, 31.5, 40.0]},
            {"frame": 29, "seconds": 2.95, "xyxy": [3.5, 2.0, 33.5, 70.0]},
        ],
    },
    "scores": {"frames": [{"frame": 0, "score": 0.25}, {"frame": 29, "score": 0.5}]},
    "a_field_of_a_later_version": 7,
}


def changed(path: str, value: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(TUBE))
    *parents, leaf = path.split(".")
    part: Any = document
    for parent in parents:
        part = part[int(parent) if parent.isdigit() else parent]
    part[leaf] = value
    return document


@pytest.fixture
def grounding(tmp_path: Path) -> Path:
    folder = tmp_path / "grounding"
    folder.mkdir()
    (folder / "tube.json").write_text(json.dumps(TUBE))
    return folder


def with_clock(task: Task) -> Outcome:
    """What the made-up model says, with the frame rate that real documents have."""
    outcome = answer(task)
    if outcome.document is None:
        return outcome
    document = json.loads(outcome.document)
    document["video"]["fps"] = 10.0
    return Outcome(task.sample_id, json.dumps(document), outcome.track, None, outcome.seconds)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    work(folder, write_dataset(tmp_path / "data", videos=4, queries=6), MadeUpEngine(speak=with_clock))
    return folder


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_from_a_folder_and_from_its_file(form: str, grounding: Path, stvg: Run, tmp_path: Path) -> None:
    for number, source in enumerate((grounding, grounding / "tube.json")):
        out = tmp_path / f"out{number}"
        ran = stvg("export", source, "--format", form, "--out", out, "--json")
        assert (ran.code, ran.error) == (0, "")
        summary = json.loads(ran.out)
        assert (summary["format"], summary["samples"], summary["predictions"], summary["truths"]) == (form, 1, 1, 0)
        files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
        assert files == summary["files"]
        for file in files:
            assert b"secret" not in (out / file).read_bytes()


def test_boxes_are_cut_at_the_picture_and_stay_at_their_frames(grounding: Path, tmp_path: Path) -> None:
    export(grounding, "coco", tmp_path / "out")
    coco = COCO(str(tmp_path / "out" / "predictions.json"))
    found = {coco.imgs[one["image_id"]]["frame_id"]: one["bbox"] for one in coco.anns.values()}
    assert found == {28: [1.5, 2.0, 30.0, 38.0], 29: [3.5, 2.0, 30.0, 46.0]}
    assert next(iter(coco.dataset["videos"]))["name"] == "walk.mp4"


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "grounding"),
        ({"status": "error", "error": "no"}, "report of an error"),
        (changed("tube.boxes", []), "tube.boxes"),
        (changed("tube.end_frame", 30), "30 frames"),
        (changed("tube.start_frame", 29), "frames within"),
        (changed("tube.boxes.0.xyxy", [1, 2, "x", 4]), "xyxy"),
        (changed("tube.boxes.0.xyxy", [1, 2, 1e300, 4]), "xyxy"),
        (changed("tube.boxes.0.xyxy", [31, 2, 1, 4]), "x0 <= x1"),
        (changed("tube.boxes.1.frame", 28), "ascending"),
        (changed("tube.boxes.1.frame", -1), "frame"),
        (changed("video.fps", 0), "fps"),
        (changed("video.width", 10**12), "width"),
    ],
)
def test_a_file_that_is_no_grounding_is_one_line_and_leaves_nothing(
    document: object, word: str, stvg: Run, tmp_path: Path
) -> None:
    (tmp_path / "tube.json").write_text(json.dumps(document))
    ran = stvg("export", tmp_path / "tube.json", "--format", "mot", "--out", tmp_path / "out")
    assert ran.code in (1, 2)
    assert ran.error.count("\n") == 1
    assert word in ran.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nothing", "--format", "coco"), "expected a run"),
        (("grounding", "--format", "yolo"), "label-studio"),
        (("grounding", "--format", "coco", "--videos", "absent"), "videos"),
        (("grounding", "--format", "coco", "--video-prefix", "/x/"), "label-studio alone"),
    ],
)
def test_wrong_usage_is_exit_code_two(
    arguments: tuple[str, ...], word: str, grounding: Path, stvg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = stvg("export", *arguments, "--out", "out")
    assert (ran.code, ran.error.count("\n")) == (2, 1)
    assert word in ran.error
    assert not (tmp_path / "out").exists()


def test_what_stands_in_the_folder_stays_and_a_failure_changes_nothing(
    grounding: Path, stvg: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert stvg("export", grounding, "--format", "coco", "--out", out).code == 0
    assert sorted(path.name for path in out.iterdir()) == ["mine.txt", "predictions.json"]
    (grounding / "tube.json").write_text("{}")
    before = (out / "predictions.json").read_bytes()
    assert stvg("export", grounding, "--format", "coco", "--out", out).code == 2
    assert (out / "predictions.json").read_bytes() == before


# Runs


def test_a_run_gives_predictions_and_truth_of_every_sample(run: Path, tmp_path: Path) -> None:
    summary = export(run, "coco", tmp_path / "out")
    failed = [sample for video in range(4) for query in range(6) if answer_failed(sample := f"v{video}-q{query}")]
    assert 0 < len(failed) < 24
    assert (summary.samples, summary.predictions, summary.truths) == (24, 24 - len(failed), 24)
    assert summary.left_out == {}
    truth, found = (COCO(str(tmp_path / "out" / name)) for name in ("truth.json", "predictions.json"))
    assert truth.dataset["images"] == found.dataset["images"]
    assert truth.dataset["videos"] == found.dataset["videos"]
    by_sample = {track["sample_id"]: track["id"] for track in truth.dataset["tracks"]}
    assert {track["sample_id"]: track["id"] for track in found.dataset["tracks"]}.items() <= by_sample.items()
    assert set(by_sample) - {track["sample_id"] for track in found.dataset["tracks"]} == set(failed)
    boxes = boxes_of_track(truth, by_sample["v2-q1"])
    assert boxes == {frame: [2.0, 1.0, 30.0, 39.0] for frame in range(5, 15)}


def answer_failed(sample: str) -> bool:
    return sum(map(ord, sample)) % 11 == 0


def boxes_of_track(coco: COCO, track: int) -> dict[int, list[float]]:
    return {
        coco.imgs[one["image_id"]]["frame_id"]: one["bbox"] for one in coco.anns.values() if one["track_id"] == track
    }


def test_annotations_that_count_every_tenth_frame_are_exported_in_source_frames(tmp_path: Path) -> None:
    truth = {"num_frames": 4, "start_frame": 1, "end_frame": 3, "boxes": {str(n): [n, 0, n + 5, 9] for n in (1, 2, 3)}}
    task = Task("s", "clips/walk.mp4", "a man", frame_step=10, frame_count=4)
    outcome = Outcome("s", json.dumps(TUBE | {"video": TUBE["video"] | {"frame_count": 35}}), json.dumps({}), None, 0.1)
    with RunStore(tmp_path / "run") as store:
        store.begin_configuration({"model": {"id": "m"}})
        store.add_samples([StoredSample("s", 0, task, annotation=truth)])
        store.begin_session({})
        store.record(outcome)
    (sample,) = RunSource(tmp_path / "run").samples()
    assert sample.video.path == "clips/walk.mp4"
    assert sample.truth is not None
    assert sample.prediction is not None
    assert sample.truth.frames.tolist() == [10, 20, 30]
    assert (sample.truth.start_frame, sample.truth.end_frame) == (10, 30)
    assert sample.prediction.frames.tolist() == [28, 29]


def failing(task: Task) -> Outcome:
    """Say nothing."""
    return Outcome(task.sample_id, None, None, Failure("QueryError", "expected a man, got none"), 0.1)


def unanswered(task: Task) -> Outcome:
    """Nobody can say anything of video 1."""
    return failing(task) if task.video == "video1.mp4" else with_clock(task)


def test_samples_of_a_video_whose_size_nobody_knows_are_left_out_with_the_reason(stvg: Run, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", videos=3, queries=2)
    work(tmp_path / "run", dataset, MadeUpEngine(speak=unanswered))
    ran = stvg("export", tmp_path / "run", "--format", "cvat", "--out", tmp_path / "out", "--json")
    summary = json.loads(ran.out)
    assert [row["sample"] for row in summary["left_out"]] == ["v1-q0", "v1-q1"]
    assert all("--videos" in row["reason"] for row in summary["left_out"])
    assert summary["samples"] == 4
    told = stvg("export", tmp_path / "run", "--format", "cvat", "--out", tmp_path / "out")
    assert told.error.count("left out: ") == 2


def test_sizes_are_read_from_the_videos_and_links_out_of_their_folder_are_not_followed(
    easy: DemoCase, tmp_path: Path
) -> None:
    work(tmp_path / "run", write_dataset(tmp_path / "data", videos=3, queries=2), MadeUpEngine(speak=failing))
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "video0.mp4").write_bytes(easy.video.read_bytes())
    (videos / "video1.mp4").symlink_to(easy.video)
    summary = export(tmp_path / "run", "mot", tmp_path / "out", videos=videos)
    assert (summary.samples, summary.truths, summary.predictions) == (2, 2, 0)
    assert set(summary.left_out) == {"v1-q0", "v1-q1", "v2-q0", "v2-q1"}
    assert "imWidth=384" in (tmp_path / "out" / "video0" / "seqinfo.ini").read_text()


def test_a_file_that_is_another_video_is_refused(grounding: Path, easy: DemoCase, stvg: Run, tmp_path: Path) -> None:
    ran = stvg("export", grounding, "--format", "rerun", "--out", tmp_path / "out", "--videos", easy.video)
    assert (ran.code, ran.error.count("\n")) == (2, 1)
    assert "is it the video of this result" in ran.error


def test_results_that_come_in_meanwhile_are_not_half_exported(run: Path) -> None:
    source = RunSource(run)
    first = [(sample.sample_id, sample.prediction is not None) for sample in source.samples()]
    with RunStore(run) as store:
        store.begin_session({})
        sample = next(name for name, predicted in first if not predicted)
        changed_outcome = with_clock(Task("v0-q1" if not answer_failed("v0-q1") else "v0-q2", "video0.mp4", "a man"))
        store.record(Outcome(sample, changed_outcome.document, changed_outcome.track, None, 0.1))
    assert [(sample.sample_id, sample.prediction is not None) for sample in source.samples()] == first
    again = {sample.sample_id: sample.prediction is not None for sample in RunSource(run).samples()}
    assert again[sample]


# Rerun


def entities(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return every row of a recording by entity, through Rerun's own reader."""
    from rerun.chunk import RrdReader

    found: dict[str, list[dict[str, Any]]] = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        # When a row was written, in nanoseconds, which Python cannot say without pandas.
        batch = batch.drop_columns(["log_time"]) if "log_time" in batch.schema.names else batch
        found.setdefault(chunk.entity_path, []).extend(batch.to_pylist())
    return found


def test_a_recording_has_boxes_scores_and_the_end_of_the_tube_at_their_times(grounding: Path, tmp_path: Path) -> None:
    document = changed("tube.end_frame", 28)
    document["tube"]["boxes"].pop()
    (grounding / "tube.json").write_text(json.dumps(document))
    export(grounding, "rerun", tmp_path / "out")
    found = entities(tmp_path / "out" / "walk_mp4.rrd")
    box, end = sorted(found["/video/prediction"], key=lambda row: row["frame"])
    assert (box["frame"], box["video_time"].total_seconds()) == (28, 2.8)
    center, half = (np.array(box[f"Boxes2D:{name}"][0]) for name in ("centers", "half_sizes"))
    assert [*(center - half), *(center + half)] == [1.5, 2.0, 31.5, 40.0]
    assert (end["frame"], end["Clear:is_recursive"]) == (29, [False])
    scores = {row["frame"]: row["Scalars:scalars"] for row in found["/frame_score"]}
    assert scores == {0: [0.25], 29: [0.5]}
    assert "the man walks" in found["/query"][0]["TextDocument:text"][0]
    assert "/video" not in found


def test_a_recording_holds_the_video_and_attention_where_they_are_at_hand(
    easy: DemoCase, stvg: Run, tmp_path: Path
) -> None:
    out = tmp_path / "both"
    assert stvg("ground", easy.video, easy.query, "--model", easy.model, "--out", out).code == 0
    assert stvg("attend", easy.video, "Is there the purple ring?", "--model", easy.model, "--out", out).code == 0
    summary = export(out, "rerun", tmp_path / "out", videos=easy.video.parent)
    found = entities(tmp_path / "out" / summary.files[0])
    (video,) = [row for row in found["/video"] if row.get("AssetVideo:blob")]
    assert bytes(video["AssetVideo:blob"][0]) == easy.video.read_bytes()
    frames = {row["frame"] for row in found["/video"] if row.get("VideoFrameReference:timestamp")}
    assert frames == set(range(128))
    with np.load(out / "attention.npz") as arrays:
        assert {row["frame"] for row in found["/video/attention"]} == set(arrays["frame_index"].tolist())
    assert "/video/truth" not in found


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_attention_of_another_video_or_with_pickles_is_refused(grounding: Path, stvg: Run, tmp_path: Path) -> None:
    arrays = {"video_size": np.array([64, 49]), "frame_index": np.arange(2), "frame_seconds": np.arange(2.0)}
    spoiled: list[Callable[[], None]] = [
        lambda: write_arrays(grounding / "attention.npz", arrays | {"maps": np.ones((2, 3, 3))}),
        lambda: np.savez(
            grounding / "attention.npz", **arrays, maps=np.array([Trap(tmp_path / "sprung")] * 2, dtype=object)
        ),  # type: ignore[arg-type]
        lambda: (grounding / "attention.npz").write_bytes(b"nothing") and None,
    ]
    for write in spoiled:
        write()
        ran = stvg("export", grounding, "--format", "rerun", "--out", tmp_path / "out")
        assert (ran.code, ran.error.count("\n")) == (1, 1), ran
        assert "attention.npz" in ran.error
        assert not (tmp_path / "out").exists()
    assert not (tmp_path / "sprung").exists()


def test_without_rerun_the_cure_is_told(
    grounding: Path, stvg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    ran = stvg("export", grounding, "--format", "rerun", "--out", tmp_path / "out")
    assert ran.code == 1
    assert "pip install 'stvg-core[rerun]'" in ran.error
    assert not (tmp_path / "out").exists()


def test_the_whole_run_has_frames_for_every_box(run: Path) -> None:
    for sample in RunSource(run).samples():
        for tube in sample.tubes:
            assert tube.frames.tolist() == list(range(tube.start_frame, tube.end_frame + 1))
            assert tube.end_frame < FRAMES
