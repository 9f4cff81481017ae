"""Where boxes, masks and attention maps meet: how much of each token cell a track covers, and what lies in its pixels.

The model sees every frame squashed to its own size, so a token grid spans the whole picture,
whatever the picture's proportions. This module knows no model.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core._internal.masks import RunLengthMask, bilinear, sampled
from stvg_core.values import FrameMaps, Track, VideoInfo


def cell_coverage(
    tracks: Sequence[Track],
    frame_indices: Int64[np.ndarray, " frame"],
    info: VideoInfo,
    rows: int,
    columns: int,
    rule: Literal["share", "centre"] = "share",
) -> Float64[np.ndarray, "track frame row column"]:
    """Return how much of each cell each track covers at each sampled frame, 0..1.

    Where a track has masks, it is the mask of the box nearest in time that covers, else its box. Rule `centre` is the
    released code's, which samples its segmentations bilinearly at the cells' centres (spatial_tuning.py:300-306), and
    a box as the mask of the pixels that it touches. Rule `share` gives a box the exact share of each cell, at any
    grid size, and a mask what lies at the centres, or its exact share where none lies in it.

    Args:
        tracks: boxes in pixels of the video as displayed.
        frame_indices: source frame number of each sampled frame; repeats are allowed.
        info: the video.
        rows: cells per column of the grid.
        columns: cells per row of the grid.
        rule: setting `joint.track_cells`.

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
        cover = _covered if rule == "share" else _at_centres
        down = cover(boxes[:, 1], boxes[:, 3], info.height, rows)
        across = cover(boxes[:, 0], boxes[:, 2], info.width, columns)
        shares[index] = down[:, :, None] * across[:, None, :]
        if track.masks is not None:
            for place, mask in enumerate(_nearest_masks(track, track.masks, frame_indices)):
                if mask is not None and exists[place]:
                    shares[index, place] = (mask.on_grid if rule == "share" else mask.at_centres)(rows, columns)
        shares[index] *= exists[:, None, None]
    return shares


def peaks_in_pixels(
    maps: FrameMaps, track: Track, frame_indices: Int64[np.ndarray, " frame"], info: VideoInfo
) -> Float64[np.ndarray, " frame"]:
    """Return the highest value of up-sampled maps inside one track, per frame; 0 where the track does not exist.

    As in the released code (evaluation_llava_att): a frame's map is up-sampled bilinearly to the pixels of the track's
    mask, and its maximum inside taken. Where the track has no mask, the pixels that its box touches are the mask. One
    frame's pixels are held at a time, and of them those around the object.

    Args:
        maps: one per sampled frame.
        track: boxes in pixels of the video as displayed; its masks have their own size.
        frame_indices: source frame number of each sampled frame.
        info: the video.

    >>> info = VideoInfo("clip.mp4", 40, 20, 25.0, 0.04, np.zeros(1))
    >>> track = Track(np.array([0]), np.array([[10.0, 0.0, 20.0, 20.0]]))
    >>> peaks_in_pixels(FrameMaps(np.array([[[0.0, 4.0]]])), track, np.array([0]), info).tolist()
    [1.9]
    """
    boxes, exists = track.boxes_at(frame_indices)
    masks = [None] * len(frame_indices) if track.masks is None else _nearest_masks(track, track.masks, frame_indices)
    peaks = np.zeros(len(frame_indices))
    for place in np.flatnonzero(exists):
        mask = masks[place]
        height, width = (info.height, info.width) if mask is None else (mask.height, mask.width)
        box = boxes[place] if mask is None else mask.box_xyxy()
        if box is None:
            continue
        edges = np.concatenate([np.floor(box[:2]), np.ceil(box[2:])])
        x0, y0, x1, y1 = np.clip(edges, 0, [width, height, width, height]).astype(int).tolist()
        window = slice(y0, y1), slice(x0, x1)
        seen = bilinear(maps.values[place], height, width, window)
        inside = seen if mask is None else seen[mask.pixels()[window]]
        peaks[place] = inside.max(initial=0.0)
    return peaks


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


def _at_centres(
    start_pixels: Float64[np.ndarray, " frame"], end_pixels: Float64[np.ndarray, " frame"], length: int, cells: int
) -> Float64[np.ndarray, "frame cell"]:
    """Return how much of the pixels between start and end lies at the centre of each cell along one side."""
    pixels = np.arange(length)
    touched = (pixels >= np.floor(start_pixels)[:, None]) & (pixels < np.ceil(end_pixels)[:, None])
    return sampled(touched, cells)
