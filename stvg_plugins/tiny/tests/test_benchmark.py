"""The data set on disk: the same twice, whole or absent, and readable by the rules of HC-STVG."""

import json
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from stvg_core.errors import OutputError
from stvg_core.inputs.query.rules import RulesDecomposer
from stvg_tiny import benchmark
from stvg_tiny.benchmark import benchmark_hash, content_hash, frames_hash, main, write_benchmark
from stvg_tiny.clips import CLIP_FRAMES, CLIP_PIXELS, QUERY_FORMS, benchmark_clips, clip_pixels, query, true_tube
from stvg_tiny.errors import SceneError
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import COLOR_NAMES, EVENTS, SHAPE_NAMES, Scene, SceneObject, Span, Texture

CLIPS = 2
LEVELS = ("easy", "hard")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "benchmark"
    write_benchmark(made, CLIPS)
    return made


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_runs_are_identical_to_the_byte(folder: Path, tmp_path: Path) -> None:
    write_benchmark(tmp_path / "again", CLIPS)
    assert contents(tmp_path / "again") == contents(folder)


def test_it_holds_what_it_says(folder: Path) -> None:
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "manifest.json",
        *(f"video/{level}_{index:04d}.mp4" for level in LEVELS for index in range(CLIPS)),
        *(
            f"hcstvg_v{version}/{level}_{form}.json"
            for version in (1, 2)
            for level in LEVELS
            for form in ("declarative", "interrogative")
        ),
        *(f"{kind}/{level}.json" for kind in ("score", "scenes") for level in LEVELS),
    }
    manifest = read(folder / "manifest.json")
    assert (manifest["seed"], manifest["clips_per_level"], manifest["frame_count"]) == (0, CLIPS, 128)
    assert len(manifest["frames_sha256"]) == 2 * CLIPS


def test_the_manifest_hash_is_that_of_the_files_and_frames(folder: Path) -> None:
    texts = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in folder.rglob("*.json")
        if path.name != "manifest.json"
    }
    frames = {
        clip.identifier: frames_hash(clip_pixels(clip.scene, CLIP_PIXELS))
        for level in LEVELS
        for clip in benchmark_clips(level, CLIPS)
    }
    found = content_hash(texts, frames)
    assert read(folder / "manifest.json")["sha256"] == vars(found)
    assert benchmark_hash(CLIPS) == found


def test_the_hash_changes_with_one_letter_one_pixel_and_one_name() -> None:
    texts, frames = {"a.json": "{}", "b.json": "[]"}, {"easy_0000": "aa", "easy_0001": "bb"}
    found = content_hash(texts, frames)
    assert content_hash(dict(reversed(texts.items())), frames) == found
    for changed in (
        content_hash({**texts, "a.json": "{ }"}, frames),
        content_hash({"c.json": "{}", "b.json": "[]"}, frames),
        content_hash(texts, {**frames, "easy_0001": "bc"}),
        content_hash(texts, {"easy_0000": "bb", "easy_0001": "aa"}),
    ):
        assert changed.content != found.content
    pixels = np.zeros((2, 3, 4, 3), np.uint8)
    brighter = pixels.copy()
    brighter[1, 2, 3, 2] = 1
    assert frames_hash(pixels) != frames_hash(brighter)


def test_the_first_clips_are_the_published_ones() -> None:
    # The figures in docs/tiny_models.md are of these clips.
    assert benchmark_hash(4).content == "65a6f5410b5325d294a2f39479e4d18ff6f3f3bc1e261a310639db0d9b3854aa"


@pytest.mark.parametrize("level", LEVELS)
def test_hcstvg_readers_find_the_true_tube(folder: Path, level: str) -> None:
    one = read(folder / "hcstvg_v1" / f"{level}_declarative.json")
    two = read(folder / "hcstvg_v2" / f"{level}_declarative.json")
    assert list(one) == list(two)
    for clip in benchmark_clips(level, CLIPS):
        record, later = one[f"{clip.identifier}.mp4"], two[f"{clip.identifier}.mp4"]
        shared = {"bbox", "st_time", "ed_time", "st_frame", "img_num"}
        assert set(record) == shared | {"caption", "width", "height"}
        assert set(later) == shared | {"English", "img_size"}
        assert all(record[name] == later[name] for name in shared)
        assert (later["English"], later["img_size"]) == (record["caption"], [CLIP_PIXELS, CLIP_PIXELS])
        # As STCAT reads it: 1-based start, x y w h, one box per frame.
        start = record["st_frame"] - 1
        boxes = np.array(record["bbox"])
        boxes[:, 2:] += boxes[:, :2]
        truth = true_tube(clip.scene, CLIP_PIXELS)
        assert (start, start + len(boxes) - 1) == (truth.start_frame, truth.end_frame)
        np.testing.assert_allclose(boxes, truth.boxes_xyxy, atol=0.011)
        assert record["st_time"] == pytest.approx(truth.span.start_seconds)
        assert record["ed_time"] == pytest.approx(truth.span.end_seconds)
        assert record["img_num"] == CLIP_FRAMES


@pytest.mark.parametrize("level", LEVELS)
def test_score_annotations_hold_the_true_tube(folder: Path, level: str) -> None:
    records = read(folder / "score" / f"{level}.json")
    for clip in benchmark_clips(level, CLIPS):
        record = records[clip.identifier]
        truth = true_tube(clip.scene, CLIP_PIXELS)
        assert set(record) == {"num_frames", "start_frame", "end_frame", "boxes"}
        assert (record["num_frames"], record["start_frame"], record["end_frame"]) == (
            CLIP_FRAMES,
            truth.start_frame,
            truth.end_frame,
        )
        assert sorted(map(int, record["boxes"])) == list(range(truth.start_frame, truth.end_frame + 1))
        for frame, box in record["boxes"].items():
            np.testing.assert_allclose(box, truth.boxes_xyxy[int(frame) - truth.start_frame], atol=0.006)


@pytest.mark.parametrize("level", LEVELS)
def test_scene_records_hold_queries_tags_and_all_tracks(folder: Path, level: str) -> None:
    records = read(folder / "scenes" / f"{level}.json")
    score = read(folder / "score" / f"{level}.json")
    for clip in benchmark_clips(level, CLIPS):
        record = records[clip.identifier]
        assert record["tags"] == list(clip.tags)
        assert len(record["objects"]) == len(clip.scene.objects)
        target = record["objects"][0]
        assert record["queries"]["declarative"] == f"The {target['color']} {target['shape']} {target['action']}."
        assert record["queries"]["interrogative"] == f"what {target['color']} {target['shape']} {target['action']}?"
        tube = score[clip.identifier]
        assert (target["start_frame"], target["end_frame"]) == (tube["start_frame"], tube["end_frame"])
        assert all(len(item["boxes_xyxy"]) == CLIP_FRAMES for item in record["objects"])
        assert target["boxes_xyxy"][tube["start_frame"]] == tube["boxes"][str(tube["start_frame"])]
    for form in QUERY_FORMS:
        captions = read(folder / "hcstvg_v1" / f"{level}_{form}.json")
        for identifier, record in records.items():
            assert captions[f"{identifier}.mp4"]["caption"] == record["queries"][form]


def test_the_files_show_the_scenes(folder: Path) -> None:
    for level in LEVELS:
        clip = benchmark_clips(level, 1)[0]
        with av.open(str(folder / "video" / f"{clip.identifier}.mp4")) as container:
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert container.streams.video[0].average_rate == 20
        assert len(decoded) == CLIP_FRAMES
        drawn = clip_pixels(clip.scene, CLIP_PIXELS)
        assert decoded[0].shape == drawn[0].shape
        assert np.abs(np.stack(decoded).astype(int) - drawn).mean() < 8
        # Not any other clip, and in the right order.
        assert (
            np.abs(np.stack(decoded)[::-1].astype(int) - drawn).mean()
            > np.abs(np.stack(decoded).astype(int) - drawn).mean()
        )


def test_fewer_clips_are_the_first_of_more() -> None:
    assert benchmark_clips("hard", 3) == benchmark_clips("hard", 6)[:3]
    assert [clip.scene for clip in benchmark_clips("hard", 3)] == [
        held_out_scene(Split.TEST, index, "hard") for index in range(3)
    ]


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def fail_at_the_third(path: Path, pixels: np.ndarray) -> None:
        if len(written) == 2:
            raise OSError("no space left on device")
        written.append(path)
        path.write_bytes(b"clip")

    monkeypatch.setattr(benchmark, "write_clip", fail_at_the_third)
    with pytest.raises(OSError, match="no space"):
        write_benchmark(tmp_path / "benchmark", CLIPS)
    assert len(written) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="new or empty"):
        write_benchmark(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("wrong", [{"clips_per_level": 0}, {"seed": -1}])
def test_impossible_requests_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(SceneError, match="at least"):
        write_benchmark(tmp_path / "benchmark", **wrong)


def test_another_seed_is_another_benchmark() -> None:
    assert benchmark_hash(1, seed=1).frames != benchmark_hash(1).frames


def test_the_command_writes_it_and_names_the_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["make-benchmark", "--out", str(tmp_path / "made"), "--clips", "1"]
    assert main(arguments) == 0
    manifest = read(tmp_path / "made" / "manifest.json")
    assert manifest["sha256"]["content"] in capsys.readouterr().out
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    with pytest.raises(SystemExit) as stop:
        main(["unknown"])
    assert stop.value.code == 2


@pytest.mark.parametrize("form", QUERY_FORMS)
def test_every_query_decomposes_into_its_attribute_and_action(form: str) -> None:
    for color, shape, action in product(COLOR_NAMES, SHAPE_NAMES, EVENTS):
        item = SceneObject(color, shape, action, Span(0.2, 0.6), (0.5, 0.5), (0.0, 0.0), 0.1, 0.1)
        parts = RulesDecomposer().decompose(query(Scene((item,), Texture(0, 4, 0.0, 0.0)), form))
        assert parts.attribute == f"the {color} {shape}"
        assert parts.action == f"the {shape} {action}"
        assert parts.warnings == ()


@pytest.mark.slow
def test_the_whole_benchmark_is_the_published_one() -> None:
    assert benchmark_hash().content == "a8307a60646761e2ad098e0c0e820dddc7fc10b13c841a323bf0addd454c2902"
