"""Paths in annotation files never leave the root, however they are written."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.inputs.datasets import open_dataset
from stvg_core.inputs.datasets.paths import FileFinder, path_problem
from tests.support.datasets import FORMATS, changed, kinds, usable

OUTSIDE = [
    "../a.mp4",
    "/etc/passwd",
    "x/../../a.mp4",
    "..",
    "C:\\a.mp4",
    "c:a.mp4",
    "..\\a.mp4",
    "a//b.mp4",
    "./a.mp4",
    "a/",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_path_out_of_the_root_is_refused_in_every_format(text: str, tmp_path: Path) -> None:
    simple = FORMATS["folder"]
    entries = simple.entries(simple.write(tmp_path / "s", changed(simple.document(), (0, "video"), text)))
    assert (kinds(entries), usable(entries)) == ({"unsafe-path"}, ["second"])
    clips = FORMATS["hcstvg-v2"]
    entries = clips.entries(clips.write(tmp_path / "h", {text: clips.document()["1_a.mp4"]}))
    assert (kinds(entries), usable(entries)) == ({"unsafe-path"}, [])
    relations = FORMATS["vidstg"]
    entries = relations.entries(relations.write(tmp_path / "v", changed(relations.document(), (0, "vid"), text)))
    assert kinds(entries) == {"unsafe-path"}
    assert len(usable(entries)) == 4


@pytest.mark.parametrize(
    ("text", "kind"),
    [("a\x00.mp4", "control-characters"), ("a" * 300, "out-of-range"), ("a/" * 700 + "b", "out-of-range")],
)
def test_names_that_no_system_takes_are_told(text: str, kind: str, tmp_path: Path) -> None:
    form = FORMATS["folder"]
    entries = form.entries(form.write(tmp_path, changed(form.document(), (0, "video"), text)))
    assert (kinds(entries), usable(entries)) == ({kind}, ["second"])


@given(text=st.text(st.sampled_from("./\\:ab~"), max_size=12))
def test_what_is_let_through_stays_inside(text: str) -> None:
    if path_problem(text, "video") is None:
        root = Path("/root/of/all")
        parts = (root / text).parts
        assert parts[: len(root.parts)] == root.parts
        assert ".." not in parts


@pytest.mark.parametrize("kind", ["file", "folder", "loop"])
def test_a_link_out_of_the_root_is_refused(kind: str, tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    root = form.write(tmp_path / "root")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1_a.mp4").touch()
    (root / "v1_video/1_a.mp4").unlink()
    if kind == "file":
        (root / "v1_video/1_a.mp4").symlink_to(elsewhere / "1_a.mp4")
    elif kind == "loop":
        (root / "v1_video/1_a.mp4").symlink_to("1_a.mp4")
    else:
        (root / "v1_video/2_b.mkv").unlink()
        (root / "v1_video").rmdir()
        (root / "v1_video").symlink_to(elsewhere)
    entries = form.entries(root)
    if kind == "folder":
        assert kinds(entries) == {"unsafe-path"}
        assert usable(entries) == []
        # The cure: name where the videos lie.
        found = list(open_dataset("hcstvg-v1", root, video_root=elsewhere).entries())
        assert [entry.sample.video for entry in found if entry.sample and entry.video and entry.video.there] == [
            "1_a.mp4"
        ]
    elif kind == "file":
        assert (kinds(entries), usable(entries)) == ({"unsafe-path"}, ["2_b"])
    else:
        assert entries[0].sample is None or not entries[0].video.there  # type: ignore[union-attr]


def test_a_link_inside_the_root_and_a_root_that_is_a_link_are_fine(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    root = form.write(tmp_path / "root")
    (root / "v1_video/1_a.mp4").rename(root / "kept.mp4")
    (root / "v1_video/1_a.mp4").symlink_to("../kept.mp4")
    (tmp_path / "link").symlink_to(root)
    assert usable(form.entries(tmp_path / "link")) == ["1_a", "2_b"]


def test_boxes_behind_a_link_out_of_the_root_are_refused(tmp_path: Path) -> None:
    form = FORMATS["vidstg"]
    root = form.write(tmp_path / "root")
    (root / "bbox_annos/100.json").rename(tmp_path / "100.json")
    (root / "bbox_annos/100.json").symlink_to(tmp_path / "100.json")
    entries = form.entries(root)
    assert (kinds(entries), len(usable(entries))) == ({"unsafe-path"}, 2)


def test_groups_of_videos_are_searched(tmp_path: Path) -> None:
    for name in ("video/0001/a.mp4", "video/0000/b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    finder = FileFinder(tmp_path, ("video/*", "video"))
    assert finder.find("a.mp4").path == "video/0001/a.mp4"
    assert finder.find("b.mp4").there
    missing = finder.find("c.mp4")
    assert (missing.path, missing.there) == ("video/c.mp4", False)


def test_an_annotation_file_is_not_read_as_a_video_name(tmp_path: Path) -> None:
    (tmp_path / "samples.json").write_text(json.dumps([{"id": "a", "video": "sub", "query": "x"}]))
    (tmp_path / "sub").mkdir()
    (entry,) = open_dataset("folder", tmp_path).entries()
    assert entry.video is not None
    assert not entry.video.there
