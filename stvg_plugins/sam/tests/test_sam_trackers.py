"""The trackers as users open them, on tiny checkpoints of the real architectures with random weights."""

import json
import os
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Sam3VideoModel
from transformers.models.sam3_video import modeling_sam3_video

from stvg_core.errors import ModelError, NoTracksError, UsageError
from stvg_core.inputs.tracks.catalog import open_tracker
from stvg_core.inputs.tracks.description import describe_tracker, describe_tracks
from stvg_core.inputs.video import read_frames
from stvg_core.plugin.tracker import Tracker
from stvg_core.settings import SamplingSettings
from stvg_core.values import Frames
from stvg_sam import detector as detector_module
from stvg_sam.detector import GroundingDinoDetector, load_detector, tidy
from stvg_sam.frame_reader import BLOCK, FrameReader
from stvg_sam.grounding_dino_sam2 import GroundingDinoSam2Tracker
from stvg_sam.loading import load
from stvg_sam.sam3 import Sam3Tracker, follow_words
from stvg_sam.settings import Sam3Settings, read_settings
from tests.support.sam.models import save_grounding_dino, save_sam2, save_sam3
from tests.support.sam.painted import clip, moving, request, write_video


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("checkpoints")
    return {
        "detector": save_grounding_dino(base / "detector"),
        "mm": save_grounding_dino(base / "mm", mm=True),
        "sam2": save_sam2(base / "sam2"),
        "sam3": save_sam3(base / "sam3"),
    }


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "painted.mp4"
    write_video(path, clip([moving(36, (5, 5), (3, 1))]))
    return path


def dino_sam2(folders: dict[str, Path], **settings: Any) -> GroundingDinoSam2Tracker:
    given = {
        "detector": str(folders["detector"]),
        "segmenter": str(folders["sam2"]),
        "box_threshold": "0",
        "text_threshold": "0",
        "most_objects": "3",
        "match_overlap": "1",
        "cache": "off",
    }
    return GroundingDinoSam2Tracker().configure(given | settings)


def sampled(video: Path, count: int = 5) -> Frames:
    return read_frames(video, SamplingSettings(frame_count=count))


@pytest.mark.parametrize("kind", ["detector", "mm"])
def test_detector_and_segmenter_make_tracks_of_the_video(folders: dict[str, Path], video: Path, kind: str) -> None:
    frames = sampled(video)
    tracker = dino_sam2(folders, detector=str(folders[kind]))
    tracks = tracker.propose(request(frames))
    assert 1 <= len(tracks) <= 3
    for track in tracks:
        # Every tenth frame, and the sampled ones.
        assert set(track.frames.tolist()) <= {0, 10, 20, 30, *frames.indices.tolist()}
        assert (track.boxes_xyxy >= 0).all()
        assert (track.boxes_xyxy <= [160, 96, 160, 96]).all()
        assert track.masks is not None
        assert {(mask.width, mask.height) for mask in track.masks if mask} == {(160, 96)}
    assert describe_tracks(tracker)["classes"] == ["man"]


def test_sam3_makes_tracks_of_the_video(folders: dict[str, Path], video: Path) -> None:
    frames = sampled(video)
    tracker = Sam3Tracker().configure({"segmenter": str(folders["sam3"]), "cache": "off", "classes": "dog+cat"})
    tracks = tracker.propose(request(frames))
    assert tracks
    assert {track.label for track in tracks} <= {"dog", "cat"}
    for track in tracks:
        assert set(track.frames.tolist()) <= {0, 10, 20, 30, *frames.indices.tolist()}
    assert describe_tracks(tracker)["classes"] == ["dog", "cat"]


def test_no_compiled_code_is_fetched_from_the_hub(
    folders: dict[str, Path], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the package `kernels` installed, transformers would fetch and run some, where its place is still None."""
    monkeypatch.setattr(modeling_sam3_video, "cv_utils_kernel", None)
    asked = []
    monkeypatch.setattr(modeling_sam3_video, "_load_cv_utils_kernel_once", lambda: asked.append(1))
    tracker = Sam3Tracker().configure({"segmenter": str(folders["sam3"]), "cache": "off", "classes": "dog"})
    tracker.propose(request(sampled(video)))
    assert asked
    assert modeling_sam3_video.cv_utils_kernel is False


def test_what_sam3_hides_or_takes_back_is_no_track(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(str(folders["sam3"]), ("sam3_video",), Sam3VideoModel, "cpu", "float32")
    shown = torch.full((1, 8, 8), -1.0)
    shown[:, 2:6, 2:6] = 1.0

    def scripted(inference_session: Any, frame_idx: int) -> Any:
        if frame_idx == 0:
            inference_session.obj_id_to_prompt_id |= {0: 1, 1: 0, 2: 0}
        return SimpleNamespace(
            obj_id_to_mask={0: shown, 1: shown, 2: torch.full((1, 8, 8), -1.0)},
            obj_id_to_score={0: 0.9, 1: 0.8, 2: 0.7},
            # The second is taken back in the end; the first is hidden for a while; the third is never seen.
            suppressed_obj_ids={0} if frame_idx in (1, 2) else set(),
            removed_obj_ids={1} if frame_idx == 4 else set(),
        )

    scripted.config = loaded.model.config  # type: ignore[attr-defined]
    scripted.dtype = torch.float32  # type: ignore[attr-defined]
    object.__setattr__(loaded, "model", scripted)
    pictures = FrameReader(clip([[None] * 5]), (1,), 1333)
    (found,) = follow_words(loaded, loaded.tokenizer(), ["dog", "cat"], pictures, torch.device("cpu"))
    assert sorted(found.masks) == [0, 3, 4]
    assert (found.label, found.score) == ("cat", 0.9)
    assert np.asarray(found.box_at(0)).tolist() == pytest.approx([40, 24, 120, 72], abs=1)


class PlantedNetwork:
    """Stands for Grounding DINO's network: finds the brightest pixels of its input, in its own coordinates."""

    dtype = torch.float32

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()

    def __call__(self, pixel_values: torch.Tensor, input_ids: torch.Tensor, **_: Any) -> Any:
        picture = pixel_values[0].sum(dim=0)
        self.shape = tuple(picture.shape)
        low, high = picture.min(), picture.max()
        bright = picture > (low + high) / 2
        rows, columns = torch.nonzero(bright.any(dim=1)).flatten(), torch.nonzero(bright.any(dim=0)).flatten()
        height, width = picture.shape
        y0, y1 = float(rows[0]) / height, float(rows[-1] + 1) / height
        x0, x1 = float(columns[0]) / width, float(columns[-1] + 1) / width
        box = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
        logits = torch.full((1, 1, input_ids.shape[1]), -20.0)
        logits[0, 0, 1] = 3.0
        return SimpleNamespace(logits=logits, pred_boxes=box[None, None], input_ids=input_ids)


@pytest.mark.parametrize(("width", "height"), [(160, 96), (90, 200), (500, 120)])
def test_a_detected_box_comes_back_through_the_resize(folders: dict[str, Path], width: int, height: int) -> None:
    loaded = load_detector(str(folders["detector"]), "cpu", "float32")
    network = PlantedNetwork()
    object.__setattr__(loaded, "model", network)
    picture = np.full((height, width, 3), 30, dtype=np.uint8)
    picture[20:70, 31:82] = 250
    found = GroundingDinoDetector(loaded, ["man"], 0.4, 0.4).detect(picture)
    assert network.shape != (height, width)
    tolerance = max(1.0, width / network.shape[1], height / network.shape[0])
    assert np.abs(found.boxes_xyxy[0] - [31, 20, 82, 70]).max() <= tolerance
    assert found.labels == ("man",)


def test_boxes_are_tidied() -> None:
    boxes = np.array([[5.0, 5, 20, 20], [5, 5, 20, 21], [-30, 2, 40, 999], [np.nan, 0, 5, 5], [50, 50, 50, 60]])
    found = tidy(boxes, np.array([0.5, 0.9, 0.7, 0.99, 0.8]), list("abcde"), 48, 30)
    assert found.boxes_xyxy.tolist() == [[5, 5, 20, 21], [0, 2, 40, 30]]
    assert found.labels == ("b", "c")


def test_twenty_queries_on_one_video_track_once(
    folders: dict[str, Path], video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    detect = GroundingDinoDetector.detect

    def counted(self: GroundingDinoDetector, picture: np.ndarray) -> Any:
        looks.append(1)
        return detect(self, picture)

    monkeypatch.setattr(detector_module.GroundingDinoDetector, "detect", counted)
    frames, cache = sampled(video), str(tmp_path / "cache")
    first = dino_sam2(folders, cache=cache).propose(request(frames, "the man"))
    once = len(looks)
    assert once == 4
    for number in range(20):
        tracker = dino_sam2(folders, cache=cache)
        again = tracker.propose(request(frames, f"the man in coat {number}" if number % 2 else "a tall man"))
        assert describe_tracks(tracker)["from_cache"]
        assert [track.boxes_xyxy.tolist() for track in again] == [track.boxes_xyxy.tolist() for track in first]
        for one, other in zip(again, first, strict=True):
            assert [mask.counts.tolist() for mask in one.masks] == [mask.counts.tolist() for mask in other.masks]
    assert len(looks) == once
    # Another word, another setting, or other frames are other tracks.
    dino_sam2(folders, cache=cache).propose(request(frames, "the dog"))
    assert len(looks) == 2 * once
    dino_sam2(folders, cache=cache, box_threshold="0.01").propose(request(frames))
    assert len(looks) == 3 * once
    dino_sam2(folders, cache=cache).propose(request(sampled(video, 4)))
    assert len(looks) == 4 * once


def test_a_changed_checkpoint_or_video_is_tracked_anew(folders: dict[str, Path], video: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy.mp4"
    copied.write_bytes(video.read_bytes())
    cache = str(tmp_path / "cache")
    detector = save_grounding_dino(tmp_path / "detector")

    def cached() -> bool:
        tracker = dino_sam2(folders, cache=cache, detector=str(detector))
        tracker.propose(request(sampled(copied)))
        return bool(describe_tracks(tracker)["from_cache"])

    assert [cached(), cached()] == [False, True]
    save_grounding_dino(detector, seed=1)
    assert [cached(), cached()] == [False, True]
    os.utime(copied, ns=(1, 1))
    assert [cached(), cached()] == [False, True]
    write_video(copied, clip([moving(36, (5, 50), (3, 0))]))
    assert [cached(), cached()] == [False, True]


def test_nothing_found_is_said_and_remembered(folders: dict[str, Path], video: Path, tmp_path: Path) -> None:
    for stored in (False, True):
        tracker = dino_sam2(folders, box_threshold="1", cache=str(tmp_path / "cache"), classes="dog")
        with pytest.raises(NoTracksError, match=r"no dog in .* lower it"):
            tracker.propose(request(sampled(video)))
        assert describe_tracks(tracker)["from_cache"] is stored


def test_settings_and_words_are_told(folders: dict[str, Path]) -> None:
    tracker = dino_sam2(folders, classes="Red Dog+cat", oracle_categories="true")
    about = describe_tracks(tracker)
    assert about["classes"] == ["red dog", "cat"]
    assert about["oracle_categories"] is True
    assert about["detector"] == str(folders["detector"])
    json.dumps(about)
    # What names a run is the same before and after its first video.
    assert "from_cache" not in describe_tracker(tracker)
    assert not {"cache", "device", "state_device"} & describe_tracker(tracker).keys()
    assert {"cache", "device", "state_device"} <= about.keys()
    assert tracker.per_video
    assert not dino_sam2(folders).per_video
    defaults = GroundingDinoSam2Tracker().settings
    assert (defaults.box_threshold, defaults.text_threshold, defaults.detect_every_frames) == (0.4, 0.4, 10)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"box_treshold": "0.3"}, "did you mean box_threshold"),
        ({"box_threshold": "2"}, "box_threshold .* less than or equal to 1"),
        ({"classes": "a+"}, "classes"),
        ({"most_objects": "0"}, "most_objects"),
        ({"detect_every_frames": "often"}, "detect_every_frames"),
    ],
)
def test_wrong_settings_are_usage_errors(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as failure:
        GroundingDinoSam2Tracker().configure(given)
    assert "\n" not in str(failure.value)


def test_the_wrong_checkpoint_is_told(folders: dict[str, Path], video: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"type grounding-dino or mm-grounding-dino, .* is sam2_video"):
        dino_sam2(folders, detector=str(folders["sam2"])).propose(request(sampled(video)))
    with pytest.raises(ModelError, match=r"type sam2_video, .* is grounding-dino"):
        dino_sam2(folders, segmenter=str(folders["detector"])).propose(request(sampled(video)))
    with pytest.raises(ModelError, match="nor in the local hub cache, and offline mode is on"):
        Sam3Tracker().configure({"cache": "off"}).propose(request(sampled(video)))
    broken = save_sam2(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="download"):
        dino_sam2(folders, segmenter=str(broken)).propose(request(sampled(video)))
    (broken / "model.safetensors").unlink()
    (broken / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="pickled"):
        dino_sam2(folders, segmenter=str(broken)).propose(request(sampled(video)))


def test_the_entry_points_open_them() -> None:
    names = {point.name for point in entry_points(group="stvg.trackers")}
    if "sam3" not in names:
        pytest.skip("stvg-sam is not installed")
    for name in ("grounding-dino+sam2", "sam3", "detections"):
        tracker = open_tracker(name)
        assert isinstance(tracker, Tracker)
        assert tracker.name == name
    assert describe_tracker(open_tracker("sam3:classes=dog"))["classes"] == ["dog"]


def test_pictures_are_those_of_the_file_in_any_order(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frames = clip([[None] * 90], 64, 48)
    frames = Frames(frames.info, frames.indices, generator.integers(0, 255, frames.pixels.shape, dtype=np.uint8))
    info = write_video(tmp_path / "noise.mp4", frames)
    whole = read_frames(info.path, SamplingSettings(frame_count=90))
    pictures = FrameReader(read_frames(info.path, SamplingSettings(frame_count=7)), (10, 4), 1333)
    wanted = sorted({*range(0, 90, 4), *range(0, 90, 10), *np.linspace(0, 89, 7).round().astype(int).tolist()})
    assert pictures.source_frames.tolist() == wanted
    assert len(pictures) > BLOCK
    for position in (*range(len(pictures)), *range(len(pictures) - 1, -1, -1), 30, 3, 0):
        assert np.array_equal(pictures[position], whole.pixels[wanted[position]])
    assert {wanted[position] for position in pictures.on_grid(10)} == set(range(0, 90, 10))
    assert len(pictures._held) <= BLOCK


def test_only_the_segment_is_looked_at(video: Path) -> None:
    whole = sampled(video)
    part = Frames(whole.info, np.array([13, 16, 19]), whole.pixels[:3], (13, 19))
    pictures = FrameReader(part, (10, 4), 1333)
    assert pictures.source_frames.tolist() == [13, 16, 19]
    # No multiple of ten lies in it: the first frame is a key frame all the same.
    assert pictures.on_grid(10) == {0}
    assert np.array_equal(pictures[1], read_frames(video, SamplingSettings(frame_count=36)).pixels[16])


def test_large_pictures_are_shrunk(video: Path) -> None:
    pictures = FrameReader(sampled(video), (10,), 80)
    assert pictures[0].shape == (48, 80, 3)


def test_a_shrunk_picture_gives_boxes_of_the_video(folders: dict[str, Path], video: Path) -> None:
    tracks = dino_sam2(folders, longest_side_pixels="80").propose(request(sampled(video)))
    for track in tracks:
        for mask, box in zip(track.masks or (), track.boxes_xyxy, strict=True):
            assert mask is not None
            assert (mask.width, mask.height) == (80, 48)
            assert np.array_equal(np.asarray(mask.box_xyxy()) * 2, box)


def test_defaults_name_published_checkpoints() -> None:
    assert read_settings(Sam3Settings, "sam3", {}).segmenter == "facebook/sam3"
    assert GroundingDinoSam2Tracker().settings.segmenter == "facebook/sam2.1-hiera-large"
