"""Each format, read by somebody else's reader: every box at its frame, whatever each counts from."""

import configparser
import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.dom import minidom

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from trackers.eval import evaluate_mot_sequence
from trackers.io.mot import load_mot_file

from stvg_core.evaluation.exports.coco import write_coco
from stvg_core.evaluation.exports.cvat import write_cvat
from stvg_core.evaluation.exports.label_studio import write_label_studio
from stvg_core.evaluation.exports.mot import write_mot
from stvg_core.evaluation.exports.samples import ExportedSample, ExportedTube, ExportedVideo, key_places
from stvg_core.values import VideoInfo
from stvg_sam.detections import read_boxes
from tests.support.exports import NASTY, Boxes, GivenSource, assert_close, boxes_of, interpolated, sources

VIDEO = ExportedVideo("clips/walk.mp4", 200, 100, 10, 25.0)
FIRST = ExportedTube("truth", 0, 1, np.array([0, 1]), np.array([[1.0, 2, 31, 42], [3.0, 4, 33, 44]]))
LAST = ExportedTube("prediction", 8, 9, np.array([8, 9]), np.array([[1.0, 2, 31, 42], [5.0, 4, 35, 44]]))


def two() -> GivenSource:
    """Tubes that touch the video's first and last frame."""
    return GivenSource([ExportedSample("s", "a man", VIDEO, LAST, FIRST)])


# COCO


def coco_boxes(path: Path) -> dict[tuple[str, int], Boxes]:
    """Return every track's boxes by video and track, through pycocotools."""
    coco = COCO(str(path))
    videos = {video["id"]: video["name"] for video in coco.dataset["videos"]}
    found: dict[tuple[str, int], Boxes] = defaultdict(dict)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        (image,) = coco.loadImgs(annotation["image_id"])
        assert image["video_id"] == annotation["video_id"]
        x, y, width, height = annotation["bbox"]
        assert int(Path(image["file_name"]).stem) == image["frame_id"] + 1
        found[videos[image["video_id"]], annotation["track_id"]][image["frame_id"]] = (x, y, x + width, y + height)
    return found


@settings(max_examples=40)
@given(sources())
def test_coco_is_read_back_by_pycocotools(source: GivenSource) -> None:
    with TemporaryDirectory() as folder:
        write_coco(Path(folder), source)
        for role, name in (("prediction", "predictions.json"), ("truth", "truth.json")):
            expected = {
                (sample.video.path, number): boxes_of(tube)
                for number, sample in enumerate(source.given, 1)
                for tube in sample.tubes
                if tube.role == role
            }
            path = Path(folder) / name
            assert path.exists() == (role == "prediction" or bool(expected))
            found = coco_boxes(path) if path.exists() else {}
            assert set(found) == set(expected)
            for key, boxes in expected.items():
                assert set(found[key]) == set(boxes)
                assert_close(found[key], boxes, 2e-3)
            if path.exists():
                document = json.loads(path.read_text())
                for section in ("videos", "images", "annotations"):
                    identities = [row["id"] for row in document[section]]
                    assert identities == list(range(1, len(identities) + 1))
                assert [track["query"] for track in document["tracks"]] == [
                    sample.query for sample in source.given for tube in sample.tubes if tube.role == role
                ]


def test_coco_evaluation_knows_truth_and_prediction_apart_and_matches_them(tmp_path: Path) -> None:
    boxes = np.array([[10.0, 10, 60, 60], [20.0, 10, 70, 60]])
    same = [ExportedTube(role, 4, 5, np.array([4, 5]), boxes) for role in ("prediction", "truth")]  # type: ignore[arg-type]
    off = ExportedTube("prediction", 4, 5, np.array([4, 5]), boxes + np.array([100.0, 30, 100, 30]))
    for number, prediction, expected in ((0, same[0], 1.0), (1, off, 0.0)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_coco(folder, GivenSource([ExportedSample("s", "a man", VIDEO, prediction, same[1])]))
        truth = COCO(str(folder / "truth.json"))
        found = truth.loadRes(json.loads((folder / "predictions.json").read_text())["annotations"])
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(expected)


# MOT


@settings(max_examples=40)
@given(sources())
def test_mot_is_read_back_by_trackers(source: GivenSource) -> None:
    with TemporaryDirectory() as folder:
        write_mot(Path(folder), source)
        found: dict[tuple[str, int, int, int], dict[str, dict[int, Boxes]]] = {}
        for info in Path(folder).glob("*/seqinfo.ini"):
            parser = configparser.ConfigParser()
            parser.read(info, encoding="utf-8")
            head = parser["Sequence"]
            assert head["name"] == info.parent.name
            files = {"prediction": info.parent / "det" / "det.txt", "truth": info.parent / "gt" / "gt.txt"}
            found[info.parent.name, int(head["seqLength"]), int(head["imWidth"]), int(head["imHeight"])] = {
                role: mot_boxes(path) for role, path in files.items() if path.exists()
            }
            assert int(head["frameRate"]) >= 1
        videos = {sample.video.path: sample.video for sample in source.given}
        assert sorted(size for _, *size in found) == sorted(
            [video.frame_count, video.width, video.height] for video in videos.values()
        )
        everything = sorted(
            (role, identity, frame, box)
            for roles in found.values()
            for role, tracks in roles.items()
            for identity, boxes in tracks.items()
            for frame, box in boxes.items()
        )
        counters: dict[str, int] = defaultdict(int)
        expected = []
        for sample in source.given:
            counters[sample.video.path] += 1
            for tube in sample.tubes:
                identity = counters[sample.video.path]
                expected += [(tube.role, identity, frame, box) for frame, box in boxes_of(tube).items()]
        expected.sort()
        assert [row[:3] for row in everything] == [row[:3] for row in expected]
        assert np.abs(np.array([row[3] for row in everything]) - np.array([row[3] for row in expected])).max() < 2e-3


def mot_boxes(path: Path) -> dict[int, Boxes]:
    """Return boxes by track and 0-based frame, through the library `trackers`, which keeps the file's numbers."""
    found: dict[int, Boxes] = defaultdict(dict)
    for frame, data in load_mot_file(path).items():
        for identity, (left, top, width, height) in zip(data.ids, data.boxes, strict=True):
            found[int(identity)][frame - 1] = (left, top, left + width, top + height)
    return found


def test_mot_counts_from_one_and_our_own_tracker_reads_it_back(tmp_path: Path) -> None:
    write_mot(tmp_path, two())
    folder = tmp_path / "clips_walk"
    assert (folder / "gt" / "gt.txt").read_text().splitlines()[0] == "1,1,1.000,2.000,30.000,40.000,1,1,1"
    assert (folder / "det" / "det.txt").read_text().splitlines()[-1] == "10,1,5.000,4.000,30.000,40.000,1,-1,-1,-1"
    info = VideoInfo("walk.mp4", 200, 100, 25.0, 0.4, np.arange(10) / 25)
    read = read_boxes(folder / "det" / "det.txt", info, 0.0)
    assert {frame: found.boxes_xyxy.tolist() for frame, found in read.items() if len(found.boxes_xyxy)} == {
        8: [[1.0, 2.0, 31.0, 42.0]],
        9: [[5.0, 4.0, 35.0, 44.0]],
    }


def test_mot_evaluation_finds_a_perfect_prediction_perfect(tmp_path: Path) -> None:
    truth = ExportedTube("truth", 2, 6, np.arange(2, 7), np.array([[10.0 + x, 10, 60 + x, 60] for x in range(5)]))
    same = ExportedTube("prediction", 2, 6, truth.frames, truth.boxes_xyxy)
    late = ExportedTube("prediction", 3, 7, truth.frames + 1, truth.boxes_xyxy)
    for name, prediction, least, most in (("same", same, 1.0, 1.0), ("late", late, 0.0, 0.99)):
        folder = tmp_path / name
        folder.mkdir()
        write_mot(folder, GivenSource([ExportedSample("s", "a man", VIDEO, prediction, truth)]))
        sequence = folder / "clips_walk"
        result = evaluate_mot_sequence(sequence / "gt" / "gt.txt", sequence / "det" / "det.txt", metrics=["CLEAR"])
        assert least <= result.CLEAR.MOTA <= most


# CVAT


def cvat_tracks(path: Path) -> list[tuple[str, Boxes, dict[str, str]]]:
    """Return label, boxes and attributes of every track as CVAT shows them, read through the DOM.

    Boxes lie on lines between key boxes; from one that is outside on, there is none; a track without such a box goes
    on to the last frame.
    """
    document = minidom.parse(str(path))
    stop = int(document.getElementsByTagName("stop_frame")[0].firstChild.data)  # type: ignore[union-attr]
    assert int(document.getElementsByTagName("size")[0].firstChild.data) == stop + 1  # type: ignore[union-attr]
    found = []
    for track in document.getElementsByTagName("track"):
        keys, last = [], stop
        boxes = track.getElementsByTagName("box")
        for box in boxes:
            assert (box.getAttribute("keyframe"), box.getAttribute("occluded")) == ("1", "0")
            frame = int(box.getAttribute("frame"))
            if box.getAttribute("outside") == "1":
                last = frame - 1
                break
            keys.append((frame, tuple(float(box.getAttribute(name)) for name in ("xtl", "ytl", "xbr", "ybr"))))
        shown = interpolated(keys)
        shown |= {frame: shown[max(shown)] for frame in range(max(shown) + 1, last + 1)}
        attributes = {
            attribute.getAttribute("name"): "".join(node.data for node in attribute.childNodes)  # type: ignore[union-attr]
            for attribute in boxes[0].getElementsByTagName("attribute")
        }
        found.append((track.getAttribute("label"), shown, attributes))
    return found


@settings(max_examples=40)
@given(sources(step=1) | sources(step=5))
def test_cvat_shows_the_boxes_where_they_are(source: GivenSource) -> None:
    with TemporaryDirectory() as folder:
        write_cvat(Path(folder), source)
        files = list(Path(folder).glob("*.xml"))
        assert len(files) == len({sample.video.path for sample in source.given}) == len(list(Path(folder).iterdir()))
        tracks = [track for path in files for track in cvat_tracks(path)]
        tubes = {(sample.sample_id, tube.role): (sample, tube) for sample in source.given for tube in sample.tubes}
        assert len(tracks) == len(tubes)
        for label, shown, attributes in tracks:
            sample, tube = tubes[attributes["sample"], label]  # type: ignore[index]
            assert attributes["query"] == sample.query
            assert_close(shown, boxes_of(tube), 0.02)


def test_cvat_ends_a_track_behind_its_last_frame_and_not_behind_the_video(tmp_path: Path) -> None:
    write_cvat(tmp_path, two())
    document = minidom.parse(str(tmp_path / "clips_walk.xml"))
    frames = {
        track.getAttribute("label"): [
            (box.getAttribute("frame"), box.getAttribute("outside")) for box in track.getElementsByTagName("box")
        ]
        for track in document.getElementsByTagName("track")
    }
    assert frames == {"truth": [("0", "0"), ("1", "0"), ("2", "1")], "prediction": [("8", "0"), ("9", "0")]}


# Label Studio


def shown_by_label_studio(value: dict[str, Any], width: int, height: int) -> Boxes:
    """Return the boxes that Label Studio shows: lines between key boxes while enabled; a key's own frame always."""
    keys = [
        (
            key["frame"] - 1,
            tuple(
                part * side / 100
                for part, side in (
                    (key["x"], width),
                    (key["y"], height),
                    (key["x"] + key["width"], width),
                    (key["y"] + key["height"], height),
                )
            ),
        )
        for key in value["sequence"]
    ]
    shown = interpolated(keys)
    for key, following in zip(value["sequence"], [*value["sequence"][1:], None], strict=True):
        if not key["enabled"] and following is not None:
            for frame in range(key["frame"], following["frame"] - 1):
                del shown[frame]
        elif key["enabled"] and following is None:
            shown |= dict.fromkeys(range(keys[-1][0] + 1, value["framesCount"]), keys[-1][1])
    return shown


@settings(max_examples=40)
@given(sources(step=1) | sources(step=5))
def test_label_studio_shows_the_boxes_where_they_are(source: GivenSource) -> None:
    with TemporaryDirectory() as folder:
        write_label_studio(Path(folder), source)
        tasks = json.loads((Path(folder) / "tasks.json").read_text())
        assert len(tasks) == len(source.given)
        for task, sample in zip(tasks, source.given, strict=True):
            assert (task["data"]["query"], task["data"]["video"]) == (sample.query, sample.video.path)
            assert ("predictions" in task, "annotations" in task) == (
                sample.prediction is not None,
                sample.truth is not None,
            )
            for tube in sample.tubes:
                (part,) = task["predictions" if tube.role == "prediction" else "annotations"]
                box, span = part["result"]
                assert box["value"]["framesCount"] == sample.video.frame_count
                shown = shown_by_label_studio(box["value"], sample.video.width, sample.video.height)
                assert_close(shown, boxes_of(tube), 0.02)
                assert span["value"]["ranges"] == [{"start": tube.start_frame + 1, "end": tube.end_frame + 1}]
                times = [(key["frame"], key["time"]) for key in box["value"]["sequence"]]
                assert times == [(frame, pytest.approx(frame / sample.video.fps, abs=1e-6)) for frame, _ in times]


def test_label_studio_tasks_name_what_the_configuration_asks_for(tmp_path: Path) -> None:
    write_label_studio(tmp_path, two(), prefix="/data/local-files/?d=my%20videos/")
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert task["data"]["video"] == "/data/local-files/?d=my%20videos/clips/walk.mp4"
    config = minidom.parse(str(tmp_path / "config.xml"))
    tags = {node.getAttribute("name"): node for node in config.getElementsByTagName("*") if node.getAttribute("name")}
    variables = {
        part[1:]
        for node in config.getElementsByTagName("*")
        for part in dict(node.attributes.items()).values()
        if part.startswith("$")
    }
    assert variables <= set(task["data"])
    for result in task["predictions"][0]["result"] + task["annotations"][0]["result"]:
        assert tags[result["from_name"]].getAttribute("toName") == result["to_name"]
        assert tags[result["to_name"]].tagName == "Video"


# What they share


@settings(max_examples=30)
@given(sources())
def test_no_file_leaves_its_folder(source: GivenSource) -> None:
    for write in (write_coco, write_mot, write_cvat, write_label_studio):
        with TemporaryDirectory() as folder:
            inner = Path(folder) / "inner" / "out"
            inner.mkdir(parents=True)
            write(inner, source)
            outside = [path for path in Path(folder).rglob("*") if path.is_file() and inner not in path.parents]
            assert outside == []


@settings(max_examples=100)
@given(sources(most=1))
def test_thinned_boxes_give_the_others_back(source: GivenSource) -> None:
    for tube in source.given[0].tubes:
        places = key_places(tube.frames, tube.boxes_xyxy)
        keys = [(int(tube.frames[place]), tuple(tube.boxes_xyxy[place])) for place in places]
        assert_close(interpolated(keys), boxes_of(tube), 0.0101)


def test_a_straight_way_is_two_boxes() -> None:
    boxes = np.array([[float(x), 0, x + 10, 10] for x in range(50)])
    assert key_places(np.arange(50), boxes) == [0, 49]


@pytest.mark.parametrize("text", NASTY)
def test_markup_stays_text(text: str, tmp_path: Path) -> None:
    source = GivenSource([ExportedSample(text, text, ExportedVideo(text, 200, 100, 10, 25.0), LAST, FIRST)])
    write_cvat(tmp_path, source)
    (path,) = tmp_path.glob("*.xml")
    assert [attributes for _, _, attributes in cvat_tracks(path)] == [{"sample": text, "query": text}] * 2
    assert minidom.parse(str(path)).getElementsByTagName("img") == []


def test_a_line_is_straight_in_time_and_not_in_the_count_of_boxes() -> None:
    frames = np.array([0, 1, 2, 10, 40])
    boxes = np.array([[float(x), 0, x + 10, 10] for x in frames])
    assert key_places(frames, boxes) == [0, 4]
    even = np.array([[float(x), 0, x + 10, 10] for x in range(5)])
    assert key_places(frames, even) != [0, 4]
