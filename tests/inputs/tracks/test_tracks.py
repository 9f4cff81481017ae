"""Trackers without a model: linking, regions, attention, cell coverage, catalogue."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_core.errors import PluginError, TrackError, UsageError
from stvg_core.inputs.tracks.boxes import intersection_over_union, keep_best
from stvg_core.inputs.tracks.catalog import open_tracker, tracker_names
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.inputs.tracks.from_attention import AttentionTracker
from stvg_core.inputs.tracks.linking import Detections, LinkRules, link
from stvg_core.inputs.tracks.regions import RegionTracker
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import FrameMaps, Frames, SubQueries, Track, VideoInfo

FAST = settings(max_examples=15, deadline=None)
FEW = settings(max_examples=8, deadline=None)
RED, GREEN, BLUE, WHITE = (215, 40, 40), (40, 180, 60), (45, 70, 220), (240, 240, 240)


def video(width: int, height: int, frame_count: int) -> VideoInfo:
    return VideoInfo("clip.mp4", width, height, 4.0, frame_count / 4, np.arange(frame_count) / 4)


def request(
    pixels: np.ndarray,
    *,
    info: VideoInfo | None = None,
    indices: np.ndarray | None = None,
    maps: np.ndarray | None = None,
) -> TrackRequest:
    info = info or video(pixels.shape[2], pixels.shape[1], len(pixels))
    indices = np.arange(len(pixels)) if indices is None else indices
    attention = FrameMaps(np.ones((len(pixels), 4, 4)) if maps is None else maps)
    return TrackRequest(Frames(info, indices, pixels), SubQueries("a", "a", "a", "test"), attention, attention)


def painted(boxes_per_object: list[tuple[tuple[int, int, int], list[tuple[int, int, int, int] | None]]]) -> np.ndarray:
    """Paint rectangles (None: hidden) on a muted, noisy ground of 96x96 pixels."""
    generator = np.random.default_rng(0)
    count = len(boxes_per_object[0][1])
    ground = np.linspace(60, 130, 96)[None, :, None] + np.linspace(-20, 20, 96)[:, None, None]
    pixels = np.repeat(ground[None] + np.zeros((1, 1, 1, 3)), count, axis=0)
    for color, boxes in boxes_per_object:
        for picture, box in zip(pixels, boxes, strict=True):
            if box is not None:
                picture[box[1] : box[3], box[0] : box[2]] = color
    return np.clip(pixels + generator.normal(0, 9, pixels.shape), 0, 255).astype(np.uint8)


def moving(start_x: int, step: int, y: int, count: int, side: int = 18) -> list[tuple[int, int, int, int]]:
    return [(start_x + step * t, y, start_x + step * t + side, y + side) for t in range(count)]


def best_match(tracks: tuple[Track, ...], truth: list[tuple[int, int, int, int]]) -> tuple[Track, float]:
    frames = np.arange(len(truth))
    overlaps = []
    for track in tracks:
        boxes, exists = track.boxes_at(frames)
        each = np.diagonal(intersection_over_union(boxes, np.array(truth, dtype=np.float64)))
        overlaps.append(float((each * exists).mean()))
    return tracks[int(np.argmax(overlaps))], max(overlaps)


def assert_valid(tracks: tuple[Track, ...], frames: Frames) -> None:
    assert tracks
    for track in tracks:
        assert set(track.frames.tolist()) <= set(frames.indices.tolist())
        assert (track.boxes_xyxy >= 0).all()
        assert (track.boxes_xyxy[:, [0, 2]] <= frames.info.width).all()
        assert (track.boxes_xyxy[:, [1, 3]] <= frames.info.height).all()


# ---- linking


def seen(*boxes: tuple[float, float, float, float], look: tuple[float, ...] | None = None) -> Detections:
    looks = np.array(look if look is not None else [0.0] * len(boxes), dtype=np.float64).reshape(len(boxes), 1)
    return Detections(np.array(boxes, dtype=np.float64).reshape(-1, 4), looks, np.ones(len(boxes)))


def test_a_gap_is_bridged_up_to_its_limit_and_no_further():
    gone = [seen()] * 3
    pictures = [seen((0, 0, 10, 10)), *gone, seen((0, 0, 10, 10))]
    assert [chain.positions for chain in link(pictures, LinkRules(longest_gap=3))] == [[0, 4]]
    assert [chain.positions for chain in link(pictures, LinkRules(longest_gap=2))] == [[0], [4]]


def test_velocity_keeps_two_alike_objects_apart_when_they_cross():
    pictures = [seen((8 * t, 0, 8 * t + 10, 10), (68 - 8 * t, 0, 78 - 8 * t, 10)) for t in range(9)]
    chains = link(pictures, LinkRules())
    assert [len(chain.positions) for chain in chains] == [9, 9]
    assert [float(chain.boxes[-1][0]) for chain in chains] == [64.0, 4.0]


def test_another_color_in_the_same_place_is_another_object():
    pictures = [seen((0, 0, 10, 10), look=(0,)), seen((0, 0, 10, 10), look=(60,))]
    assert [chain.positions for chain in link(pictures, LinkRules())] == [[0], [1]]


def test_appearance_decides_where_place_does_not():
    pictures = [seen((0, 0, 10, 10), (4, 0, 14, 10), look=(0, 60)), seen((4, 0, 14, 10), (0, 0, 10, 10), look=(0, 60))]
    chains = link(pictures, LinkRules())
    assert [[float(look[0]) for look in chain.appearances] for chain in chains] == [[0, 0], [60, 60]]


@FAST
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 2**31))
def test_every_box_belongs_to_exactly_one_chain(counts: list[int], seed: int):
    generator = np.random.default_rng(seed)
    pictures = []
    for count in counts:
        low = generator.uniform(0, 40, (count, 2))
        boxes = np.concatenate([low, low + generator.uniform(1, 30, (count, 2))], axis=1)
        pictures.append(Detections(boxes, generator.uniform(0, 40, (count, 3)), generator.uniform(0, 1, count)))
    chains = link(pictures, LinkRules())
    assert sum(len(chain.positions) for chain in chains) == sum(counts)
    assert all((np.diff(chain.positions) > 0).all() for chain in chains)


def test_keep_best_leaves_no_two_that_overlap():
    generator = np.random.default_rng(3)
    low = generator.uniform(0, 30, (60, 2))
    boxes = np.concatenate([low, low + generator.uniform(5, 30, (60, 2))], axis=1)
    scores = generator.uniform(0, 1, 60)
    kept = keep_best(boxes, scores, 0.4)
    assert (np.diff(scores[kept]) <= 0).all()
    overlap = intersection_over_union(boxes[kept], boxes[kept])
    assert overlap[~np.eye(len(kept), dtype=bool)].max() <= 0.4
    for dropped in set(range(60)) - set(kept.tolist()):
        better = kept[scores[kept] >= scores[dropped]]
        assert intersection_over_union(boxes[[dropped]], boxes[better]).max() > 0.4


# ---- regions


def test_regions_finds_moving_still_and_blinking_objects():
    still = [(60, 10, 80, 30)] * 12
    run, blinking = moving(6, 5, 60, 12), [(30, 20, 48, 38)] * 12
    shown = [None if 4 <= t < 6 or 8 <= t < 10 else box for t, box in enumerate(blinking)]
    tracks = RegionTracker().propose(request(painted([(RED, run), (WHITE, still), (BLUE, shown)])))
    for truth in (run, still, blinking):
        assert best_match(tracks, truth)[1] > 0.8


def test_regions_holds_an_object_that_is_hidden_when_the_clip_ends():
    truth = [(30, 20, 48, 38)] * 12
    tracks = RegionTracker().propose(request(painted([(BLUE, [*truth[:-2], None, None])])))
    track, overlap = best_match(tracks, truth)
    assert track.frames[-1] == 11
    assert overlap > 0.8


def test_regions_keeps_identity_when_objects_of_different_color_cross():
    right, left = moving(4, 6, 38, 12), moving(74, -6, 42, 12)
    tracks = RegionTracker().propose(request(painted([(GREEN, right), (RED, left)])))
    for truth in (right, left):
        track, overlap = best_match(tracks, truth)
        assert overlap > 0.6
        assert track.frames[0] == 0
        assert track.frames[-1] == 11


def test_regions_answers_in_pixels_of_the_video():
    truth = [(30, 20, 48, 38)] * 6
    pixels = painted([(RED, truth)])
    info = video(960, 480, 60)
    tracks = RegionTracker().propose(request(pixels, info=info, indices=np.arange(0, 60, 10)))
    wanted = np.array(truth[0]) * [10, 5, 10, 5]
    assert np.abs(tracks[0].boxes_xyxy - wanted).max() <= 20
    assert tracks[0].frames.tolist() == [0, 10, 20, 30, 40, 50]


def test_regions_says_so_when_nothing_stands_out():
    with pytest.raises(TrackError, match="use the tracker attention"):
        RegionTracker().propose(request(np.full((4, 40, 60, 3), 90, dtype=np.uint8)))


@FEW
@given(
    st.integers(1, 40), st.integers(1, 40), st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 2**31)
)
def test_regions_gives_valid_tracks_or_says_that_there_are_none(width: int, height: int, sampled: list[int], seed: int):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (len(sampled), height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    pixels = coarse.repeat(6, axis=1).repeat(6, axis=2)[:, :height, :width]
    wanted = request(pixels, info=video(3 * width, 2 * height, 7), indices=np.sort(sampled))
    try:
        tracks = RegionTracker().propose(wanted)
    except TrackError:
        return
    assert_valid(tracks, wanted.frames)
    assert len(tracks) <= RegionTracker().most_tracks
    again = RegionTracker().propose(wanted)
    assert [track.boxes_xyxy.tolist() for track in tracks] == [track.boxes_xyxy.tolist() for track in again]


# ---- attention


def test_attention_follows_the_peak_and_bridges_a_weak_frame():
    maps = np.full((8, 12, 12), 0.1)
    for frame in range(8):
        maps[frame, 5:7, frame + 1 : frame + 3] = 1.0
    maps[4] = 0.1
    pixels = np.zeros((8, 60, 120, 3), dtype=np.uint8)
    track = AttentionTracker().propose(request(pixels, maps=maps))[0]
    boxes, exists = track.boxes_at(np.arange(8))
    assert exists.all()
    truth = np.array([[10.0 * (t + 1), 25, 10.0 * (t + 3), 35] for t in range(8)])
    assert np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - (truth[:, :2] + truth[:, 2:]) / 2).max() < 3
    assert np.diagonal(intersection_over_union(boxes, truth)).min() > 0.5


def test_attention_offers_what_only_one_branch_sees():
    spatial, temporal = np.full((4, 10, 10), 0.1), np.full((4, 10, 10), 0.1)
    spatial[:, 1:3, 1:3], temporal[:, 7:9, 7:9] = 1.0, 1.0
    base = request(np.zeros((4, 100, 100, 3), dtype=np.uint8))
    wanted = TrackRequest(base.frames, base.sub_queries, FrameMaps(spatial), FrameMaps(temporal))
    tracks = AttentionTracker().propose(wanted)
    assert best_match(tracks, [(10, 10, 30, 30)] * 4)[1] > 0.5
    assert best_match(tracks, [(70, 70, 90, 90)] * 4)[1] > 0.5


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_flat_attention_is_the_whole_picture(level: float):
    pixels = np.zeros((3, 20, 30, 3), dtype=np.uint8)
    (track,) = AttentionTracker().propose(request(pixels, maps=np.full((3, 4, 4), level)))
    assert track.boxes_xyxy.tolist() == [[0, 0, 30, 20]] * 3


def test_attention_refuses_maps_that_do_not_fit_the_frames():
    with pytest.raises(TrackError, match="one attention map per sampled frame"):
        AttentionTracker().propose(request(np.zeros((3, 20, 30, 3), dtype=np.uint8), maps=np.ones((2, 4, 4))))


@FEW
@given(
    st.integers(1, 12), st.integers(1, 12), st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 2**31),
    st.sampled_from([1e-300, 1.0, 1e300]),
)  # fmt: skip
def test_any_maps_give_valid_tracks(rows: int, columns: int, sampled: list[int], seed: int, size: float):
    generator = np.random.default_rng(seed)
    maps = generator.uniform(0, size, (len(sampled), rows, columns)) * generator.integers(0, 2, (len(sampled), 1, 1))
    pixels = np.zeros((len(sampled), 8, 8, 3), dtype=np.uint8)
    wanted = request(pixels, info=video(37, 91, 10), indices=np.sort(sampled), maps=maps)
    tracks = AttentionTracker().propose(wanted)
    assert_valid(tracks, wanted.frames)
    again = AttentionTracker().propose(wanted)
    assert [track.boxes_xyxy.tolist() for track in tracks] == [track.boxes_xyxy.tolist() for track in again]


# ---- cells


@FAST
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_cell_coverage_agrees_with_counting_pixels(rows: int, columns: int, tall: int, wide: int, seed: int):
    height, width = tall * rows, wide * columns
    generator = np.random.default_rng(seed)
    tracks = []
    for _ in range(3):
        x, y = (np.sort(generator.choice(side + 1, 2, replace=False)) for side in (width, height))
        box = np.array([x[0], y[0], x[1], y[1]], dtype=np.float64)
        frames = np.sort(generator.choice(6, 2, replace=False))
        tracks.append(Track(frames, np.stack([box, box])))
    indices = np.array([0, 1, 3, 3, 5])
    shares = cell_coverage(tracks, indices, video(width, height, 6), rows, columns)
    for (t, track), (f, frame) in itertools.product(enumerate(tracks), enumerate(indices)):
        picture = np.zeros((height, width))
        if track.frames[0] <= frame <= track.frames[-1]:
            x0, y0, x1, y1 = track.boxes_xyxy[0].astype(int)
            picture[y0:y1, x0:x1] = 1.0
        counted = picture.reshape(rows, tall, columns, wide).mean(axis=(1, 3))
        np.testing.assert_allclose(shares[t, f], counted, atol=1e-12)


def test_cell_coverage_interpolates_between_key_boxes():
    track = Track(np.array([0, 4]), np.array([[0.0, 0, 10, 10], [20.0, 0, 30, 10]]))
    shares = cell_coverage([track], np.array([2]), video(40, 10, 5), 1, 4)
    np.testing.assert_allclose(shares[0, 0, 0], [0, 1, 0, 0])


def test_cell_coverage_of_no_tracks_is_empty():
    assert cell_coverage([], np.array([0, 1]), video(4, 4, 2), 2, 3).shape == (0, 2, 2, 3)


# ---- catalogue


def install(folder: Path, name: str, entry: str, code: str = "") -> None:
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[stvg.trackers]\n{entry} = {module}:Here\n")


WORKING = """
from stvg_core.plugin import Tracker


class Here(Tracker):
    name = "mine"

    def propose(self, request):
        return ()
"""


@pytest.mark.parametrize("name", ["attention", "regions"])
def test_built_in_trackers_open(name: str):
    tracker = open_tracker(name)
    assert isinstance(tracker, Tracker)
    assert tracker.name == name


def test_a_plugin_opens_and_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, "tracker-that-works", "mine", WORKING)
    monkeypatch.syspath_prepend(tmp_path)
    assert open_tracker("mine").name == "mine"
    assert "mine" in tracker_names()


@pytest.mark.parametrize(
    ("suffix", "code", "said"),
    [
        ("import", "import a_library_that_is_absent", "ModuleNotFoundError"),
        (
            "create",
            f"{WORKING}\n    def __init__(self):\n        raise ValueError('two\\nlines')",
            "ValueError: two lines",
        ),
        ("type", "Here = 3", "a subclass of Tracker, got int"),
    ],
)
def test_a_broken_plugin_is_named_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, code: str, said: str
):
    install(tmp_path, f"tracker-broken-{suffix}", "broken", code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError) as caught:
        open_tracker("broken")
    assert said in str(caught.value)
    assert f"tracker-broken-{suffix}" in str(caught.value)
    assert "pip install" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_plugins_of_one_name_are_both_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, "tracker-first", "same", WORKING)
    install(tmp_path, "tracker-second", "same", WORKING)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="tracker-first and tracker-second"):
        open_tracker("same")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match="did you mean regions"):
        open_tracker("region")
