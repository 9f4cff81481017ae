"""Which source frames a model sees. Knows presentation times, no files and no pictures."""

import math

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core.config import SamplingSettings
from stvg_core.values import VideoInfo


def sample_indices(info: VideoInfo, settings: SamplingSettings) -> Int64[np.ndarray, " frame"]:
    """Return the source frames to read: 0-based, never decreasing.

    Mode `uniform` (paper section 4.1: 20 frames) spreads `frame_count` frames evenly from the first to
    the last source frame; where the video has fewer, frames repeat. Mode `fps` takes the frame nearest
    to every tick of `frames_per_second` by presentation time (the earlier of two equally near), so it is
    right for variable frame rates; where that gives more than `maximum_frame_count`, evenly spread ticks
    are kept.

    >>> info = VideoInfo("a.mp4", 64, 48, 10.0, 0.5, np.array([0.0, 0.1, 0.2, 0.3, 0.4]))
    >>> sample_indices(info, SamplingSettings(frame_count=3)).tolist()
    [0, 2, 4]
    >>> sample_indices(info, SamplingSettings(mode="fps", frames_per_second=5)).tolist()
    [0, 2, 4]
    """
    if settings.mode == "uniform":
        return _spread(info.frame_count, settings.frame_count)
    # A tick that falls on the end by rounding alone is not a tick of this video.
    tick_count = max(1, math.ceil(info.duration_seconds * settings.frames_per_second - 1e-6))
    ticks = _spread(tick_count, min(tick_count, settings.maximum_frame_count))
    return _nearest(info.frame_seconds, info.frame_seconds[0] + ticks / settings.frames_per_second)


def _spread(available: int, count: int) -> Int64[np.ndarray, " frame"]:
    return np.linspace(0, available - 1, count).round().astype(np.int64)


def _nearest(
    frame_seconds: Float64[np.ndarray, " source_frame"], wanted_seconds: Float64[np.ndarray, " frame"]
) -> Int64[np.ndarray, " frame"]:
    after = np.searchsorted(frame_seconds, wanted_seconds).clip(0, len(frame_seconds) - 1)
    before = (after - 1).clip(0)
    earlier = wanted_seconds - frame_seconds[before] <= np.abs(frame_seconds[after] - wanted_seconds)
    return np.where(earlier, before, after).astype(np.int64)
