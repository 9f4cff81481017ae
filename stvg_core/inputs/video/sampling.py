"""Which source frames a model sees. Knows presentation times, no files and no images."""

import math

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core.settings import SamplingSettings
from stvg_core.values import Frames, VideoInfo


def sample_indices(
    info: VideoInfo, settings: SamplingSettings, segment: tuple[int, int] | None = None
) -> Int64[np.ndarray, " frame"]:
    """Return the source frames to read: 0-based, never decreasing.

    Mode `uniform` (paper section 4.1: 20 frames) spreads `frame_count` frames evenly from the first to
    the last source frame; where the video has fewer, frames repeat. Mode `fps` takes the frame nearest
    to every tick of `frames_per_second` by presentation time (the earlier of two equally near), so it is
    right for variable frame rates; where that gives more than `maximum_frame_count`, evenly spread ticks
    are kept.

    Args:
        info: the video.
        settings: which frames.
        segment: first and last source frame (inclusive) to sample from; None: the whole video.

    >>> info = VideoInfo("a.mp4", 64, 48, 10.0, 0.5, np.array([0.0, 0.1, 0.2, 0.3, 0.4]))
    >>> sample_indices(info, SamplingSettings(frame_count=3)).tolist()
    [0, 2, 4]
    >>> sample_indices(info, SamplingSettings(mode="fps", frames_per_second=5)).tolist()
    [0, 2, 4]
    >>> sample_indices(info, SamplingSettings(frame_count=2), segment=(1, 3)).tolist()
    [1, 3]
    """
    first, last = (0, info.frame_count - 1) if segment is None else segment
    if settings.mode == "uniform":
        return _spread(first, last, settings.frame_count)
    seconds = info.frame_seconds[first : last + 1]
    duration_seconds = info.duration_seconds if segment is None else info.frame_end_seconds(last) - float(seconds[0])
    # A tick that falls on the end by rounding alone is not a tick of this video.
    tick_count = max(1, math.ceil(duration_seconds * settings.frames_per_second - 1e-6))
    ticks = _spread(0, tick_count - 1, min(tick_count, settings.maximum_frame_count))
    return first + _nearest(seconds, seconds[0] + ticks / settings.frames_per_second)


def lost_frame_count(frames: Frames, settings: SamplingSettings) -> int:
    """Return how many sampled frames did not decode, so that neighbours stand in for them."""
    return int((sample_indices(frames.info, settings, frames.segment) != frames.indices).sum())


def _spread(first: int, last: int, count: int) -> Int64[np.ndarray, " frame"]:
    return np.linspace(first, last, count).round().astype(np.int64)


def _nearest(
    frame_seconds: Float64[np.ndarray, " source_frame"], target_seconds: Float64[np.ndarray, " frame"]
) -> Int64[np.ndarray, " frame"]:
    after = np.searchsorted(frame_seconds, target_seconds).clip(0, len(frame_seconds) - 1)
    before = (after - 1).clip(0)
    earlier = target_seconds - frame_seconds[before] <= np.abs(frame_seconds[after] - target_seconds)
    return np.where(earlier, before, after).astype(np.int64)
