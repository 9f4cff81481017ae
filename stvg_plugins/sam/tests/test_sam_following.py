"""Objects found in key frames and followed both ways, held against painted clips."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_core._internal.masks import RunLengthMask
from stvg_core.values import Frames, VideoInfo
from stvg_sam.following import follow
from stvg_sam.frame_reader import FrameReader
from stvg_sam.objects import FollowedObject, as_tracks, merge_duplicates
from stvg_sam.sam2 import Sweep, load_sam2
from stvg_sam.state import FrameInputs
from tests.support.sam.models import save_sam2
from tests.support.sam.painted import (
    CPU,
    STATISTICS,
    PaintDetector,
    PaintSegmenter,
    Paths,
    clip,
    moving,
    sweeps,
)

EVERY = 3


def tracks_of(frames: Frames, paths: Paths, **detector: object) -> tuple:
    pictures = FrameReader(frames, (1,), 1333)
    keys = frozenset(range(0, len(frames), EVERY))
    model = PaintSegmenter()
    objects = follow(pictures, keys, PaintDetector(frames, paths, **detector), sweeps(pictures, model), 0.5, 40)  # type: ignore[arg-type]
    return as_tracks(merge_duplicates(objects, 0.7), pictures.source_frames, frames.info, 40), model


@settings(max_examples=12, deadline=None)
@given(
    width=st.integers(60, 200),
    height=st.integers(60, 200),
    left=st.integers(0, 20),
    top=st.integers(0, 20),
    size_pixels=st.sampled_from([64, 128, 160]),
)
def test_a_planted_box_returns_where_it_was(width: int, height: int, left: int, top: int, size_pixels: int) -> None:
    box = (left, top, left + 31, top + 19)
    frames = clip([[box, box]], width, height)
    pictures = FrameReader(frames, (1,), 1333)
    sweep = Sweep(PaintSegmenter(size_pixels), pictures, STATISTICS, CPU, CPU, backwards=False)
    sweep.join(0, {7: np.array(box, dtype=np.float64)})
    mask = sweep.step(0)[7]
    assert mask is not None
    assert mask.shape == (height, width)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    # One pixel of the video or of the model's input, whichever is larger.
    tolerance = np.tile([max(1.0, width / size_pixels), max(1.0, height / size_pixels)], 2)
    assert (np.abs(np.array(found) - box) <= tolerance).all(), (found, box)


def test_every_object_is_followed_in_every_frame_with_its_own_box() -> None:
    paths = [moving(10, (5, 5), (4, 2)), moving(10, (120, 60), (-5, -3))]
    frames = clip(paths)
    found, _ = tracks_of(frames, paths)
    assert len(found) == 2
    for track, path in zip(sorted(found, key=lambda one: one.boxes_xyxy[0, 0]), paths, strict=True):
        assert track.frames.tolist() == list(range(10))
        assert np.abs(track.boxes_xyxy - np.array(path)).max() <= 1.5
        assert track.label == "paint"
        assert track.masks is not None
        for mask, box in zip(track.masks, track.boxes_xyxy, strict=True):
            assert mask is not None
            assert np.array_equal(mask.box_xyxy(), box)


def test_one_that_enters_late_is_followed_back_to_its_entry() -> None:
    late = moving(12, (100, 10), (2, 3))
    # It enters at 4; the next key frame is 6, and the detector is blind there: found at 9, followed back.
    paths = [moving(12, (5, 60), (3, 0)), [None] * 4 + late[4:]]
    frames = clip(paths)
    found, model = tracks_of(frames, paths, blind=frozenset({6}))
    track = max(found, key=lambda one: one.boxes_xyxy[0, 0])
    assert track.frames.tolist() == list(range(4, 12))
    assert track.absent == ()
    assert np.abs(track.boxes_xyxy - np.array(late[4:])).max() <= 1.5
    # Backwards from where it was found to the start, a frame at a time.
    assert [position for position, reverse in model.steps if reverse] == list(range(9, -1, -1))


def test_one_that_leaves_and_returns_is_one_track_with_a_gap() -> None:
    path = moving(12, (5, 5), (4, 2))
    paths = [[box if t < 3 or t > 7 else None for t, box in enumerate(path)]]
    frames = clip(paths)
    found, _ = tracks_of(frames, paths)
    (track,) = found
    assert track.frames.tolist() == [0, 1, 2, 8, 9, 10, 11]
    assert track.absent == ((3, 7),)
    _, exists = track.boxes_at(np.arange(12))
    assert exists.tolist() == [t < 3 or t > 7 for t in range(12)]


def test_empty_detections_are_no_objects() -> None:
    frames = clip([[None] * 6])
    found, model = tracks_of(frames, [[None] * 6])
    assert found == ()
    assert model.steps == []


def test_a_box_of_a_followed_object_is_no_new_object() -> None:
    paths = [moving(12, (5, 5), (6, 3))]
    frames = clip(paths)
    pictures = FrameReader(frames, (1,), 1333)
    detector = PaintDetector(frames, paths)
    objects = follow(pictures, frozenset({0, 3, 6, 9}), detector, sweeps(pictures, PaintSegmenter()), 0.5, 40)
    assert detector.looks == 4
    assert len(objects) == 1
    assert objects[0].seed == 0


def test_no_more_objects_join_than_are_allowed() -> None:
    paths = [moving(6, (5, 5), (1, 1)), moving(6, (60, 5), (1, 1)), moving(6, (110, 60), (1, 0))]
    frames = clip(paths)
    pictures = FrameReader(frames, (1,), 1333)
    objects = follow(
        pictures, frozenset({0, 3}), PaintDetector(frames, paths), sweeps(pictures, PaintSegmenter()), 0.5, 2
    )
    assert [one.score for one in objects] == [0.9, 0.75]


def test_repeats_are_merged_and_gain_each_others_frames() -> None:
    paths = [moving(8, (5, 5), (4, 2))]
    frames = clip(paths)
    (whole,), _ = tracks_of(frames, paths)
    masks = dict(enumerate(whole.masks))
    box = np.array(paths[0][0], dtype=np.float64)
    early = FollowedObject("a", 0.5, 0, box, {t: masks[t] for t in range(5)})
    late = FollowedObject("b", 0.9, 4, box, {t: masks[t] for t in range(4, 8)})
    (merged,) = merge_duplicates([early, late], 0.7)
    assert sorted(merged.masks) == list(range(8))
    assert (merged.label, merged.score) == ("b", 0.9)
    apart = FollowedObject("c", 0.4, 0, box, {0: masks[7], 1: masks[7]})
    assert len(merge_duplicates([early, apart], 0.7)) == 2


class SloppyBackwards(PaintSegmenter):
    """Sees an object everywhere when it goes backwards."""

    def __call__(self, session: Any, *, frame_idx: int, reverse: bool) -> SimpleNamespace:
        out = super().__call__(session, frame_idx=frame_idx, reverse=reverse)
        if reverse:
            out.pred_masks, out.object_score_logits = (
                torch.ones_like(out.pred_masks),
                torch.ones(len(out.object_ids), 1),
            )
        return out


def test_each_direction_has_its_own_side_of_the_first_sighting() -> None:
    paths = [[None] * 4 + moving(12, (5, 5), (4, 2))[4:]]
    frames = clip(paths)
    pictures = FrameReader(frames, (1,), 1333)
    detector = PaintDetector(frames, paths)
    (found,) = follow(pictures, frozenset({0, 6}), detector, sweeps(pictures, SloppyBackwards()), 0.5, 40)
    whole = {position for position, mask in found.masks.items() if mask.area_pixels == 160 * 96}
    assert found.seed == 6
    assert sorted(found.masks) == list(range(12))
    assert whole == set(range(6))


def test_masks_of_another_size_give_boxes_of_the_video() -> None:
    pixels = np.zeros((20, 50), dtype=bool)
    pixels[5:15, 10:40] = True
    info = VideoInfo("clip.mp4", 100, 60, 10.0, 0.3, np.arange(3) / 10)
    one = FollowedObject("a", 0.5, 0, np.zeros(4), {0: RunLengthMask.of(pixels), 2: RunLengthMask.of(pixels)})
    (track,) = as_tracks([one], np.array([0, 1, 2]), info, 40)
    assert track.boxes_xyxy.tolist() == [[20, 15, 80, 45]] * 2
    assert track.absent == ((1, 1),)
    blank = FollowedObject("b", 0.9, 0, np.zeros(4), {0: RunLengthMask.of(pixels & False)})
    assert as_tracks([blank], np.array([0, 1, 2]), info, 40) == ()


# The real architecture, with random weights.


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> object:
    return load_sam2(str(save_sam2(tmp_path_factory.mktemp("sam2"))), "cpu", "float32")


def noise(count: int) -> Frames:
    frames = clip([[None] * count], 80, 48)
    pixels = np.random.default_rng(0).integers(0, 255, frames.pixels.shape, dtype=np.uint8)
    return Frames(frames.info, frames.indices, pixels)


@pytest.mark.parametrize("backwards", [False, True])
def test_forgetting_changes_no_mask(sam2: object, backwards: bool) -> None:
    """The library's own session keeps everything; ours drops what is not read again."""
    loaded: object = sam2
    count = 22
    pictures = FrameReader(noise(count), (1,), 1333)
    order = range(count - 1, -1, -1) if backwards else range(count)
    joins = {order[0]: {0: np.array([5.0, 5, 40, 30])}, order[3]: {1: np.array([30.0, 10, 70, 40])}}

    def run(*, keep: bool) -> list[torch.Tensor]:
        sweep = Sweep(loaded.model, pictures, STATISTICS, CPU, CPU, backwards=backwards)  # type: ignore[attr-defined]
        told: list[torch.Tensor] = []
        for position in order:
            if position in joins:
                sweep.join(position, joins[position])
            if keep:
                with torch.inference_mode():
                    out = loaded.model(sweep.session, frame_idx=position, reverse=backwards)  # type: ignore[attr-defined]
                told.append(out.pred_masks.clone())
            else:
                hook = loaded.model.register_forward_hook(lambda _, __, out: told.append(out.pred_masks.clone()))  # type: ignore[attr-defined]
                sweep.step(position)
                hook.remove()
        return told

    kept, forgotten = run(keep=True), run(keep=False)
    assert len(kept) == len(forgotten) == count
    for one, other in zip(kept, forgotten, strict=True):
        assert torch.equal(one, other)


def test_what_is_remembered_does_not_grow_with_the_video(sam2: object) -> None:
    pictures = FrameReader(noise(60), (1,), 1333)
    sweep = Sweep(sam2.model, pictures, STATISTICS, CPU, CPU, backwards=False)  # type: ignore[attr-defined]
    sweep.join(0, {0: np.array([5.0, 5, 40, 30])})
    sizes = []
    for position in range(60):
        sweep.step(position)
        sizes.append(sweep.state_bytes)
    assert sizes[0] < sizes[10]
    assert len(set(sizes[20:])) == 1


def test_frames_are_squashed_and_normalised_as_the_processor_does() -> None:
    frames = clip([moving(2, (5, 5), (4, 2))], 100, 60)
    inputs = FrameInputs(FrameReader(frames, (1,), 1333), 64, STATISTICS, torch.float32)
    assert len(inputs) == 2
    flat = torch.tensor(frames.pixels[1]).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(flat, size=(64, 64), mode="bilinear", antialias=True)[0] / 255
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (STATISTICS.mean, STATISTICS.deviation))
    assert torch.allclose(inputs[1] * deviation + mean, expected, atol=1 / 255)


def test_boxes_reach_the_model_in_its_own_pixels() -> None:
    frames = clip([moving(2, (5, 5), (4, 2))], 200, 50)
    sweep = Sweep(PaintSegmenter(128), FrameReader(frames, (1,), 1333), STATISTICS, CPU, CPU, backwards=False)
    sweep.join(0, {3: np.array([50.0, 10.0, 100.0, 40.0])})
    points = sweep.session.point_inputs_per_obj[0][0]
    assert points["point_coords"][0, 0].flatten().tolist() == pytest.approx([32.0, 25.6, 64.0, 102.4])
    assert points["point_labels"].tolist() == [[[2, 3]]]
