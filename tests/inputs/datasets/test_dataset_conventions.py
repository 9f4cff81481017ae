"""What each format counts from is made explicit at the door: by hand, and against plain readers."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.inputs.datasets import Entry, GroundingSample, open_dataset
from tests.support.datasets import FORMATS, kinds, vidor


def sample(entry: Entry) -> GroundingSample:
    assert entry.problems == ()
    assert entry.sample is not None
    return entry.sample


def truth(entry: Entry) -> tuple[int, int, list[list[float]]]:
    found = sample(entry).truth
    assert found is not None
    return found.start_frame, found.end_frame, found.boxes_xyxy.tolist()


@pytest.mark.parametrize("name", ["hcstvg-v1", "hcstvg-v2"])
def test_hcstvg_counts_from_one_and_writes_width_and_height(name: str, tmp_path: Path) -> None:
    first, last = FORMATS[name].entries(FORMATS[name].write(tmp_path))
    # st_frame 5 is the fifth frame; three boxes; x, y, width, height.
    assert truth(first) == (4, 6, [[10, 20, 40, 60], [11.5, 21, 41.5, 61], [12, 22, 42, 62]])
    # st_frame 18 of 20 frames, three boxes: frames 17, 18, 19 from 0, and 19 is the last there is.
    assert truth(last)[:2] == (17, 19)
    found = sample(first)
    assert (found.sample_id, found.dataset, found.frame_count, found.frame_step) == ("1_a", name, 20, 1)
    # img_size of version 2 is (height, width).
    assert (found.width, found.height) == (64, 96)
    assert (found.query, found.query_type, found.fps, found.segment) == ("The man turns.", None, None, None)
    assert (found.provenance.file, found.provenance.key) == (FORMATS[name].file, "1_a.mp4")
    assert found.video == FORMATS[name].videos[0]


def test_the_thinned_file_counts_from_zero_in_steps_of_ten(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v2-thinned"]
    first, last = form.entries(form.write(tmp_path))
    assert (truth(first)[:2], truth(last)[:2]) == ((0, 2), (17, 19))
    assert sample(first).frame_step == 10


def test_vidstg_ends_before_its_end(tmp_path: Path) -> None:
    entries = FORMATS["vidstg"].entries(FORMATS["vidstg"].write(tmp_path))
    # By video, in the order of the file: the third record is about the first one's video.
    assert [entry.key for entry in entries] == [
        "[0].captions[0]",
        "[0].questions[0]",
        "[2].captions[0]",
        "[2].questions[0]",
        "[1].captions[0]",
        "[1].questions[0]",
    ]
    assert [truth(entry)[:2] for entry in entries[::2]] == [(3, 5), (4, 4), (9, 11)]
    assert truth(entries[1])[2] == [[1 + frame, 2, 20 + frame, 30.5] for frame in (3, 4, 5)]
    found = sample(entries[1])
    assert (found.sample_id, found.query, found.query_type) == (
        "100_00000_interrogative_0",
        "what is held?",
        "interrogative",
    )
    assert (found.fps, found.frame_count, found.width, found.height, found.segment) == (25.0, 12, 64, 96, (1, 11))
    assert sample(entries[0]).query_type == "declarative"


def test_as_stcat_reads_vidstg_the_end_belongs_to_the_span(tmp_path: Path) -> None:
    boxes = vidor()
    boxes["trajectories"][6] = []
    FORMATS["vidstg"].write(tmp_path, boxes=boxes)
    entries = list(open_dataset("vidstg-stcat", tmp_path).entries())
    # 3..6 with the missing last box copied; 4..5; 9..12 cut at the last frame.
    assert [truth(entry)[:2] for entry in entries[::2]] == [(3, 6), (4, 5), (9, 11)]
    rows = truth(entries[0])[2]
    assert rows[3] == rows[2]
    assert rows[2] != rows[1]
    plain = list(open_dataset("vidstg", tmp_path).entries())
    assert truth(plain[0])[:2] == (3, 5)


def test_the_own_format_is_what_it_says(tmp_path: Path) -> None:
    first, second = FORMATS["folder"].entries(FORMATS["folder"].write(tmp_path))
    assert truth(first) == (3, 4, [[1, 2, 30, 40], [2, 2, 31, 40]])
    assert sample(first).video == "clips/a.mp4"
    assert sample(second).truth is None
    assert (sample(second).query_type, sample(second).frame_count) == (None, None)


def test_lines_are_read_like_a_list(tmp_path: Path) -> None:
    form = FORMATS["folder"]
    form.write(tmp_path)
    whole = [sample(entry).sample_id for entry in form.entries(tmp_path)]
    (tmp_path / "samples.json").unlink()
    lines = [json.dumps(row) for row in form.document()]
    (tmp_path / "samples.jsonl").write_text(lines[0] + "\n\n" + lines[1])
    entries = form.entries(tmp_path)
    assert [sample(entry).sample_id for entry in entries] == whole
    assert [entry.key for entry in entries] == ["line 1", "line 3"]


def test_queries_without_boxes_are_samples_without_a_tube(tmp_path: Path) -> None:
    (tmp_path / "anno_v2").mkdir()
    (tmp_path / "anno_v2/query_v2.json").write_text(json.dumps({"7_x.mkv": "The woman  sits.\n"}))
    (entry,) = open_dataset("hcstvg-v2", tmp_path, split="query").entries()
    assert (sample(entry).query, sample(entry).truth) == ("The woman sits.", None)
    assert sample(entry).video == "video_parts/7_x.mkv"


@given(seed=st.integers(0, 2**32 - 1))
def test_hcstvg_agrees_with_a_plain_reader(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    chance = random.Random(seed)
    root = tmp_path_factory.mktemp("drawn")
    document, expected = {}, {}
    for number in range(chance.randrange(1, 6)):
        frames = chance.randrange(1, 50)
        start = chance.randrange(0, frames)
        count = chance.randrange(1, frames - start + 1)
        boxes = {start + place: [chance.uniform(0, 40), chance.uniform(0, 40), 50.0, 60.0] for place in range(count)}
        expected[f"{number}_v"] = boxes
        document[f"{number}_v.mp4"] = {
            "bbox": [[x, y, x1 - x, y1 - y] for x, y, x1, y1 in boxes.values()],
            "st_time": 0,
            "ed_time": 1.5,
            "st_frame": start + 1,
            "img_num": frames,
            "caption": "x",
            "width": 64,
            "height": 64,
        }
    FORMATS["hcstvg-v1"].write(root, document)
    found = {}
    for entry in FORMATS["hcstvg-v1"].entries(root):
        tube = sample(entry).truth
        assert tube is not None
        found[sample(entry).sample_id] = tube.boxes_by_frame()
    assert found.keys() == expected.keys()
    for name, boxes in expected.items():
        assert found[name].keys() == boxes.keys()
        np.testing.assert_allclose(list(found[name].values()), list(boxes.values()), rtol=0, atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1))
def test_vidstg_agrees_with_a_plain_reader(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    chance = random.Random(seed)
    root = tmp_path_factory.mktemp("drawn")
    frames = chance.randrange(3, 30)
    lives = {tid: sorted(chance.sample(range(frames + 1), 2)) for tid in range(3)}
    trajectories: list[list[dict[str, Any]]] = [[] for _ in range(frames)]
    for tid, (born, gone) in lives.items():
        for frame in range(born, gone):
            corner = chance.randrange(0, 30)
            box = {"xmin": corner, "ymin": tid, "xmax": corner + 9, "ymax": 40}
            trajectories[frame].append({"tid": tid, "bbox": box})
    records = []
    for number in range(4):
        begin, end = sorted(chance.sample(range(frames + 1), 2))
        record = FORMATS["vidstg"].document()[0]
        record |= {
            "frame_count": frames,
            "used_segment": {"begin_fid": 0, "end_fid": frames - 1},
            "temporal_gt": {"begin_fid": begin, "end_fid": end},
            "subject/objects": [{"tid": tid, "category": "adult"} for tid in lives],
            "captions": [{"description": f"query {number}", "type": "person", "target_id": chance.randrange(3)}],
            "questions": [],
        }
        records.append(record)
    FORMATS["vidstg"].write(root, records, boxes={"trajectories": trajectories})
    entries = FORMATS["vidstg"].entries(root)
    assert len(entries) == 4
    for record, entry in zip(records, entries, strict=True):
        target = record["captions"][0]["target_id"]
        wanted = {}
        for frame in range(record["temporal_gt"]["begin_fid"], record["temporal_gt"]["end_fid"]):
            for item in trajectories[frame]:
                if item["tid"] == target:
                    wanted[frame] = (item["bbox"]["xmin"], target, item["bbox"]["xmax"], 40)
        if len(wanted) < record["temporal_gt"]["end_fid"] - record["temporal_gt"]["begin_fid"]:
            assert entry.sample is None
            assert kinds([entry]) == {"missing-boxes"}
        else:
            assert entry.sample is not None
            assert entry.sample.truth is not None
            assert entry.sample.truth.boxes_by_frame() == wanted
