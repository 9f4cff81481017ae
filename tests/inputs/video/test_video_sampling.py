"""Which frames are sampled, against the plainest way to say it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.inputs.video import sample_indices
from stvg_core.settings import SamplingSettings
from stvg_core.values import VideoInfo


def video(frame_seconds, last_seconds=0.04):
    times = np.array(frame_seconds, np.float64)
    duration = float(times[-1] - times[0]) + last_seconds
    return VideoInfo("clip.mp4", 64, 48, len(times) / duration, duration, times)


@given(frames=st.integers(1, 500), count=st.integers(1, 200))
def test_uniform_is_a_rounded_line(frames, count):
    indices = sample_indices(video(np.arange(frames) / 25), SamplingSettings(frame_count=count))
    assert len(indices) == count
    assert indices[0] == 0
    assert count == 1 or indices[-1] == frames - 1
    for position, index in enumerate(indices.tolist()):
        exact = position * (frames - 1) / (count - 1) if count > 1 else 0
        assert abs(index - exact) <= 0.5 + 1e-9
    assert (np.diff(indices) >= 0).all()


@given(
    gaps=st.lists(st.integers(0, 3000), min_size=0, max_size=60),
    start=st.integers(0, 5000),
    rate=st.sampled_from([0.5, 1.0, 2.0, 3.3, 25.0]),
    maximum=st.integers(1, 400),
)
def test_rate_takes_the_nearest_frame_to_every_tick(gaps, start, rate, maximum):
    times = (start + np.cumsum([0, *gaps])) / 1000
    info = video(times)
    settings = SamplingSettings(mode="fps", frames_per_second=rate, maximum_frame_count=maximum)
    ticks = []
    while not ticks or len(ticks) / rate < info.duration_seconds - 1e-6 / rate:
        ticks.append(times[0] + len(ticks) / rate)
    if len(ticks) > maximum:
        ticks = [ticks[round(position)] for position in np.linspace(0, len(ticks) - 1, maximum)]
    indices = sample_indices(info, settings)
    assert len(indices) == len(ticks)
    assert (np.diff(indices) >= 0).all()
    for tick, index in zip(ticks, indices, strict=True):
        assert abs(times[index] - tick) <= np.abs(times - tick).min() + 1e-9


def test_a_rate_above_the_videos_own_repeats_frames():
    settings = SamplingSettings(mode="fps", frames_per_second=4)
    assert sample_indices(video([0, 0.5, 1.0], 0.5), settings).tolist() == [0, 0, 1, 1, 2, 2]


def test_absurd_durations_cost_nothing():
    settings = SamplingSettings(mode="fps", frames_per_second=1000.0, maximum_frame_count=6)
    assert sample_indices(video([0.0, 1e12]), settings).tolist() == [0, 0, 0, 1, 1, 1]
