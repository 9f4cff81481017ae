import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.method.pipeline import score_track_frames
from stvg_core.method.scores import score_tracks
from stvg_core.method.tube import assemble_tube, choose_span
from stvg_core.metrics import box_iou, tube_overlap
from stvg_core.settings import JointSettings
from stvg_core.values import FrameMaps, Frames, Track, Tube, VideoInfo

SCORES = st.lists(st.floats(0, 10), min_size=1, max_size=12)


def video(frame_count: int = 50, indices: tuple[int, ...] = (0, 10, 20, 30, 49)) -> Frames:
    info = VideoInfo("clip.mp4", 64, 48, 10.0, frame_count / 10, np.arange(frame_count) / 10)
    return Frames(info, np.array(indices), np.zeros((len(indices), 4, 4, 3), dtype=np.uint8))


@given(SCORES, st.integers(1, 12), st.sampled_from(["top_k", "contiguous"]))
def test_a_span_holds_the_peak_and_lies_inside(scores: list[float], count: int, boundary: str) -> None:
    first, last = choose_span(np.array(scores), JointSettings(boundary=boundary, span_frame_count=count))
    assert 0 <= first <= last < len(scores)
    assert first <= int(np.argmax(scores)) <= last
    if boundary == "contiguous":
        assert last - first + 1 == min(count, len(scores))


@given(st.permutations(range(9)), st.integers(1, 9))
def test_top_k_is_the_hull_of_the_best(order: list[int], count: int) -> None:
    span = choose_span(np.array(order, dtype=np.float64), JointSettings(boundary="top_k", span_frame_count=count))
    best = sorted(range(9), key=lambda frame: -order[frame])[:count]
    assert span == (min(best), max(best))


def test_growth_takes_the_better_neighbour() -> None:
    scores = np.array([9.0, 1.0, 3.0, 10.0, 4.0, 5.0, 0.0])
    growth = [
        choose_span(scores, JointSettings(boundary="contiguous", span_frame_count=count)) for count in range(1, 6)
    ]
    assert growth == [(3, 3), (3, 4), (3, 5), (2, 5), (1, 5)]


def test_a_tie_ends_growth_where_the_released_code_ends_it() -> None:
    scores = np.array([1.0, 2.0, 5.0, 2.0, 1.0])
    settings = JointSettings(boundary="contiguous", span_frame_count=4)
    assert choose_span(scores, settings.model_copy(update={"stop_growth_at_ties": True})) == (2, 2)
    assert choose_span(scores, settings) == (1, 4)


def test_the_tube_ends_at_sampled_frames_or_half_way() -> None:
    track = Track(np.array([0, 49]), np.array([[0.0, 0, 10, 10], [49.0, 0, 59, 10]]))
    at_samples = assemble_tube(track, (1, 2), video(), JointSettings())
    assert (at_samples.start_frame, at_samples.end_frame) == (10, 20)
    assert at_samples.span.end_seconds == pytest.approx(2.1)
    np.testing.assert_allclose(at_samples.boxes_xyxy[3], [13, 0, 23, 10])
    half_way = assemble_tube(track, (1, 2), video(), JointSettings(boundary_extent="midpoint"))
    assert (half_way.start_frame, half_way.end_frame) == (6, 25)
    whole = assemble_tube(track, (0, 4), video(), JointSettings(boundary_extent="midpoint"))
    assert (whole.start_frame, whole.end_frame) == (0, 49)


def test_boxes_are_cut_at_the_picture_and_held_beyond_the_track() -> None:
    track = Track(np.array([10, 20]), np.array([[-5.0, 0, 10, 10], [40.0, 0, 90, 70]]))
    tube = assemble_tube(track, (0, 4), video(), JointSettings())
    assert tube.boxes_xyxy[0].tolist() == [0, 0, 10, 10]
    assert tube.boxes_xyxy[-1].tolist() == [40, 0, 64, 48]


def test_a_one_frame_video_gives_a_one_frame_tube() -> None:
    frames = video(1, (0, 0, 0))
    tube = assemble_tube(Track(np.array([0]), np.array([[0.0, 0, 5, 5]])), (0, 2), frames, JointSettings())
    assert (tube.start_frame, tube.end_frame) == (0, 0)


def test_tracks_are_scored_by_their_peak_or_mean() -> None:
    maps = FrameMaps(np.array([[[4.0, 0.0], [1.0, 1.0]]]))
    coverage = np.zeros((2, 1, 2, 2))
    coverage[0, 0, 0] = [1.0, 1.0]
    coverage[1, 0, 1] = [1.0, 0.5]
    flat = FrameMaps(np.ones((1, 2, 2)))
    assert score_tracks(maps, flat, coverage, JointSettings()).tolist() == [4.0, 1.0]
    assert score_tracks(maps, flat, coverage, JointSettings(track_pooling="mean")).tolist() == [2.0, 1.0]


def test_the_action_branch_can_overrule_the_attribute_branch() -> None:
    spatial, temporal = FrameMaps(np.array([[[3.0, 2.0]]])), FrameMaps(np.array([[[1.0, 9.0]]]))
    coverage = np.array([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    assert score_tracks(spatial, temporal, coverage, JointSettings()).argmax() == 0
    assert score_tracks(spatial, temporal, coverage, JointSettings(track_branches="product")).argmax() == 1


def test_frame_scores_ignore_attention_outside_the_track() -> None:
    maps = FrameMaps(np.array([[[9.0, 1.0]], [[0.0, 2.0]]]))
    coverage = np.array([[[0.0, 1.0]], [[0.0, 1.0]]])
    right = Track(np.array([0, 49]), np.tile([48.0, 0.0, 64.0, 48.0], (2, 1)))
    frames = video(indices=(0, 49))
    for rule in ("cells", "pixels"):
        found = score_track_frames(frames, right, coverage, maps, JointSettings(frame_scores=rule))
        assert found.tolist() == ([1.0, 2.0] if rule == "cells" else pytest.approx([1.0, 2.0], abs=0.01)), rule
    halved = score_track_frames(frames, right, coverage / 2, maps, JointSettings())
    assert halved.tolist() == [0.5, 1.0], "a cell counts by what the track covers of it"


@pytest.mark.parametrize("boundary", ["top_k", "contiguous"])
@given(scores=SCORES, share=st.floats(0.01, 1.0))
def test_a_span_is_its_share_of_the_frames(boundary: str, scores: list[float], share: float) -> None:
    settings = JointSettings(boundary=boundary, span_share=share)
    counted = settings.model_copy(update={"span_frame_count": max(1, round(share * len(scores)))})
    assert choose_span(np.array(scores), settings) == choose_span(np.array(scores), counted)
    first, last = choose_span(np.arange(len(scores), dtype=np.float64), settings)
    assert last - first + 1 == max(1, round(share * len(scores)))


def tube(start: int, boxes: list[list[float]]) -> Tube:
    count = len(boxes)
    return Tube(start, np.array(boxes, dtype=np.float64), np.arange(start, start + count) / 10, (start + count) / 10)


@given(st.integers(0, 8), st.integers(1, 8), st.integers(0, 8), st.integers(1, 8), st.integers(0, 4))
def test_overlap_equals_counting_frames_and_pixels(start: int, length: int, other: int, size: int, shift: int) -> None:
    predicted = tube(start, [[0.0, 0, 4, 4]] * length)
    truth = tube(other, [[float(shift), 0, shift + 4, 4]] * size)
    first, second = set(range(start, start + length)), set(range(other, other + size))
    pixels = {(x, y) for x in range(4) for y in range(4)}
    moved = {(x + shift, y) for x, y in pixels}
    iou = len(pixels & moved) / len(pixels | moved)
    overlap = tube_overlap(predicted, truth)
    assert overlap.temporal_iou == pytest.approx(len(first & second) / len(first | second))
    assert overlap.video_iou == pytest.approx(iou * len(first & second) / len(first | second))
    assert tube_overlap(truth, predicted) == overlap


def test_two_empty_boxes_do_not_overlap() -> None:
    empty = np.array([[1.0, 1.0, 1.0, 1.0]])
    assert box_iou(empty, empty).tolist() == [0.0]


def segments(scores: list[float]) -> list[tuple[int, int]]:
    return [(first, last) for first in range(len(scores)) for last in range(first, len(scores))]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=9), st.sampled_from(["max_sum", "two_level"]))
def test_the_best_segment_is_the_best_of_all(scores: list[int], rule: str) -> None:
    values = np.array(scores, dtype=np.float64)

    def merit(segment: tuple[int, int]) -> float:
        inside = values[segment[0] : segment[1] + 1]
        outside = np.concatenate([values[: segment[0]], values[segment[1] + 1 :]])
        if rule == "max_sum":
            return float((inside - values.mean()).sum())
        if not len(outside) or inside.mean() <= outside.mean():
            return 0.0
        return float(len(inside) * len(outside) * (inside.mean() - outside.mean()) ** 2)

    chosen = choose_span(values, JointSettings(boundary=rule))
    merits = {segment: merit(segment) for segment in segments(scores)}
    if max(merits.values()) < 1e-6:
        assert chosen == (0, len(scores) - 1), "where no frame stands out, all of them"
    else:
        assert merits[chosen] == pytest.approx(max(merits.values()))


@given(SCORES, st.floats(0, 1))
def test_a_threshold_keeps_the_frames_around_the_peak_that_reach_it(scores: list[float], share: float) -> None:
    first, last = choose_span(np.array(scores), JointSettings(boundary="threshold", threshold_share=share))
    peak = int(np.argmax(scores))
    level = min(scores) + share * (max(scores) - min(scores))
    assert first <= peak <= last
    assert all(scores[place] >= level for place in range(first, last + 1) if place != peak)
    for outside in (first - 1, last + 1):
        assert not 0 <= outside < len(scores) or scores[outside] < level


def test_cells_are_multiplied_before_they_are_pooled() -> None:
    spatial = FrameMaps(np.array([[[4.0, 0.0], [1.0, 3.0]]]))
    temporal = FrameMaps(np.array([[[0.0, 5.0], [2.0, 1.0]]]))
    coverage = np.zeros((2, 1, 2, 2))
    coverage[0, 0, 0] = 1.0
    coverage[1, 0, 1] = 1.0
    cells = score_tracks(spatial, temporal, coverage, JointSettings(track_branches="cell_product"))
    assert cells.tolist() == [0.0, 3.0]
    shares = score_tracks(spatial, temporal, coverage, JointSettings(track_branches="product"))
    assert shares[0] > shares[1], "peaks at different cells still multiply"


def test_on_a_logarithmic_scale_a_frame_that_is_a_tenth_of_the_peak_still_counts() -> None:
    scores = np.array([0.0, 0.01, 8.0, 50.0, 5.0, 0.01, 0.0])
    linear = JointSettings(boundary="max_sum")
    assert choose_span(scores, linear) == (3, 3)
    assert choose_span(scores, linear.model_copy(update={"span_scale": "log"})) == (2, 4)


@given(SCORES, st.floats(0.01, 100), st.sampled_from(["max_sum", "two_level", "threshold"]))
def test_a_logarithmic_span_does_not_depend_on_the_unit_of_attention(
    scores: list[float], factor: float, boundary: str
) -> None:
    values = np.array(scores).round(3)
    settings = JointSettings(boundary=boundary, span_scale="log")
    first, last = choose_span(values, settings)
    assert 0 <= first <= last < len(scores)
    # Logarithms of scaled scores differ in the last digits: only a clear choice is the same one.
    if len(set(np.log(np.maximum(values, 1e-4 * values.max() + 1e-300)).round(6))) == len(values):
        assert choose_span(values * factor, settings) == (first, last)
