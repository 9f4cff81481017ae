"""Spoiled tracks are spoiled by the stated amount, and stay valid tracks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_core.errors import UsageError
from stvg_core.inputs.tracks.noise import DROP_OUT_FRAMES, NoisyTracker, TrackNoise
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import FrameMaps, Frames, SubQueries, Track, VideoInfo
from stvg_tiny.clips import CLIP_PIXELS, OracleTracker
from stvg_tiny.sampling import Split, held_out_scene

FRAMES = 128
REQUEST = TrackRequest(
    Frames(
        VideoInfo("clip.mp4", CLIP_PIXELS, CLIP_PIXELS, 20.0, FRAMES / 20, np.arange(FRAMES) / 20),
        np.array([0, FRAMES - 1]),
        np.zeros((2, CLIP_PIXELS, CLIP_PIXELS, 3), np.uint8),
    ),
    SubQueries("a", "a", "a", "rules"),
    FrameMaps(np.ones((2, 1, 1))),
    FrameMaps(np.ones((2, 1, 1))),
)
ORACLE = OracleTracker(held_out_scene(Split.DEVELOPMENT, 3, "hard"), CLIP_PIXELS)


class Given(Tracker):
    """A tracker that proposes what it was given."""

    name = "given"

    def __init__(self, *tracks: Track) -> None:
        self.tracks = tracks

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        return self.tracks


def spoiled(noise: TrackNoise, seed: int = 0, tracker: object = ORACLE) -> tuple[Track, ...]:
    return NoisyTracker(tracker, noise, seed).propose(REQUEST)


def same(first: tuple[Track, ...], second: tuple[Track, ...]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(one.frames, other.frames) and np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
        for one, other in zip(first, second, strict=True)
    )


def test_without_noise_nothing_changes() -> None:
    assert same(spoiled(TrackNoise()), ORACLE.tracks())


@pytest.mark.parametrize("noise", [TrackNoise(jitter=0.1), TrackNoise(drop_out=0.5), TrackNoise(switches=2)])
def test_the_seed_decides(noise: TrackNoise) -> None:
    assert same(spoiled(noise, seed=1), spoiled(noise, seed=1))
    assert not same(spoiled(noise, seed=1), spoiled(noise, seed=2))


@pytest.mark.parametrize("level", [0.05, 0.1, 0.2])
def test_jitter_has_the_stated_spread(level: float) -> None:
    # In the middle of the picture, so that no box is cut.
    box = np.tile([86.0, 81.0, 106.0, 111.0], (FRAMES, 1))
    tracks = tuple(Track(np.arange(FRAMES), box) for _ in range(20))
    found = np.concatenate([track.boxes_xyxy for track in spoiled(TrackNoise(jitter=level), tracker=Given(*tracks))])
    width, height = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    across, down = (found[:, 0] + found[:, 2]) / 2 - 96, (found[:, 1] + found[:, 3]) / 2 - 96
    for values in (across / 20, down / 30, np.log(width / 20), np.log(height / 30)):
        assert abs(values.mean()) < 0.1 * level
        assert values.std() == pytest.approx(level, rel=0.1)
    assert abs(np.corrcoef(across[1:], across[:-1])[0, 1]) < 0.1


def test_drop_outs_lose_whole_stretches_and_change_no_box() -> None:
    lost = []
    for seed in range(40):
        for before, after in zip(ORACLE.tracks(), spoiled(TrackNoise(drop_out=0.25), seed), strict=True):
            np.testing.assert_array_equal(after.boxes_xyxy, before.boxes_xyxy[after.frames])
            per_stretch = np.bincount(after.frames // DROP_OUT_FRAMES, minlength=FRAMES // DROP_OUT_FRAMES)
            assert set(per_stretch) <= {0, DROP_OUT_FRAMES}
            lost.append(float((per_stretch == 0).mean()))
    assert np.mean(lost) == pytest.approx(0.25, abs=0.04)


def test_a_track_is_never_lost_altogether() -> None:
    assert all(len(track.frames) == DROP_OUT_FRAMES for track in spoiled(TrackNoise(drop_out=1.0)))


@pytest.mark.parametrize("seed", range(8))
def test_one_switch_exchanges_two_tracks_from_one_frame_on(seed: int) -> None:
    before = np.stack([track.boxes_xyxy for track in ORACLE.tracks()])
    after = np.stack([track.boxes_xyxy for track in spoiled(TrackNoise(switches=1), seed)])
    changed = (before != after).any(axis=2)
    rows = np.flatnonzero(changed.any(axis=1))
    assert len(rows) == 2
    frame = int(np.flatnonzero(changed.any(axis=0))[0])
    assert frame >= 1
    np.testing.assert_array_equal(after[rows][:, frame:], before[rows[::-1]][:, frame:])
    np.testing.assert_array_equal(after[:, :frame], before[:, :frame])


def test_a_single_track_has_nothing_to_switch_with() -> None:
    alone = Given(ORACLE.tracks()[0])
    assert same(spoiled(TrackNoise(switches=5), tracker=alone), alone.tracks)


@settings(max_examples=80, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 126), st.integers(1, 60)), min_size=1, max_size=5),
    jitter=st.floats(0, 2),
    drop_out=st.floats(0, 1),
    switches=st.integers(0, 6),
    seed=st.integers(0, 2**31),
)
def test_any_noise_on_any_tracks_yields_valid_tracks(
    spans: list[tuple[int, int]], jitter: float, drop_out: float, switches: int, seed: int
) -> None:
    tracks = []
    for first, length in spans:
        frames = np.arange(first, min(first + length, FRAMES))
        tracks.append(Track(frames, np.tile([0.0, 0.0, 20.0, 30.0], (len(frames), 1))))
    found = spoiled(TrackNoise(jitter, drop_out, switches), seed, Given(*tracks))
    assert len(found) == len(tracks)
    for track in found:
        assert (track.boxes_xyxy >= 0).all()
        assert (track.boxes_xyxy <= CLIP_PIXELS).all()
        assert track.frames[-1] < FRAMES


@pytest.mark.parametrize("wrong", [{"jitter": -0.1}, {"drop_out": 1.5}, {"switches": -1}])
def test_impossible_levels_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TrackNoise(**wrong)
