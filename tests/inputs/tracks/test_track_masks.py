"""Masks as run lengths, and what tracks with masks and absences cover."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stvg_core._internal.masks import RunLengthMask
from stvg_core.errors import TrackError
from stvg_core.inputs.tracks.assembly import absent_stretches
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.method.scores import score_tracks
from stvg_core.settings import JointSettings
from stvg_core.values import FrameMaps, Track, VideoInfo

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(bool, shape))
INFO = VideoInfo("clip.mp4", 40, 20, 25.0, 1.0, np.arange(31) / 25)


def plain_counts(mask: np.ndarray) -> list[int]:
    """Run lengths, one pixel at a time."""
    counts, value = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if bool(mask[row, column]) != value:
                counts.append(0)
                value = not value
            counts[-1] += 1
    return counts


@given(MASKS)
def test_runs_are_cocos_and_bring_the_mask_back(mask: np.ndarray) -> None:
    runs = RunLengthMask.of(mask)
    assert runs.counts.tolist() == plain_counts(mask)
    assert np.array_equal(runs.pixels(), mask)
    assert runs.area_pixels == mask.sum()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if mask.any() else None
    found = runs.box_xyxy()
    assert (None if found is None else found.tolist()) == expected


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_runs_are_those_of_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    generator = np.random.default_rng(0)
    for _ in range(20):
        mask = generator.random((7, 11)) < 0.4
        runs = RunLengthMask.of(mask)
        packed = coco.frPyObjects({"size": [7, 11], "counts": runs.counts.tolist()}, 7, 11)
        assert np.array_equal(coco.decode(packed).astype(bool), mask)
        if mask.any():
            left, top, width, height = coco.toBbox(packed)
            assert np.asarray(runs.box_xyxy()).tolist() == [left, top, left + width, top + height]


@pytest.mark.parametrize("counts", [[5], [3, 4], [7, -1], []])
def test_runs_must_fill_the_picture(counts: list[int]) -> None:
    with pytest.raises(TrackError, match="fill 3x2 pixels"):
        RunLengthMask(2, 3, np.array(counts, dtype=np.int64))


@settings(max_examples=60)
@given(MASKS, st.integers(1, 6), st.integers(1, 6))
def test_masks_are_sampled_as_in_the_released_code(mask: np.ndarray, rows: int, columns: int) -> None:
    """The released code: F.interpolate(bilinear, align_corners=False) of the mask onto the token grid."""
    expected = torch.nn.functional.interpolate(
        torch.tensor(mask)[None, None].double(), size=(rows, columns), mode="bilinear", align_corners=False
    )[0, 0]
    found = RunLengthMask.of(mask).on_grid(rows, columns)
    assert found.shape == (rows, columns)
    if expected.any() or not mask.any():
        assert np.allclose(found, expected.numpy())
    else:
        # Nothing would be left of it: the exact share of every cell instead.
        assert found.sum() == pytest.approx(mask.sum() * rows * columns / mask.size)


@settings(max_examples=30)
@given(MASKS, st.integers(1, 12), st.integers(1, 12))
def test_a_resized_mask_shows_the_nearest_pixel(mask: np.ndarray, width: int, height: int) -> None:
    found = RunLengthMask.of(mask).resized(width, height).pixels()
    for row in range(height):
        for column in range(width):
            nearest = (int((row + 0.5) * mask.shape[0] / height), int((column + 0.5) * mask.shape[1] / width))
            assert found[row, column] == mask[nearest]


def test_a_track_covers_by_its_masks_and_by_its_box_where_it_has_none() -> None:
    left = np.zeros((20, 40), dtype=bool)
    left[:, :10] = True
    box = np.array([[0.0, 0.0, 40.0, 20.0]])
    boxes = np.repeat(box, 3, axis=0)
    track = Track(np.array([0, 10, 20]), boxes, "", (RunLengthMask.of(left), None, RunLengthMask.of(~left)))
    shares = cell_coverage([track], np.array([0, 4, 10, 16, 20, 25]), INFO, 1, 4)[0, :, 0]
    assert shares.tolist() == [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 1, 1],
        [0, 1, 1, 1],
        [0, 1, 1, 1],
        [0, 0, 0, 0],
    ]


def test_a_track_covers_nothing_where_it_is_absent() -> None:
    boxes = np.repeat(np.array([[0.0, 0.0, 40.0, 20.0]]), 3, axis=0)
    track = Track(np.array([5, 10, 25]), boxes, "", None, ((11, 24),))
    numbers = np.array([0, 5, 10, 11, 24, 25, 26])
    assert cell_coverage([track], numbers, INFO, 1, 1)[0, :, 0, 0].tolist() == [0, 1, 1, 0, 0, 1, 0]


def test_a_mask_decides_where_boxes_cannot() -> None:
    """Two boxes alike, one object ring-shaped: the peak lies in the hole."""
    ring = np.ones((20, 40), dtype=bool)
    ring[:, 10:30] = False
    box = np.array([[0.0, 0.0, 40.0, 20.0]])
    hollow = Track(np.array([0]), box, "", (RunLengthMask.of(ring),))
    filled = Track(np.array([0]), box, "", (RunLengthMask.of(~ring),))
    maps = FrameMaps(np.array([[[1.0, 5.0, 5.0, 2.0]]]))
    coverage = cell_coverage([hollow, filled], np.array([0]), INFO, 1, 4)
    for pooling, expected in (("max", [2.0, 5.0]), ("mean", [1.5, 5.0])):
        scores = score_tracks(maps, maps, coverage, JointSettings(track_pooling=pooling))
        assert scores.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("absent", [((0, 3),), ((5, 12),), ((18, 20),), ((14, 13),)])
def test_absences_lie_between_boxes(absent: tuple[tuple[int, int], ...]) -> None:
    boxes = np.repeat(np.array([[0.0, 0.0, 4.0, 2.0]]), 3, axis=0)
    with pytest.raises(TrackError, match="stretches without boxes"):
        Track(np.array([0, 10, 20]), boxes, "", None, absent)


def test_a_track_has_a_mask_or_none_per_box() -> None:
    boxes = np.repeat(np.array([[0.0, 0.0, 4.0, 2.0]]), 2, axis=0)
    with pytest.raises(TrackError, match="each of 2 boxes"):
        Track(np.array([0, 10]), boxes, "", (None,))


@given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30)))
def test_absences_are_where_one_looked_and_saw_nothing(seen: set[int], more: set[int]) -> None:
    looked = sorted(seen | more)
    stretches = absent_stretches(sorted(seen), looked)
    inside = {frame for frame in looked if min(seen) < frame < max(seen)} - seen
    covered = {frame for first, last in stretches for frame in range(first, last + 1)}
    assert inside <= covered
    assert not covered & seen
    assert all(inside & set(range(first, last + 1)) for first, last in stretches)
