"""Scores of tracks and of frames from the attention inside tracks.

Paper section 3.5 (S_obj, S_frame). Pure functions over arrays.
"""

import numpy as np
from jaxtyping import Float64

from stvg_core.settings import JointSettings
from stvg_core.values import FrameMaps


def score_tracks(
    spatial: FrameMaps,
    temporal: FrameMaps,
    coverage: Float64[np.ndarray, "track frame row column"],
    settings: JointSettings,
) -> Float64[np.ndarray, " track"]:
    """Return one score per track; higher is better.

    Args:
        spatial: attention of the attribute branch.
        temporal: attention of the action branch.
        coverage: share of each cell that a track covers.
        settings: pooling, and whether the action branch takes part.
    """
    if settings.track_branches == "cell_product":
        return _pooled(FrameMaps(spatial.values * temporal.values), coverage, settings)
    scores = _pooled(spatial, coverage, settings)
    if settings.track_branches == "spatial":
        return scores
    product: Float64[np.ndarray, " track"] = _shares(scores) * _shares(_pooled(temporal, coverage, settings))
    return product


def score_frames(
    temporal: FrameMaps, coverage: Float64[np.ndarray, "frame row column"]
) -> Float64[np.ndarray, " frame"]:
    """Return the peak of the action branch's attention over the cells of one track, per frame.

    >>> maps = FrameMaps(np.array([[[1.0, 5.0]], [[3.0, 0.0]]]))
    >>> score_frames(maps, np.array([[[1.0, 0.5]], [[0.5, 1.0]]])).tolist()
    [2.5, 1.5]
    """
    peaks: Float64[np.ndarray, " frame"] = (temporal.values * coverage).max(axis=(1, 2))
    return peaks


def _pooled(
    maps: FrameMaps, coverage: Float64[np.ndarray, "track frame row column"], settings: JointSettings
) -> Float64[np.ndarray, " track"]:
    inside = maps.values[None] * coverage
    axes = (1, 2, 3)
    if settings.track_pooling == "max":
        peaks: Float64[np.ndarray, " track"] = inside.max(axis=axes)
        return peaks
    means: Float64[np.ndarray, " track"] = inside.sum(axis=axes) / np.maximum(coverage.sum(axis=axes), 1e-9)
    return means


def _shares(scores: Float64[np.ndarray, " track"]) -> Float64[np.ndarray, " track"]:
    shares: Float64[np.ndarray, " track"] = scores / max(float(scores.sum()), 1e-12)
    return shares
