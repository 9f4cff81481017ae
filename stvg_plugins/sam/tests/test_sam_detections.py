"""Linked detections: files of boxes, and identities kept on synthetic scenes with an oracle detector."""

from pathlib import Path

import numpy as np
import pytest

from stvg_core.errors import NoTracksError, PluginError, TrackError, UsageError
from stvg_core.inputs.tracks.boxes import intersection_over_union
from stvg_core.values import Frames, VideoInfo
from stvg_sam import detections
from stvg_sam.detections import DetectionsTracker, link_detections, read_boxes
from stvg_sam.settings import DetectionsSettings
from tests.support.sam.painted import clip, moving, request


def info(count: int = 30) -> VideoInfo:
    return clip([[None] * count]).info


def frames(count: int = 30) -> Frames:
    return clip([[None] * count])


def det(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "det.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_boxes_are_read_as_the_mot_challenge_writes_them(tmp_path: Path) -> None:
    path = det(tmp_path, ["1,-1,10,20,30,40,0.9", "3,-1,10,20,30,40,0.1,-1,-1,-1", "3,-1,150,80,90,90,0.8", ""])
    found = read_boxes(path, info(), 0.25)
    assert sorted(found) == [0, 2]
    assert found[0].boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    # The weak box is left out; the one that juts out is cut to 160 x 96.
    assert found[2].boxes_xyxy.tolist() == [[150, 80, 160, 96]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0,-1,1,1,5,5,1"], r"frames 1 to 30 .* line 1"),
        (["31,-1,1,1,5,5,1"], "made for this video"),
        (["1,-1,1,1,5"], "line 1"),
        (["1,-1,1,1,5,five,1"], "as numbers"),
        (["1,-1,1,nan,5,5,1"], "as numbers"),
    ],
)
def test_malformed_boxes_are_told(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(TrackError, match=message) as failure:
        read_boxes(det(tmp_path, lines), info(), 0.25)
    assert "\n" not in str(failure.value)


def test_a_missing_file_or_setting_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="detections:file="):
        DetectionsTracker().propose(request(frames()))
    with pytest.raises(TrackError, match=r"det\.txt"):
        DetectionsTracker().configure({"file": str(tmp_path / "none.txt")}).propose(request(frames()))


def test_a_missing_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "trackers", None)
    tracker = DetectionsTracker().configure({"file": str(det(tmp_path, ["1,-1,10,20,30,40,0.9"]))})
    with pytest.raises(PluginError, match=r"stvg-sam\[detections\]"):
        tracker.propose(request(frames()))


def test_two_objects_are_two_tracks_of_their_own_boxes(tmp_path: Path) -> None:
    pytest.importorskip("trackers")
    paths = [moving(30, (5, 5), (3, 1)), moving(30, (120, 60), (-3, 0))]
    lines = []
    for frame in range(0, 30, 2):
        for x0, y0, x1, y1 in (path[frame] for path in paths):
            lines.append(f"{frame + 1},-1,{x0},{y0},{x1 - x0},{y1 - y0},0.9")
    tracks = DetectionsTracker().configure({"file": str(det(tmp_path, lines))}).propose(request(frames()))
    assert len(tracks) == 2
    for track in tracks:
        path = paths[0] if track.boxes_xyxy[0, 0] < 50 else paths[1]
        # The library's filter moves boxes; these are the detector's own, at the frames that were looked at.
        assert track.frames.tolist() == list(range(0, 30, 2))
        assert np.abs(track.boxes_xyxy - np.array(path[::2])).max() == 0
        assert track.absent == ()


def test_an_object_that_goes_unseen_is_one_track_with_a_gap() -> None:
    pytest.importorskip("trackers")
    path = moving(30, (5, 5), (1, 1))
    found = {}
    for frame in range(30):
        seen = [path[frame]] if not 10 <= frame < 16 else []
        boxes = np.array(seen, dtype=np.float64).reshape(-1, 4)
        found[frame] = detections.FoundBoxes(boxes, np.full(len(boxes), 0.9), ("x",) * len(boxes))
    (track,) = link_detections(found, info(), DetectionsSettings())
    assert track.absent == ((10, 15),)
    assert track.label == "x"


def test_identities_are_kept_on_synthetic_scenes_with_an_oracle_detector() -> None:
    """True boxes, jittered, every fifth one missing, in another order in every frame; scored by `trackers.eval`."""
    evaluation = pytest.importorskip("trackers.eval")
    scenes = pytest.importorskip("stvg_tiny.sampling")
    clips = pytest.importorskip("stvg_tiny.clips")
    reached, possible = [], []
    for index in range(3):
        generator = np.random.default_rng(index)
        scene = scenes.held_out_scene(scenes.Split.DEVELOPMENT, index, "hard")
        truths = np.stack([clips.true_track(item, 384).boxes_xyxy for item in scene.objects])
        found, true_ids = {}, []
        for frame in range(0, truths.shape[1], 5):
            kept = generator.permutation(np.flatnonzero(generator.random(len(truths)) >= 0.2))
            boxes = truths[kept, frame]
            boxes = boxes + generator.normal(0, 0.05, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            found[frame] = detections.FoundBoxes(boxes, np.full(len(kept), 0.9), tuple(str(place) for place in kept))
            true_ids.append(kept)
        about = clips.clip_info(384)
        tracks = link_detections(found, about, DetectionsSettings(least_boxes=1))
        for ids, told in (
            (reached, [[n for n, track in enumerate(tracks) if frame in track.frames] for frame in found]),
            (possible, [list(kept) for kept in true_ids]),
        ):
            overlaps = []
            for position, frame in enumerate(found):
                boxes = (
                    [tracks[n].boxes_xyxy[tracks[n].frames == frame][0] for n in told[position]]
                    if ids is reached
                    else list(found[frame].boxes_xyxy)
                )
                overlaps.append(
                    intersection_over_union(truths[:, frame], np.array(boxes, dtype=np.float64).reshape(-1, 4))
                )
            everyone = [np.arange(len(truths))] * len(found)
            arrays = [np.array(numbers, dtype=np.int64) for numbers in told]
            ids.append(evaluation.compute_identity_metrics(everyone, arrays, overlaps)["IDF1"])
    assert np.mean(possible) > 0.85
    assert np.mean(reached) > np.mean(possible) - 0.03


def test_nothing_to_link_is_said(tmp_path: Path) -> None:
    pytest.importorskip("trackers")
    tracker = DetectionsTracker().configure({"file": str(det(tmp_path, ["1,-1,10,20,30,40,0.1"]))})
    with pytest.raises(NoTracksError, match="holds no object"):
        tracker.propose(request(frames()))
    assert link_detections({}, info(), DetectionsSettings()) == ()
