"""`stvg dataset` as its users meet it: layouts, counts, exit codes, files that appear whole."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stvg_core.inputs.datasets import check_dataset, find_description, find_layouts, open_dataset
from stvg_core.inputs.datasets.catalog import DATASETS
from stvg_core.inputs.datasets.problems import KINDS, known_defects
from stvg_core.metrics.files import read_annotations
from tests.support.command_line import Run, write_video
from tests.support.datasets import FORMATS, changed, kinds, usable

LAYOUTS = [(name, number) for name in DATASETS for number in range(len(DATASETS[name].layouts))]


@pytest.mark.parametrize(("name", "number"), LAYOUTS)
def test_every_layout_is_recognised_and_its_videos_found(name: str, number: int, stvg: Run, tmp_path: Path) -> None:
    description = DATASETS[name]
    layout = description.layouts[number]
    form = FORMATS["vidstg" if name.startswith("vidstg") else name]
    file = layout.annotations.format(split=description.default_split)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    if layout.annotations.endswith(".jsonl"):
        (tmp_path / file).write_text("\n".join(map(json.dumps, form.document())))
    else:
        (tmp_path / file).write_text(json.dumps(form.document()))
    videos = tmp_path / layout.videos[0].replace("*", "0007")
    for video in form.videos:
        place = videos / (video if name == "folder" else Path(video).name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    for boxes in layout.boxes[:1]:
        form.write(tmp_path / "spare")
        place = tmp_path / boxes.replace("*", "0003")
        place.mkdir(parents=True)
        for vid in ("100", "200"):
            (tmp_path / "spare/bbox_annos" / f"{vid}.json").rename(place / f"{vid}.json")
    ran = stvg("dataset", "check", name, "--root", tmp_path, "--json")
    report = json.loads(ran.out)
    assert (ran.code, report["healthy"], report["annotation_file"]) == (0, True, file)
    assert report["layout"] == layout.name
    assert report["videos"]["there"] == 2
    listed = json.loads(stvg("dataset", "list", "--root", tmp_path, "--json").out)
    found = next(row["found"] for row in listed["datasets"] if row["name"] == name)
    assert {"layout": layout.name, "split": description.default_split, "annotations": file} in found


def test_a_layout_with_videos_wins_over_one_without(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v2"]
    form.write(tmp_path)
    (tmp_path / "hcstvg_v2").mkdir()
    (tmp_path / "hcstvg_v2/val.json").write_text("{}")
    assert open_dataset("hcstvg-v2", tmp_path).layout.name == "cg-stvg"
    (tmp_path / "video").mkdir()
    assert open_dataset("hcstvg-v2", tmp_path).layout.name == "ours"


def test_a_healthy_data_set_is_told_in_words(stvg: Run, tmp_path: Path) -> None:
    ran = stvg("dataset", "check", "vidstg", "--root", FORMATS["vidstg"].write(tmp_path))
    assert (ran.code, ran.error) == (0, "")
    for part in (
        "vidstg, VidSTG",
        "stcat: sent_annos/",
        "6 read, 6 usable",
        "3 declarative, 3 interrogative",
        "2 there",
    ):
        assert part in ran.out


def test_what_is_broken_or_missing_is_counted_with_examples(stvg: Run, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    document = changed(form.document(), ("1_a.mp4", "bbox", 1, 2), math.nan)
    form.write(tmp_path, document)
    (tmp_path / "v1_video/2_b.mkv").unlink()
    ran = stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json")
    report = json.loads(ran.out)
    assert ran.code == 1
    assert ran.error.startswith("error: ")
    assert ran.error.count("\n") == 1
    assert (report["read"], report["usable"], report["broken"], report["healthy"]) == (2, 0, 2, False)
    by_kind = {row["kind"]: row for row in report["problems"]}
    assert by_kind.keys() == {"not-a-number", "missing-video"}
    assert by_kind["not-a-number"]["samples"] == 1
    example = by_kind["not-a-number"]["examples"][0]
    assert (example["file"], example["key"], example["field"]) == (form.file, "1_a.mp4", "bbox.1.2")
    assert "got nan" in example["message"]
    assert report["videos"] == {"check": "exists", "there": 0, "missing": 1, "unreadable": 0}
    words = stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path)
    assert words.code == 1
    assert "not-a-number" in words.out
    unlooked = json.loads(stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json", "--videos", "none").out)
    assert {row["kind"] for row in unlooked["problems"]} == {"not-a-number"}


def test_only_warnings_leave_a_data_set_healthy(stvg: Run, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    form.write(tmp_path, changed(form.document(), ("1_a.mp4", "bbox", 1), [3, 4, 0, 5]))
    ran = stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path)
    assert ran.code == 0
    assert "empty-box" in ran.out


def test_an_empty_data_set_is_not_healthy(stvg: Run, tmp_path: Path) -> None:
    ran = stvg("dataset", "check", "hcstvg-v1", "--root", FORMATS["hcstvg-v1"].write(tmp_path, {}))
    assert ran.code == 1
    assert "is it the right file?" in ran.error


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_limit_reads_so_many_and_says_that_there_are_more(limit: int, stvg: Run, tmp_path: Path) -> None:
    FORMATS["hcstvg-v1"].write(tmp_path)
    report = json.loads(stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json", "--limit", str(limit)).out)
    assert (report["read"], report["complete"]) == (min(limit, 2), limit > 1)


def test_known_defects_are_left_out_counted_and_may_be_kept(stvg: Run, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    document = form.document()
    document["1_aMYcLyh9OhU.mkv"] = document.pop("2_b.mkv")
    document["10__Gvp-cj3bmIY.mp4"] = {"broken": True}
    form.write(tmp_path, document)
    report = json.loads(stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json").out)
    assert (report["read"], report["usable"], report["broken"], report["left_out"]) == (3, 1, 0, 2)
    assert {row["name"] for row in report["corrections"]} == {"known-defect"}
    assert all("STCAT" in row["source"] for row in report["corrections"])
    ran = stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json", "--no-corrections")
    kept = json.loads(ran.out)
    assert (ran.code, kept["broken"], kept["left_out"], kept["corrections"]) == (1, 2, 0, [])


def test_what_is_known_of_a_broken_clip_is_told(stvg: Run, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    form.write(tmp_path, {"77_1XZZnWMP4CU.mkv": form.document()["1_a.mp4"]})
    report = json.loads(stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json").out)
    assert "about 40 clips" in report["problems"][0]["examples"][0]["known"]


def test_the_list_of_known_defects_names_data_sets_that_are_there() -> None:
    assert {row.dataset for row in known_defects()} <= DATASETS.keys()


def test_corrected_boxes_are_counted(stvg: Run, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    form.write(tmp_path, changed(form.document(), ("1_a.mp4", "bbox", 1), [-2, 20, 80, 100]))
    report = json.loads(stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json").out)
    (row,) = report["corrections"]
    assert (row["name"], row["samples"], row["boxes"]) == ("clip-boxes", 1, 1)
    kept = json.loads(stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json", "--no-corrections").out)
    assert kept["corrections"] == []
    assert [row["kind"] for row in kept["problems"]] == ["box-over-edge"]


def test_videos_are_opened_where_that_is_asked_for(stvg: Run, tmp_path: Path) -> None:
    """Clips of 96 x 96 pixels: as stated, other counts, other size, too short, no video."""
    form = FORMATS["hcstvg-v1"]
    clip = form.document()["1_a.mp4"] | {"width": 96}
    document = {
        "fine.mp4": clip,
        "longer.mp4": clip,
        "shorter.mp4": clip,
        "size.mp4": clip | {"width": 90},
        "text.mp4": clip,
        "missing.mp4": clip,
    }
    form.write(tmp_path, document)
    for name, frames in (("fine", 20), ("longer", 21), ("shorter", 6), ("size", 20)):
        write_video(tmp_path / f"v1_video/{name}.mp4", frames)
    (tmp_path / "v1_video/text.mp4").write_text("no video\n" * 99)
    ran = stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json", "--videos", "open")
    report = json.loads(ran.out)
    told = {row["kind"]: [example["key"] for example in row["examples"]] for row in report["problems"]}
    assert told == {
        "frame-count-differs": ["longer.mp4"],
        "span-beyond-video": ["shorter.mp4"],
        "size-differs": ["size.mp4"],
        "unreadable-video": ["text.mp4"],
        "missing-video": ["missing.mp4"],
    }
    assert report["videos"] == {"check": "open", "there": 4, "missing": 1, "unreadable": 1}
    assert (report["usable"], report["broken"]) == (3, 3)
    assert str(tmp_path) not in json.dumps(report["problems"])
    assert json.loads(stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, "--json").out)["broken"] == 1


def test_thinned_frames_are_compared_in_steps_of_ten(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v2-thinned"]
    clip = form.document()["1_a.mp4"] | {"img_size": [96, 96], "img_num": 3}
    form.write(tmp_path, {"fine.mp4": clip, "short.mp4": clip, "more.mp4": clip})
    for name, frames in (("fine", 21), ("short", 20), ("more", 31)):
        write_video(tmp_path / f"v2_video/{name}.mp4", frames)
    report = check_dataset(open_dataset("hcstvg-v2-thinned", tmp_path), videos="open")
    told = {tally.kind: [example.key for example in tally.examples] for tally in report.problems}
    assert told == {"span-beyond-video": ["short.mp4"], "frame-count-differs": ["more.mp4"]}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_exported_is_what_score_reads(name: str, stvg: Run, tmp_path: Path) -> None:
    form = FORMATS[name]
    form.write(tmp_path)
    out = tmp_path / "new" / "annotations.json"
    ran = stvg("dataset", "convert", name, "--root", tmp_path, "--out", out)
    assert (ran.code, ran.error) == (0, "")
    truths = read_annotations(out)
    samples = [entry.sample for entry in form.entries(tmp_path) if entry.sample and entry.sample.truth]
    assert list(truths) == [sample.sample_id for sample in samples]
    for sample in samples:
        truth = truths[sample.sample_id]
        assert sample.truth is not None
        assert not isinstance(truth, Exception)
        assert truth.frame_count == sample.frame_count
        assert (truth.tube.start_frame, truth.tube.end_frame) == (sample.truth.start_frame, sample.truth.end_frame)
        np.testing.assert_array_equal(truth.tube.boxes_xyxy, sample.truth.boxes_xyxy)
        assert truth.query_type == sample.query_type
    assert [path.name for path in out.parent.iterdir()] == ["annotations.json"]


def test_a_broken_sample_is_no_silent_gap_in_an_export(stvg: Run, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    form.write(tmp_path, changed(form.document(), ("2_b.mkv", "img_num"), 5))
    out = tmp_path / "annotations.json"
    out.write_text("as it was")
    ran = stvg("dataset", "convert", "hcstvg-v1", "--root", tmp_path, "--out", out)
    assert (ran.code, ran.error.count("\n")) == (1, 1)
    assert "2_b.mkv" in ran.error
    assert out.read_text() == "as it was"
    assert not list(tmp_path.glob(".stvg-*"))
    ran = stvg("dataset", "convert", "hcstvg-v1", "--root", tmp_path, "--out", out, "--skip-broken")
    assert ran.code == 0
    assert "1 samples left out" in ran.error
    assert list(read_annotations(out)) == ["1_a"]


def test_nothing_to_export_writes_nothing(stvg: Run, tmp_path: Path) -> None:
    FORMATS["folder"].write(tmp_path, FORMATS["folder"].document()[1:])
    ran = stvg("dataset", "convert", "folder", "--root", tmp_path, "--out", tmp_path / "a.json")
    assert ran.code == 1
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("check", "nope", "--root", "ROOT"), 2, "hcstvg-v1, hcstvg-v2"),
        (("check", "hcstvg-v1", "--root", "ROOT/none"), 1, "--root"),
        (("check", "hcstvg-v2", "--root", "ROOT"), 1, "docs/datasets.md"),
        (("check", "hcstvg-v1", "--root", "ROOT", "--split", "train"), 1, "name one of the splits test"),
        (("check", "hcstvg-v1", "--root", "ROOT", "--split", "../test"), 2, "split"),
        (("check", "hcstvg-v1", "--root", "ROOT", "--annotations", "ROOT/none.json"), 1, "--annotations"),
        (("check", "hcstvg-v1", "--root", "ROOT", "--video-root", "ROOT/none"), 1, "--root"),
        (("check", "hcstvg-v1", "--root", "ROOT", "--limit", "0"), 2, "limit"),
        (("check", "hcstvg-v1", "--root", "ROOT", "--videos", "some"), 2, "videos"),
        (("list", "--root", "ROOT/none"), 1, "--root"),
        (("convert", "hcstvg-v1", "--root", "ROOT", "--out", "ROOT/annos"), 1, "expected a file"),
        (("convert", "hcstvg-v1", "--root", "ROOT", "--out", "ROOT/annos/hcstvg_v1/test.json/x.json"), 1, "--out"),
    ],
)
def test_wrong_usage_is_one_line_with_a_cure(
    arguments: tuple[str, ...], code: int, part: str, stvg: Run, tmp_path: Path
) -> None:
    FORMATS["hcstvg-v1"].write(tmp_path)
    ran = stvg("dataset", *(argument.replace("ROOT", str(tmp_path)) for argument in arguments))
    assert ran.code == code
    assert part in ran.error
    if code == 1:
        assert ran.error.startswith("error: ")
        assert ran.error.count("\n") == 1


def test_a_file_elsewhere_is_read_with_the_videos_of_any_layout(stvg: Run, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    form.write(tmp_path / "root")
    (tmp_path / "root" / form.file).rename(tmp_path / "mine.json")
    ran = stvg(
        "dataset", "check", "hcstvg-v1", "--root", tmp_path / "root", "--annotations", tmp_path / "mine.json", "--json"
    )
    report = json.loads(ran.out)
    assert (ran.code, report["layout"], report["videos"]["there"]) == (0, "named", 2)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"a.mp4": ', "5", '{"a.mp4": 5}'])
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_none_is_an_exit_code_and_a_line(name: str, text: str, stvg: Run, tmp_path: Path) -> None:
    FORMATS[name].write(tmp_path)
    FORMATS[name].write_text(tmp_path, text)
    ran = stvg("dataset", "check", name, "--root", tmp_path, "--json")
    assert (ran.code, ran.error.count("\n")) == (1, 1)
    assert json.loads(ran.out)["usable"] == 0


def test_a_file_cut_off_gives_what_it_holds(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    form.write(tmp_path)
    text = json.dumps(form.document())
    form.write_text(tmp_path, text[: len(text) - 20])
    entries = form.entries(tmp_path)
    assert (usable(entries), kinds(entries)) == (["1_a"], {"syntax"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_one_line(stvg: Run, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    form.write(tmp_path)
    (tmp_path / form.file).chmod(0)
    ran = stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path)
    assert (ran.code, ran.error.count("\n")) == (1, 1)


def test_nothing_foreign_reaches_the_terminal(stvg: Run, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    form.write(
        tmp_path, {"\x1b[31mred\u202e.mp4": {"\x1b]0;title\x07": 1} | form.document()["1_a.mp4"], "b\x07.mp4": 5}
    )
    for arguments in ((), ("--json",)):
        ran = stvg("dataset", "check", "hcstvg-v1", "--root", tmp_path, *arguments)
        assert ran.code == 1
        assert all(character.isprintable() or character == "\n" for character in ran.out + ran.error)


def test_every_problem_has_a_cure_and_examples_are_few(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    clip = form.document()["1_a.mp4"] | {"img_num": "x"}
    form.write(tmp_path, {f"{number}.mp4": clip for number in range(9)})
    report = check_dataset(open_dataset("hcstvg-v1", tmp_path))
    tally = next(row for row in report.problems if row.kind == "wrong-type")
    assert (tally.samples, len(tally.examples)) == (9, 5)
    assert all(kind.cure and kind.meaning for kind in KINDS.values())


def test_neither_torch_nor_a_decoder_is_imported() -> None:
    code = (
        "import sys, stvg_core.inputs.datasets, stvg_core.cli.dataset\n"
        "assert not {'torch', 'av', 'cv2', 'transformers'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Four thousand clips, 40 MB of boxes, in a process that may grow by 20 MiB after the first clip."""
    form = FORMATS["hcstvg-v1"]
    clip = form.document()["1_a.mp4"] | {"bbox": [[10, 20, 30, 40.123456]] * 450, "img_num": 900}
    text = json.dumps(clip)
    form.write_text(tmp_path, "{" + ", ".join(f'"{number}.mp4": {text}' for number in range(4000)) + "}")
    assert (tmp_path / form.file).stat().st_size > 40e6
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from stvg_core.inputs.datasets import open_dataset\n"
        "dataset = open_dataset('hcstvg-v1', Path(sys.argv[1]))\n"
        "next(dataset.entries())\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert sum(entry.sample is not None for entry in dataset.entries()) == 4000\n"
        "grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024\n"
        "assert grown < 20, grown\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_splits_that_are_there_are_found(tmp_path: Path) -> None:
    for split in ("easy", "hard"):
        (tmp_path / "hcstvg_v1").mkdir(exist_ok=True)
        (tmp_path / f"hcstvg_v1/{split}.json").write_text("{}")
    found = find_layouts(find_description("hcstvg-v1"), tmp_path)
    assert [(layout.name, split) for layout, split in found] == [("ours", "easy"), ("ours", "hard")]
