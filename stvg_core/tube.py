"""From frame scores to a span, and from a span and a track to the tube.

Paper section 3.5; released code: evaluation_llava_att. Pure functions.
"""

import numpy as np
from jaxtyping import Float64

from stvg_core.config import JointSettings
from stvg_core.values import Frames, Track, Tube


def choose_span(scores: Float64[np.ndarray, " frame"], settings: JointSettings) -> tuple[int, int]:
    """Return the first and last sampled frame of the span, inclusive.

    top_k: hull of the K best frames (earlier frames win ties). contiguous: start at the
    peak and take the better neighbour until K frames are in.

    >>> scores = np.array([0.0, 1.0, 9.0, 2.0, 0.0, 3.0])
    >>> choose_span(scores, JointSettings(boundary="top_k", span_frame_count=2))
    (2, 5)
    >>> choose_span(scores, JointSettings(boundary="contiguous", span_frame_count=3))
    (1, 3)
    """
    count = min(settings.span_frame_count, len(scores))
    if settings.boundary == "top_k":
        best = np.argsort(-scores, kind="stable")[:count]
        return int(best.min()), int(best.max())
    return _grow(scores, count, settings.stop_growth_at_ties)


def _grow(scores: Float64[np.ndarray, " frame"], count: int, stop_at_ties: bool) -> tuple[int, int]:
    first = last = int(scores.argmax())
    while last - first + 1 < count:
        left = scores[first - 1] if first > 0 else -np.inf
        right = scores[last + 1] if last + 1 < len(scores) else -np.inf
        if left == right and stop_at_ties:
            break
        if left > right:
            first -= 1
        else:
            last += 1
    return first, last


def assemble_tube(track: Track, span: tuple[int, int], frames: Frames, settings: JointSettings) -> Tube:
    """Return one box per source frame from the span's start to its end.

    Between the track's key boxes boxes are interpolated; where the span reaches beyond the
    track its nearest box is held. Boxes are cut at the picture's edge.
    """
    start, end = _source_bounds(span, frames, settings)
    numbers = np.arange(start, end + 1)
    boxes, _ = track.boxes_at(numbers)
    size = np.array([frames.info.width, frames.info.height] * 2, dtype=np.float64)
    return Tube(
        start_frame=start,
        boxes_xyxy=np.clip(boxes, 0.0, size),
        frame_seconds=frames.info.frame_seconds[start : end + 1],
        end_seconds=frames.info.frame_end_seconds(end),
    )


def _source_bounds(span: tuple[int, int], frames: Frames, settings: JointSettings) -> tuple[int, int]:
    first, last = span
    start, end = int(frames.indices[first]), int(frames.indices[last])
    if settings.boundary_extent == "sample":
        return start, end
    if first > 0:
        start = (int(frames.indices[first - 1]) + start) // 2 + 1
    if last + 1 < len(frames):
        end = (end + int(frames.indices[last + 1])) // 2
    return min(start, int(frames.indices[first])), max(end, int(frames.indices[last]))
