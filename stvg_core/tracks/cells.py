"""How much of each token cell a track covers: where boxes, masks and attention maps meet.

The model sees every frame squashed to its own size, so a token grid spans the whole picture,
whatever the picture's proportions. This module knows no model.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core.masks import RunLengthMask
from stvg_core.values import Track, VideoInfo


def cell_coverage(
    tracks: Sequence[Track], frame_indices: Int64[np.ndarray, " frame"], info: VideoInfo, rows: int, columns: int
) -> Float64[np.ndarray, "track frame row column"]:
    """Return the share of each cell that each track covers at each sampled frame, 0..1.

    A track with masks is covered as in the released code, which samples its segmentations bilinearly at the
    cells' centres (spatial_tuning.py:300-306): by the mask of the box nearest in time. Where a track has no
    mask, its box is; exact, at any grid size.

    Args:
        tracks: boxes in pixels of the video as displayed.
        frame_indices: source frame number of each sampled frame; repeats are allowed.
        info: the video.
        rows: cells per column of the grid.
        columns: cells per row of the grid.

    Returns:
        Shares; 0 where the track does not exist.

    >>> info = VideoInfo("clip.mp4", 40, 20, 25.0, 0.04, np.zeros(1))
    >>> track = Track(np.array([0]), np.array([[0.0, 0.0, 15.0, 20.0]]))
    >>> cell_coverage([track], np.array([0]), info, rows=1, columns=4).tolist()
    [[[[1.0, 0.5, 0.0, 0.0]]]]
    """
    shares = np.zeros((len(tracks), len(frame_indices), rows, columns))
    for index, track in enumerate(tracks):
        boxes, exists = track.boxes_at(frame_indices)
        down = _covered(boxes[:, 1], boxes[:, 3], info.height, rows)
        across = _covered(boxes[:, 0], boxes[:, 2], info.width, columns)
        shares[index] = down[:, :, None] * across[:, None, :]
        if track.masks is not None:
            for place, mask in enumerate(_nearest_masks(track, track.masks, frame_indices)):
                if mask is not None and exists[place]:
                    shares[index, place] = mask.on_grid(rows, columns)
        shares[index] *= exists[:, None, None]
    return shares


def _nearest_masks(
    track: Track, masks: tuple[RunLengthMask | None, ...], frame_indices: Int64[np.ndarray, " frame"]
) -> list[RunLengthMask | None]:
    """Return, per sampled frame, the mask of the nearest box in time; of two equally near the earlier one's."""
    distances = np.abs(track.frames[None, :] - frame_indices[:, None])
    return [masks[place] for place in distances.argmin(axis=1)]


def _covered(
    start_pixels: Float64[np.ndarray, " frame"], end_pixels: Float64[np.ndarray, " frame"], length: int, cells: int
) -> Float64[np.ndarray, "frame cell"]:
    """Return which share of each cell along one side of the picture lies between start and end."""
    edges = np.arange(cells + 1)
    start, end = start_pixels[:, None] * cells / length, end_pixels[:, None] * cells / length
    return np.asarray(np.clip(np.minimum(end, edges[1:]) - np.maximum(start, edges[:-1]), 0.0, 1.0), dtype=np.float64)
