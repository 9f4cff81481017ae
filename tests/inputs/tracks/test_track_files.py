"""Files of tracks: the framework's own, the released code's, and everything that can be wrong with them."""

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_core._internal.masks import RunLengthMask
from stvg_core.errors import NoTracksError, OutputError, PluginError, TrackError, UsageError
from stvg_core.inputs.tracks.catalog import open_tracker
from stvg_core.inputs.tracks.description import describe_tracks
from stvg_core.inputs.tracks.from_file import FileTracker, read_tracks
from stvg_core.inputs.tracks.released_file import write_released
from stvg_core.inputs.tracks.store import FOLDER_VARIABLE, TrackStore, default_folder
from stvg_core.inputs.tracks.track_file import schema_text, track_document, write_document
from stvg_core.plugin.tracker import TrackRequest, parse_settings
from stvg_core.values import FrameMaps, Frames, SubQueries, Track, VideoInfo

SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "schema" / "tracks-1.schema.json"
WIDTH, HEIGHT, COUNT = 40, 24, 51


def info(path: str = "clip.mp4", width: int = WIDTH, height: int = HEIGHT, count: int = COUNT) -> VideoInfo:
    return VideoInfo(path, width, height, 25.0, count / 25, np.arange(count) / 25)


def request(about: VideoInfo | None = None) -> TrackRequest:
    about = about or info()
    frames = Frames(about, np.array([0, 10]), np.zeros((2, about.height, about.width, 3), dtype=np.uint8))
    flat = FrameMaps(np.zeros((2, 1, 1)))
    return TrackRequest(frames, SubQueries("a", "a", "a", "test"), flat, flat)


def masked(box: tuple[int, int, int, int]) -> RunLengthMask:
    pixels = np.zeros((HEIGHT, WIDTH), dtype=bool)
    pixels[box[1] : box[3], box[0] : box[2]] = True
    pixels[box[1], box[0]] = False
    return RunLengthMask.of(pixels)


def some_tracks() -> tuple[Track, ...]:
    corners = [(2, 3, 12, 9), (4, 3, 14, 9), (20, 10, 32, 20)]
    with_masks = Track(
        np.array([0, 10, 40]),
        np.array(corners, dtype=np.float64),
        "person",
        tuple(masked(box) for box in corners),
        ((11, 39),),
    )
    return with_masks, Track(np.array([10, 50]), np.array([[0.5, 1.25, 9, 9], [1, 1, 10, 9]]), "")


def assert_same(one: Track, other: Track) -> None:
    assert one.frames.tolist() == other.frames.tolist()
    assert one.boxes_xyxy.tolist() == other.boxes_xyxy.tolist()
    assert (one.label, one.absent) == (other.label, other.absent)
    assert (one.masks is None) == (other.masks is None)
    for mask, twin in zip(one.masks or (), other.masks or (), strict=True):
        assert (mask is None) == (twin is None)
        if mask is not None and twin is not None:
            assert np.array_equal(mask.pixels(), twin.pixels())


# The framework's own file.


@pytest.mark.parametrize("name", ["tracks.json", "tracks.json.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    document = track_document(info(), some_tracks(), "mine", {"a": [1]}, oracle_categories=True)
    write_document(tmp_path / "new" / name, document)
    stored = read_tracks(tmp_path / "new" / name)
    for one, other in zip(stored.tracks, some_tracks(), strict=True):
        assert_same(one, other)
    assert (stored.tracker, stored.settings, stored.oracle_categories) == ("mine", {"a": [1]}, True)
    assert (stored.width, stored.height, stored.frame_count) == (WIDTH, HEIGHT, COUNT)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def test_equal_tracks_make_equal_files(tmp_path: Path) -> None:
    for name in ("one.json.gz", "two.json.gz"):
        write_document(tmp_path / name, track_document(info(), some_tracks()))
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "two.json.gz").read_bytes()


def test_the_schema_in_the_documents_is_the_one_of_the_source_and_fits(tmp_path: Path) -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    write_document(tmp_path / "a.json", track_document(info(), some_tracks(), "mine", {"b": None}))
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    validator.validate(content)
    content["tracks"][0]["boxes_xyxy"][0] = [1, 2, 3]
    assert not validator.is_valid(content)


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="choose another file"):
        write_document(tmp_path / "file" / "a.json", track_document(info(), ()))
    assert (tmp_path / "file").read_text() == "x"


def own(tmp_path: Path, **changes: Any) -> Path:
    """Write a file of one track, changed at dotted places ("tracks.0.frames")."""
    write_document(tmp_path / "a.json", track_document(info(), some_tracks()[:1]))
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    for place, value in changes.items():
        *steps, last = [int(step) if step.isdigit() else step for step in place.split(".")]
        here = content
        for step in steps:
            here = here[step]
        here[last] = value
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "a.json"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("tracks.0.boxes_xyxy.0", [float("nan"), 0, 5, 5], "finite"),
        ("tracks.0.boxes_xyxy.0", [0, 0, float("inf"), 5], "finite"),
        ("tracks.0.boxes_xyxy.0", [40, 0, 60, 5], r"within 40x24 pixels, got \[40.0, 0.0, 60.0, 5.0\] at frame 0"),
        ("tracks.0.boxes_xyxy.1", [-9, 0, 0, 5], "at frame 10"),
        ("tracks.0.boxes_xyxy.1", [9, 9, 9, 12], "x0 < x1"),
        ("tracks.0.frames", [0, 40, 10], "strictly increasing|stretches"),
        ("tracks.0.frames", [-1, 10, 40], "from 0 on"),
        ("tracks.0.frames", [0, 10], "boxes"),
        ("tracks.0.frames", [0, 10, 2**70], "frames|too large|int"),
        ("tracks.0.absent", [[5, 12]], "stretches without boxes"),
        ("tracks.0.masks.0.counts", [5, 5], r"fill 40x24 pixels, got 10"),
        ("tracks.0.masks.0.size", [WIDTH, HEIGHT], "40x24"),
        ("tracks.0.masks", [None], "each of 3 boxes"),
        ("tracks.0.color", "red", "color"),
        ("schema_version", 2, "schema_version"),
        ("video.width", 0, "video.width"),
        ("tracks", {}, "tracks"),
    ],
)
def test_malformed_entries_are_told_in_one_line(tmp_path: Path, place: str, value: Any, message: str) -> None:
    with pytest.raises(TrackError, match=message) as failure:
        read_tracks(own(tmp_path, **{place: value}))
    assert "\n" not in str(failure.value)
    assert "a.json" in str(failure.value)


def test_masks_may_be_smaller_than_the_video_but_of_its_proportions(tmp_path: Path) -> None:
    half = RunLengthMask(12, 20, np.array([12 * 20]))
    track = Track(np.array([0]), np.array([[0.0, 0, 5, 5]]), "", (half,))
    write_document(tmp_path / "a.json", track_document(info(), (track,)))
    assert_same(read_tracks(tmp_path / "a.json").tracks[0], track)
    with pytest.raises(TrackError, match="proportions"):
        read_tracks(own(tmp_path, **{"tracks.0.masks.0": {"size": [12, 12], "counts": [144]}}))


def test_a_box_that_juts_out_is_cut(tmp_path: Path) -> None:
    (track,) = read_tracks(own(tmp_path, **{"tracks.0.boxes_xyxy.0": [-5, 3, 12, 99]})).tracks
    assert track.boxes_xyxy[0].tolist() == [0, 3, 12, HEIGHT]


@pytest.mark.parametrize("length", [0, 1, 20, 200])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated_files_are_told(tmp_path: Path, length: int, packed: bool) -> None:
    content = own(tmp_path).read_bytes()
    path = tmp_path / "cut.json.gz"
    path.write_bytes(gzip.compress(content)[:-length] if packed and length else content[:length])
    with pytest.raises(TrackError, match=r"cut\.json\.gz") as failure:
        read_tracks(path)
    assert "\n" not in str(failure.value)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damage_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damage")
    content = bytearray(own(folder).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.json").write_bytes(bytes(content))
    with contextlib.suppress(TrackError):
        read_tracks(folder / "a.json")


@pytest.mark.parametrize("content", ["[]", "{}", "1", '{"format": "other"}', "[" * 5000])
def test_other_json_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(TrackError, match=r"a\.json"):
        read_tracks(tmp_path / "a.json")


# The tracker file:PATH.


def test_the_tracker_gives_what_the_file_holds(tmp_path: Path) -> None:
    write_document(tmp_path / "a.json", track_document(info(), some_tracks(), "sam3", {"x": 1}, oracle_categories=True))
    tracker = open_tracker(f"file:{tmp_path / 'a.json'}")
    for one, other in zip(tracker.propose(request()), some_tracks(), strict=True):
        assert_same(one, other)
    about = describe_tracks(tracker)
    assert (about["tracker"], about["settings"], about["oracle_categories"]) == ("sam3", {"x": 1}, True)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (info(width=41), "41x24 pixels for clip.mp4, got 40x24"),
        (info(count=50), "50 frames"),
        (info(count=52), "52 frames"),
    ],
)
def test_a_file_of_another_video_is_told(tmp_path: Path, other: VideoInfo, message: str) -> None:
    write_document(tmp_path / "a.json", track_document(info(), some_tracks()))
    with pytest.raises(TrackError, match=message):
        FileTracker(tmp_path / "a.json").propose(request(other))


def test_a_file_without_tracks_is_nothing_found(tmp_path: Path) -> None:
    write_document(tmp_path / "a.json", track_document(info(), ()))
    with pytest.raises(NoTracksError, match="holds no track"):
        FileTracker(tmp_path / "a.json").propose(request())


def test_a_folder_holds_a_file_per_video(tmp_path: Path) -> None:
    write_document(tmp_path / "clip.json.gz", track_document(info(), some_tracks()[:1]))
    write_document(tmp_path / "other.json", track_document(info(), some_tracks()))
    assert len(FileTracker(tmp_path).propose(request(info("videos/clip.v2.mp4")))) == 1
    assert len(FileTracker(tmp_path).propose(request(info("other.mkv")))) == 2
    with pytest.raises(TrackError, match=r"neither third\.json nor a folder third"):
        FileTracker(tmp_path).propose(request(info("third.mp4")))
    with pytest.raises(TrackError, match="is not there"):
        open_tracker(f"file:{tmp_path / 'nowhere'}")


def test_settings_behind_a_name(tmp_path: Path) -> None:
    assert parse_settings("a=1,b=x=y") == {"a": "1", "b": "x=y"}
    for text in ("a", "=1", "a=1,a=2"):
        with pytest.raises(UsageError, match="setting=value"):
            parse_settings(text)
    with pytest.raises(UsageError, match="regions takes no settings"):
        open_tracker("regions:size=3")


# The released code's file.


def released(tmp_path: Path, name: str = "clip.json", **changes: Any) -> Path:
    pytest.importorskip("pycocotools")
    write_released(tmp_path / name, info(), some_tracks(), range(0, COUNT, 10))
    content = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    content |= {key: value for key, value in changes.items() if key in content}
    first = content["dino_sam2_proposals"][0] if content["dino_sam2_proposals"] else {}
    for key, change in changes.items():
        if key in first:
            first[key] = change(first[key])
    (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / name


def as_the_authors_read_it(path: Path, width: int, height: int) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Do what pack_tracks (stvg/datasets/hcstvg.py) and data_utils.py do, in their own order."""
    coco = pytest.importorskip("pycocotools.mask")
    content = json.loads(path.read_text(encoding="utf-8"))
    numbers = [int(name.split(".")[0]) for name in content["sample_frames"]]
    assert numbers == list(range(0, COUNT, 10))
    packed = []
    for track in content["dino_sam2_proposals"]:
        _, boxes, runs, label, form, frame_width, frame_height = track.items()
        assert (form[1], frame_width[1], frame_height[1]) == ("xyxy", width, height)
        masks = np.stack([coco.decode(one) for one in runs[1]])
        packed.append((np.stack(boxes[1]).squeeze(axis=1), masks, label[1]))
    return packed


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_authors_code_reads_what_is_written(tmp_path: Path) -> None:
    packed = as_the_authors_read_it(released(tmp_path), WIDTH, HEIGHT)
    boxes, masks, label = packed[0]
    assert label == "person"
    assert boxes.shape == (6, 4)
    assert boxes.tolist()[0] == [2, 3, 12, 9]
    # Absent at 20 and 30 and after its end.
    assert boxes[[2, 3, 5]].tolist() == [[0.0] * 4] * 3
    assert masks.shape == (6, HEIGHT, WIDTH)
    assert np.array_equal(masks[1].astype(bool), masked((4, 3, 14, 9)).pixels())
    assert not masks[[2, 3, 5]].any()
    # A track without masks is written as filled boxes, interpolated between its own.
    boxes, masks, label = packed[1]
    assert label == "object"
    assert boxes[0].tolist() == [0.0] * 4
    assert boxes[3].tolist() == pytest.approx([0.75, 1.125, 9.5, 9.0])
    assert masks[5, 1:9, 1:10].all()
    assert masks[5].sum() == 72


def test_a_released_file_is_read_by_the_order_of_its_entries(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    path = released(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    for track in content["dino_sam2_proposals"]:
        for number, key in enumerate(list(track)):
            track[f"name{number}"] = track.pop(key)
    path.write_text(json.dumps(content), encoding="utf-8")
    first, second = FileTracker(path).propose(request())
    assert_same(first, some_tracks()[0])
    assert second.frames.tolist() == [10, 20, 30, 40, 50]
    assert second.absent == ()


def test_one_track_a_box_without_its_inner_list_and_an_absent_track_are_read(tmp_path: Path) -> None:
    """One track breaks the released code's own reader (squeeze), not this one."""
    pytest.importorskip("pycocotools")
    path = released(tmp_path, bboxes=lambda boxes: [box[0] for box in boxes])
    content = json.loads(path.read_text(encoding="utf-8"))
    content["dino_sam2_proposals"][1]["bboxes"] = [[[0, 0, 0, 0]]] * 6
    path.write_text(json.dumps(content), encoding="utf-8")
    (track,) = FileTracker(path).propose(request())
    assert_same(track, some_tracks()[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_frames": []}, "sampled frames"),
        ({"sample_frames": ["a.jpg"] * 6}, r"00010\.jpg"),
        ({"sample_frames": ["00010.jpg", "00000.jpg", "2", "3", "4", "5"]}, "in order"),
        ({"dino_sam2_proposals": {}}, "list of tracks"),
        ({"bboxes": lambda boxes: boxes[:-1]}, "each of 6 sampled frames"),
        ({"bboxes": lambda boxes: [[["x", 0, 1, 1]], *boxes[1:]]}, r"\[\[x0, y0, x1, y1\]\]"),
        ({"bboxes": lambda boxes: [[[50, 0, 60, 5]], *boxes[1:]]}, "within 40x24"),
        ({"bboxes": lambda boxes: [[[float("nan"), 0, 1, 1]], *boxes[1:]]}, "finite"),
        ({"rles": lambda runs: [runs[0] | {"size": [WIDTH, HEIGHT]}, *runs[1:]]}, r"\[24, 40\]"),
        ({"rles": lambda runs: [runs[0] | {"counts": [1, 2]}, *runs[1:]]}, "compressed text"),
        ({"rles": lambda runs: [runs[0] | {"counts": "00"}, *runs[1:]]}, "fill"),
        ({"rles": lambda runs: [runs[0] | {"counts": "oooooooo"}, *runs[1:]]}, "fill"),
        ({"box_format": lambda _: "xywh"}, "xyxy"),
        ({"img_width": lambda _: 0}, "pixels"),
        ({"img_height": lambda _: 25}, r"\[25, 40\]"),
    ],
)
def test_malformed_released_files_are_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    pytest.importorskip("pycocotools")
    path = released(tmp_path, **changes)
    with pytest.raises(TrackError, match=message) as failure:
        read_tracks(path)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("other", "message"),
    [(info(width=80), "80x24"), (info(count=41), "frame 50"), (info(count=71), "in steps of 10")],
)
def test_a_released_file_of_another_video_is_told(tmp_path: Path, other: VideoInfo, message: str) -> None:
    pytest.importorskip("pycocotools")
    with pytest.raises(TrackError, match=message):
        FileTracker(released(tmp_path)).propose(request(other))
    # Decoders differ by some frames at the end; what the last sampled frame shows is held till then.
    first, second = FileTracker(released(tmp_path)).propose(request(info(count=COUNT + 3)))
    assert first.frames.tolist() == [0, 10, 40]
    assert second.frames.tolist() == [10, 20, 30, 40, 50, 53]
    assert second.boxes_xyxy[-1].tolist() == second.boxes_xyxy[-2].tolist()
    assert second.masks is not None
    assert second.masks[-1] is second.masks[-2]


def test_files_by_ground_truth_category_are_marked(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    (tmp_path / "clip").mkdir()
    released(tmp_path / "clip", "dog.json")
    released(tmp_path / "clip", "cat.json")
    for folder in (tmp_path, tmp_path / "clip"):
        tracker = FileTracker(folder)
        assert len(tracker.propose(request())) == 4
        assert describe_tracks(tracker)["oracle_categories"] is True


def test_a_missing_pycocotools_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    pytest.importorskip("pycocotools")
    path = released(tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(PluginError, match=r"stvg-core\[proposals\]"):
        read_tracks(path)


# The store.


def test_tracks_are_made_once_per_video_and_settings(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"pictures")
    store, made = TrackStore(tmp_path / "cache"), []

    def make() -> tuple[Track, ...]:
        made.append(1)
        return some_tracks()

    def ask(settings: dict[str, Any] | None = None, tracker: str = "mine") -> bool:
        tracks, stored = store.remember(info(str(video)), tracker, settings or {}, make)
        for one, other in zip(tracks, some_tracks(), strict=True):
            assert_same(one, other)
        return stored

    assert [ask(), ask(), ask({"a": 1}), ask({"a": 1}), ask(tracker="other"), ask()] == [
        False,
        True,
        False,
        True,
        False,
        True,
    ]
    video.write_bytes(b"Pictures")
    assert [ask(), ask()] == [False, True]
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    assert [ask(), ask()] == [False, True]
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]


def test_no_track_is_remembered_too_and_a_failure_is_not(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"pictures")
    store = TrackStore(tmp_path / "cache")

    def fail() -> tuple[Track, ...]:
        raise TrackError("no")

    with pytest.raises(TrackError, match="no"):
        store.remember(info(str(video)), "mine", {}, fail)
    assert store.remember(info(str(video)), "mine", {}, tuple) == ((), False)
    assert store.remember(info(str(video)), "mine", {}, fail) == ((), True)


def test_without_folder_or_file_nothing_is_kept(tmp_path: Path) -> None:
    assert TrackStore.named("off").folder is None
    assert TrackStore(tmp_path / "cache").remember(info("scene"), "mine", {}, some_tracks)[1] is False
    assert not (tmp_path / "cache").exists()


def test_the_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("sys.platform", "linux")
    assert TrackStore.named(None).folder == tmp_path / "xdg" / "stvg" / "tracks"
