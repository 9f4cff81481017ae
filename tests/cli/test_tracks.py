"""`stvg tracks`, the pictures it draws, and the method's way out where a tracker finds nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from stvg_core._internal.masks import RunLengthMask
from stvg_core.api.grounder import ground
from stvg_core.cli import app
from stvg_core.errors import NoTracksError, TrackError, UsageError
from stvg_core.host.session import open_session
from stvg_core.inputs.tracks.description import ORACLE_WARNING, describe_tracks
from stvg_core.inputs.tracks.from_file import read_tracks
from stvg_core.inputs.tracks.proposing import propose_tracks
from stvg_core.inputs.tracks.regions import RegionTracker
from stvg_core.inputs.tracks.track_file import track_document, write_document
from stvg_core.inputs.video import probe_video
from stvg_core.outputs.report.encoding import TimedFrame, encode_video
from stvg_core.outputs.report.track_drawing import COLORS, draw_track_sheet, draw_tracks, write_track_video
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import FrameMaps, Frames, SubQueries, Track, VideoInfo

WIDTH, HEIGHT, COUNT = 96, 64, 31
RED = (210, 30, 30)


def box_at(frame: int) -> tuple[int, int, int, int]:
    return (5 + 2 * frame, 20, 25 + 2 * frame, 40)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "red.mp4"
    pictures = np.full((COUNT, HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    for frame, picture in enumerate(pictures):
        x0, y0, x1, y1 = box_at(frame)
        picture[y0:y1, x0:x1] = RED
    timed = (TimedFrame(picture, t / 10, (t + 1) / 10) for t, picture in enumerate(pictures))
    encode_video(path, timed, width=WIDTH, height=HEIGHT, fps=10.0)
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["tracks", *map(str, arguments)])


def test_tracks_are_made_written_drawn_and_read_again(video: Path, tmp_path: Path) -> None:
    out, show = tmp_path / "a.json.gz", tmp_path / "a.png"
    result = run(video, "--tracker", "regions", "--out", out, "--show", show)
    assert result.exit_code == 0, result.output
    assert f"wrote {out}" in result.output
    stored = read_tracks(out)
    best = stored.tracks[0]
    for frame, found in zip(best.frames.tolist(), best.boxes_xyxy, strict=True):
        assert np.abs(found - box_at(frame)).max() < 3
    assert (stored.width, stored.height, stored.frame_count, stored.tracker) == (WIDTH, HEIGHT, COUNT, "regions")
    with Image.open(show) as picture:
        assert picture.width > 4 * 300
    again = run(video, "--tracker", f"file:{out}", "--json")
    document = json.loads(again.stdout)
    assert document["tracks"][0]["boxes_xyxy"] == best.boxes_xyxy.tolist()
    assert document["settings"]["tracker"] == "regions"


def test_tracks_are_written_as_the_released_code_reads_them_and_shown_as_a_video(video: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    out, show = tmp_path / "a.json", tmp_path / "a.mp4"
    result = run(video, "--out", out, "--format", "released", "--show", show)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["sample_frames"] == ["00000.jpg", "00010.jpg", "00020.jpg", "00030.jpg"]
    for frame, box in zip((0, 10, 20, 30), content["dino_sam2_proposals"][0]["bboxes"], strict=True):
        assert np.abs(np.array(box[0]) - box_at(frame)).max() < 3
    assert probe_video(show).frame_count == COUNT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--show", "a.gif"), "png or .mp4"),
        (("--out", "a.txt"), "json"),
        (("--tracker", "attention"), "stvg ground"),
        (("--tracker", "region"), "did you mean regions"),
        (("--classes", ","), "person,dog"),
        (("--classes", "dog"), "takes no settings"),
    ],
)
def test_wrong_usage_is_told(video: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(video, *arguments)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_nothing_found_is_said_and_written(tmp_path: Path) -> None:
    flat = tmp_path / "flat.mp4"
    picture = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    encode_video(flat, (TimedFrame(picture, t / 10, (t + 1) / 10) for t in range(9)), width=96, height=64, fps=10.0)
    result = run(flat, "--out", tmp_path / "none.json", "--show", tmp_path / "none.png")
    assert result.exit_code == 0, result.output
    assert "no tracks: " in result.output
    assert read_tracks(tmp_path / "none.json").tracks == ()


# Pictures.


def frames(count: int = 3) -> Frames:
    info = VideoInfo("clip.mp4", WIDTH, HEIGHT, 10.0, count / 10, np.arange(count) / 10)
    return Frames(info, np.arange(count), np.full((count, HEIGHT, WIDTH, 3), 90, dtype=np.uint8))


def shaped() -> Track:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[30:50, 40:80] = True
    return Track(np.array([1, 2]), np.array([[40.0, 30, 80, 50]] * 2), "dog", (RunLengthMask.of(mask),) * 2)


def test_masks_and_boxes_are_drawn_where_they_are_and_when() -> None:
    shown = frames()
    before = draw_tracks(shown.pixels[0], [shaped()], 0, shown.info)
    assert np.array_equal(before, shown.pixels[0])
    large = np.full((2 * HEIGHT, 2 * WIDTH, 3), 90, dtype=np.uint8)
    after = draw_tracks(large, [shaped()], 1, shown.info)
    inside, outside = after[76:90, 100:150], after[110:, :]
    expected = np.rint(0.55 * 90 + 0.45 * np.array(COLORS[0]))
    assert (np.abs(inside.astype(int) - expected) <= 1).all()
    assert (outside == 90).all()
    assert (after[80, 79:82] == COLORS[0]).all(axis=-1).any()
    assert np.array_equal(large, np.full_like(large, 90))


def test_a_sheet_and_a_video_show_every_track(tmp_path: Path) -> None:
    many = [Track(np.array([0, 2]), np.array([[5.0 * n, 5, 5 * n + 4, 50]] * 2), "x") for n in range(12)]
    sheet = draw_track_sheet(frames(), many)
    for color in COLORS:
        assert (sheet == color).all(axis=-1).any()
    written = write_track_video(tmp_path / "a.mp4", enumerate(frames().pixels), frames().info, many)
    assert written == 3


# Nothing found.


class Scripted(Tracker):
    """A tracker that does what it is told."""

    name = "scripted"

    def __init__(self, does: Any, about: Any = None) -> None:
        self._does = does
        if about is not None:
            self.describe = lambda: about

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        if isinstance(self._does, Exception):
            raise self._does
        tracks: tuple[Track, ...] = self._does
        return tracks


def asked() -> TrackRequest:
    values = np.ones((3, 4, 6)) * 0.01
    values[:, 1:3, 1:3] = 1.0
    return TrackRequest(frames(), SubQueries("a", "a", "a", "test"), FrameMaps(values), FrameMaps(values))


@pytest.mark.parametrize("does", [(), NoTracksError("no dog in clip.mp4")])
def test_the_method_falls_back_to_attention_and_says_so(does: Any) -> None:
    tracks, warnings = propose_tracks(Scripted(does), asked())
    assert tracks
    assert {track.label for track in tracks} <= {"attribute", "action", "both"}
    (warning,) = warnings
    assert warning.startswith("tracker scripted found no track, so the tracks are those of attention")
    assert ("no dog" in warning) == bool(does)


def test_a_tracker_that_cannot_work_is_no_fall_back() -> None:
    with pytest.raises(TrackError, match="damaged"):
        propose_tracks(Scripted(TrackError("damaged")), asked())


def test_regions_finding_nothing_falls_back() -> None:
    _, warnings = propose_tracks(RegionTracker(), asked())
    assert "tracker regions found no track" in warnings[0]


def test_tracks_of_ground_truth_categories_are_marked() -> None:
    tracks, warnings = propose_tracks(Scripted((shaped(),), {"oracle_categories": True}), asked())
    assert len(tracks) == 1
    assert warnings == (ORACLE_WARNING,)
    assert propose_tracks(Scripted((shaped(),), {"oracle_categories": False}), asked())[1] == ()
    assert describe_tracks(Scripted(())) == {}


def test_a_result_says_how_its_tracks_were_made(video: Path, tmp_path: Path) -> None:
    about = probe_video(video)
    boxes = np.array([box_at(0), box_at(COUNT - 1)], dtype=np.float64)
    track = Track(np.array([0, COUNT - 1]), boxes, "red box")
    settings = {"prompt.steps": 0, "sampling.frame_count": 4, "joint.span_frame_count": 2}
    for name, tracks in (("some", (track,)), ("none", ())):
        document = track_document(about, tracks, "mine", {"words": ["box"]}, oracle_categories=name == "some")
        write_document(tmp_path / f"{name}.json", document)
    with open_session("tiny:qwen2-vl") as session:
        found, nothing = (
            ground(
                video, "The red box moves.", model=session, overrides=settings, tracks=f"file:{tmp_path / name}.json"
            )
            for name in ("some", "none")
        )
    told = found.document.settings["tracks"]
    assert (told["tracker"], told["settings"], told["oracle_categories"]) == ("mine", {"words": ["box"]}, True)
    assert found.document.warnings == [ORACLE_WARNING]
    assert found.grounding.tracks[0].label == "red box"
    assert nothing.document.warnings[0].startswith("tracker file found no track, so the tracks are those of attention")
    assert nothing.grounding.tracks
