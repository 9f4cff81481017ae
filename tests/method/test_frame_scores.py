"""Frame scores as the authors' code makes them, against torch and against loops over pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_core._internal.masks import RunLengthMask, bilinear
from stvg_core.host.session import Session
from stvg_core.inputs.tracks.cells import cell_coverage, peaks_in_pixels
from stvg_core.method.branches import BranchMaps
from stvg_core.method.pipeline import Pipeline, join_branches
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.settings import JointSettings, Settings
from stvg_core.values import FrameMaps, Frames, SubQueries, Track, VideoInfo

SIZES = st.integers(1, 12)


def resized(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """As the released code resizes: torch's own."""
    tensor = torch.tensor(values, dtype=torch.float64)[None, None]
    return torch.nn.functional.interpolate(tensor, (rows, columns), mode="bilinear", align_corners=False)[0, 0].numpy()


@given(SIZES, SIZES, SIZES, SIZES, st.integers(0, 99))
def test_sampling_is_torchs_up_and_down(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(height, width))
    expected = resized(values, rows, columns)
    np.testing.assert_allclose(bilinear(values, rows, columns), expected, atol=1e-12)
    window = slice(rows // 3, rows), slice(0, columns - columns // 3)
    np.testing.assert_allclose(bilinear(values, rows, columns, window), expected[window], atol=1e-12)


@settings(max_examples=60)
@given(st.integers(2, 30), st.integers(2, 30), SIZES, SIZES, st.integers(0, 999))
def test_peaks_are_the_released_codes(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    """evaluation_llava_att: maps up-sampled to the masks, multiplied by them, and the maximum of each frame."""
    random = np.random.default_rng(seed)
    count = 4
    info = VideoInfo("clip.mp4", 2 * width, 3 * height, 5.0, 1.0, np.arange(count) / 5)
    masks = random.random((count, height, width)) < random.choice([0.02, 0.3, 0.9])
    boxes = np.tile([0.0, 0.0, 2.0 * width, 3.0 * height], (count - 1, 1))
    seen = [0, 1, 3]
    track = Track(np.array(seen), boxes, "", tuple(RunLengthMask.of(masks[number]) for number in seen), ((2, 2),))
    maps = FrameMaps(random.random((count, rows, columns)))
    expected = [
        (mask * resized(one, height, width)).max() if number != 2 else 0.0
        for number, (mask, one) in enumerate(zip(masks, maps.values, strict=True))
    ]
    np.testing.assert_allclose(peaks_in_pixels(maps, track, np.arange(count), info), expected, atol=1e-12)


@settings(max_examples=60)
@given(st.integers(4, 20), st.integers(4, 20), SIZES, SIZES, st.integers(0, 999))
def test_a_box_is_the_mask_of_the_pixels_that_it_touches(
    height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    info = VideoInfo("clip.mp4", width, height, 5.0, 0.2, np.zeros(1))
    (x0, x1), (y0, y1) = np.sort(random.uniform(-2, width + 2, 2)), np.sort(random.uniform(-2, height + 2, 2))
    mask = np.zeros((height, width), dtype=bool)
    for row in range(height):
        for column in range(width):
            mask[row, column] = row + 1 > y0 and row < y1 and column + 1 > x0 and column < x1
    track = Track(np.array([0]), np.array([[x0, y0, x1, y1]]))
    one = random.random((1, rows, columns))
    expected = (mask * resized(one[0], height, width)).max()
    assert peaks_in_pixels(FrameMaps(one), track, np.array([0]), info)[0] == pytest.approx(expected)
    (cells,) = cell_coverage([track], np.array([0]), info, rows, columns, "centre")[0]
    np.testing.assert_allclose(cells, resized(mask, rows, columns), atol=1e-12)


def walker(frame_count: int, width: float, height: float, *, with_masks: bool) -> tuple[Track, VideoInfo]:
    """A person of a size who walks across a picture of 1280x720 pixels."""
    info = VideoInfo("walk.mp4", 1280, 720, 5.0, frame_count / 5, np.arange(frame_count) / 5)
    left = np.linspace(0, 1280 - width, frame_count)
    boxes = np.stack([left, np.full(frame_count, 400.0), left + width, np.full(frame_count, 400.0 + height)], axis=1)
    boxes = np.round(boxes)
    masks = np.zeros((frame_count, 720, 1280), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
        mask[y0:y1, x0:x1] = True
    packed = tuple(RunLengthMask.of(mask) for mask in masks) if with_masks else None
    return Track(np.arange(frame_count), boxes, "person", packed), info


@pytest.mark.parametrize("with_masks", [True, False])
@pytest.mark.parametrize(("cells", "size"), [(6, (60, 150)), (6, (100, 250)), (8, (60, 150))])
def test_a_person_who_walks_by_has_one_score_under_even_attention(
    with_masks: bool, cells: int, size: tuple[int, int]
) -> None:
    """By pixels, where the object stands against the grid of tokens does not matter; by cells it does."""
    track, info = walker(20, *size, with_masks=with_masks)
    frames = Frames(info, np.arange(20), np.zeros((20, 1, 1, 3), np.uint8))
    flat = FrameMaps(np.ones((20, cells, cells)))

    def frame_scores(rule: str) -> np.ndarray:
        joint = JointSettings(frame_scores=rule)
        coverage = cell_coverage([track], frames.indices, info, cells, cells, joint.track_cells)
        return join_branches(frames, (track,), coverage, flat, flat, joint).frame_scores

    np.testing.assert_allclose(frame_scores("pixels"), 1.0)
    by_cells = frame_scores("cells")
    assert by_cells.min() < 0.6
    if (cells, size) == (6, (100, 250)):
        # docs/method.md
        assert [round(float(value), 2) for value in (by_cells.min(), by_cells.max())] == (
            [0.25, 1.0] if with_masks else [0.25, 0.47]
        )


def test_what_lies_between_the_centres_is_seen_by_share_alone() -> None:
    info = VideoInfo("clip.mp4", 60, 60, 5.0, 0.2, np.zeros(1))
    small = np.array([[1.0, 1.0, 6.0, 6.0]])
    mask = np.zeros((60, 60), dtype=bool)
    mask[1:6, 1:6] = True
    for track in (Track(np.array([0]), small), Track(np.array([0]), small, "", (RunLengthMask.of(mask),))):
        share = cell_coverage([track], np.array([0]), info, 3, 3, "share")
        assert share.sum() == pytest.approx(25 / 400)
        assert not cell_coverage([track], np.array([0]), info, 3, 3, "centre").any()
        assert peaks_in_pixels(FrameMaps(np.ones((1, 3, 3))), track, np.array([0]), info).tolist() == [1.0]


def test_the_setting_of_cells_reaches_the_tracks_scores(session: Session) -> None:
    """An object between the centres: seen by share, where a larger one has nothing; not seen by centre."""
    info = VideoInfo("clip.mp4", 60, 60, 5.0, 0.2, np.zeros(1))
    frames = Frames(info, np.array([0]), np.zeros((1, 1, 1, 3), np.uint8))
    small, large = np.array([[1.0, 1.0, 6.0, 6.0]]), np.array([[20.0, 0.0, 60.0, 60.0]])
    corner = FrameMaps(np.array([[[9.0, 0.1, 0.1], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]))

    class Two(Tracker):
        name = "two"

        def propose(self, request: TrackRequest) -> tuple[Track, ...]:
            return Track(np.array([0]), small), Track(np.array([0]), large)

    query = SubQueries("it", "it", "it", "given")
    for rule, chosen in (("share", 0), ("centre", 1)):
        pipeline = Pipeline(session, Settings(joint=JointSettings(track_cells=rule)), Two())
        found = pipeline.ground_maps(frames, query, BranchMaps(corner, corner, {}))
        assert found.chosen_track == chosen, rule
