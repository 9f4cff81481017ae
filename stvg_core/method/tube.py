"""The span from frame scores, and the tube from a span and a track.

Paper section 3.5; released code: evaluation_llava_att. Pure functions.
"""

from typing import Final

import numpy as np
from jaxtyping import Float64

from stvg_core.settings import JointSettings
from stvg_core.values import Frames, Track, Tube

_LOWEST_SHARE: Final = 1e-4


def choose_span(scores: Float64[np.ndarray, " frame"], settings: JointSettings) -> tuple[int, int]:
    """Return the first and last sampled frame of the span, inclusive.

    K is settings.span_length of the frames. top_k: hull of the K best frames (earlier frames
    win ties). contiguous: start at the peak and take the better neighbour until K frames are
    in. The others need no length. threshold: the frames around the peak that reach a level
    between the lowest and the highest score. max_sum: the segment with the largest sum of
    scores less their mean. two_level: the segment whose frames differ most from the others,
    as two constants (Otsu's between-class variance, IEEE Transactions SMC 1979, over
    segments). With settings.span_scale `log` these three see logarithms, as attention falls
    off by factors.

    >>> scores = np.array([0.0, 1.0, 9.0, 2.0, 0.0, 3.0])
    >>> choose_span(scores, JointSettings(boundary="top_k", span_frame_count=2))
    (2, 5)
    >>> choose_span(scores, JointSettings(boundary="contiguous", span_frame_count=3))
    (1, 3)
    >>> [choose_span(scores, JointSettings(boundary=rule)) for rule in ("threshold", "max_sum", "two_level")]
    [(2, 2), (2, 2), (2, 2)]
    >>> choose_span(np.array([0.0, 4.0, 9.0, 2.0, 8.0, 1.0]), JointSettings(boundary="two_level"))
    (1, 4)
    """
    if settings.boundary in ("threshold", "max_sum", "two_level"):
        scaled = _logarithms(scores) if settings.span_scale == "log" else scores
        if settings.boundary == "threshold":
            return _around_peak(scaled, settings.threshold_share)
        return _best_segment(scaled, settings.boundary)
    count = min(settings.span_length(len(scores)), len(scores))
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


def _logarithms(scores: Float64[np.ndarray, " frame"]) -> Float64[np.ndarray, " frame"]:
    """Return logarithms of scores; those under a share of the peak count as that share, else a 0 would decide alone."""
    floor = max(_LOWEST_SHARE * float(scores.max()), float(np.finfo(np.float64).tiny))
    return np.asarray(np.log(np.maximum(scores, floor)), dtype=np.float64)


def _around_peak(scores: Float64[np.ndarray, " frame"], share: float) -> tuple[int, int]:
    lowest, peak = float(scores.min()), int(scores.argmax())
    reaches = scores >= lowest + share * (float(scores[peak]) - lowest)
    reaches[peak] = True
    first = last = peak
    while first > 0 and reaches[first - 1]:
        first -= 1
    while last + 1 < len(scores) and reaches[last + 1]:
        last += 1
    return first, last


def _best_segment(scores: Float64[np.ndarray, " frame"], rule: str) -> tuple[int, int]:
    """Return the segment with the largest merit; of equal ones the earliest, then the shortest."""
    sums = np.concatenate([[0.0], np.cumsum(scores - scores.mean())])
    first, end = np.triu_indices(len(scores) + 1, k=1)
    above_mean, lengths = sums[end] - sums[first], end - first
    if rule == "two_level":
        # n1 n0 / n (mean inside - mean outside)^2, up to a constant; the whole has nothing outside.
        outside = np.maximum(len(scores) - lengths, 1)
        merits = np.where(above_mean > 0, above_mean**2 / (lengths * outside), 0.0)
        merits[lengths == len(scores)] = 0.0
    else:
        merits = above_mean
    if merits.max() <= np.finfo(np.float64).eps * max(1.0, float(np.abs(scores).max())) ** 2:
        # No frame stands out from the others: nothing speaks against any of them.
        return 0, len(scores) - 1
    best = int(merits.argmax())
    return int(first[best]), int(end[best]) - 1


def assemble_tube(track: Track, span: tuple[int, int], frames: Frames, settings: JointSettings) -> Tube:
    """Return one box per source frame from the span's start to its end.

    Between the track's key boxes boxes are interpolated; where the span reaches beyond the
    track its nearest box is held. Boxes are cut at the picture's edge.
    """
    start, end = source_bounds(span, frames, settings)
    numbers = np.arange(start, end + 1)
    boxes, _ = track.boxes_at(numbers)
    size = np.array([frames.info.width, frames.info.height] * 2, dtype=np.float64)
    return Tube(
        start_frame=start,
        boxes_xyxy=np.clip(boxes, 0.0, size),
        frame_seconds=frames.info.frame_seconds[start : end + 1],
        end_seconds=frames.info.frame_end_seconds(end),
    )


def source_bounds(span: tuple[int, int], frames: Frames, settings: JointSettings) -> tuple[int, int]:
    """Return the first and last source frame, inclusive, of a span of sampled frames."""
    first, last = span
    start, end = int(frames.indices[first]), int(frames.indices[last])
    if settings.boundary_extent == "sample":
        return start, end
    if first > 0:
        start = (int(frames.indices[first - 1]) + start) // 2 + 1
    if last + 1 < len(frames):
        end = (end + int(frames.indices[last + 1])) // 2
    return min(start, int(frames.indices[first])), max(end, int(frames.indices[last]))
