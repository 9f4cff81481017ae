"""Turns linked chains into tracks of the video: scaled, bridged, ranked, without duplicates.

This module knows neither how boxes were found nor why they are worth something.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core.inputs.tracks.boxes import overlap_in_pairs
from stvg_core.inputs.tracks.linking import Chain
from stvg_core.values import Frames, Track, VideoInfo


def distinct_frames(frames: Frames) -> tuple[Int64[np.ndarray, " distinct"], Int64[np.ndarray, " distinct"]]:
    """Return the sampled source frame numbers without repeats, and where each first occurs.

    A video shorter than the number of samples yields the same frame more than once; a track may not.
    """
    numbers, first = np.unique(frames.indices, return_index=True)
    return numbers.astype(np.int64), first.astype(np.int64)


def inside_picture(boxes_xyxy: Float64[np.ndarray, "box 4"], info: VideoInfo) -> Float64[np.ndarray, "box 4"]:
    """Return boxes cut to the picture, each at least one pixel wide and high.

    >>> info = VideoInfo("clip.mp4", 100, 50, 25.0, 0.04, np.zeros(1))
    >>> inside_picture(np.array([[-5.0, 10.0, 20.0, 60.0], [100.0, 0.0, 100.0, 9.0]]), info).tolist()
    [[0.0, 10.0, 20.0, 50.0], [99.0, 0.0, 100.0, 9.0]]
    """
    size = np.array([info.width, info.height], dtype=np.float64)
    low = np.clip(boxes_xyxy[:, :2], 0.0, size - 1.0)
    high = np.minimum(np.maximum(boxes_xyxy[:, 2:], low + 1.0), size)
    return np.concatenate([low, high], axis=1)


def absent_stretches(seen: Sequence[int], looked: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the stretches of frames (first, last; inclusive) in which an object was looked for and not seen.

    A stretch reaches from the frame after one sighting to the frame before the next. What lies before the
    first and after the last sighting is none: there is no track.

    Args:
        seen: source frames with the object, increasing.
        looked: all source frames that were looked at, increasing.

    >>> absent_stretches([0, 10, 40], [0, 10, 20, 30, 40, 50])
    ((11, 39),)
    """
    looked_at = np.asarray(looked, dtype=np.int64)
    return tuple(
        (before + 1, after - 1)
        for before, after in pairwise(int(frame) for frame in seen)
        if ((looked_at > before) & (looked_at < after)).any()
    )


def as_track(
    chain: Chain,
    frame_numbers: Int64[np.ndarray, " distinct"],
    scale_xy: tuple[float, float],
    info: VideoInfo,
    hold: int,
    label: str = "",
) -> Track:
    """Return a chain as a track of the video.

    Args:
        chain: positions count into `frame_numbers`; boxes are in pixels of the searched picture.
        frame_numbers: source frame number of each searched picture.
        scale_xy: pixels of the video per pixel of the searched picture.
        info: the video.
        hold: a chain that begins or ends this many pictures or fewer from the clip's edge, well inside
            the picture, is held there: an object that blinks does so at the edges too.
        label: free text for pictures.
    """
    boxes = np.stack(chain.boxes).astype(np.float64) * np.tile(np.array(scale_xy, dtype=np.float64), 2)
    boxes = inside_picture(boxes, info)
    numbers = frame_numbers[np.array(chain.positions)]
    if 0 < chain.positions[0] <= hold and _well_inside(boxes[0], info):
        numbers, boxes = np.concatenate([frame_numbers[:1], numbers]), np.concatenate([boxes[:1], boxes])
    last = len(frame_numbers) - 1
    if 0 < last - chain.positions[-1] <= hold and _well_inside(boxes[-1], info):
        numbers, boxes = np.concatenate([numbers, frame_numbers[-1:]]), np.concatenate([boxes, boxes[-1:]])
    return Track(numbers, boxes, label)


def _well_inside(box_xyxy: np.ndarray, info: VideoInfo) -> bool:
    """Return whether a box keeps clear of the picture's edges, where objects come and go."""
    edge_pixels = 0.01 * max(info.width, info.height)
    size = np.array([info.width, info.height])
    return bool((box_xyxy[:2] > edge_pixels).all() and (box_xyxy[2:] < size - edge_pixels).all())


def best_distinct(
    tracks: Sequence[Track],
    scores: Sequence[float],
    frame_numbers: Int64[np.ndarray, " distinct"],
    overlap: float,
    most: int,
) -> tuple[Track, ...]:
    """Return at most `most` tracks, best first, without those that repeat a better one.

    A track repeats a better one when, over its own frames, their mean overlap exceeds `overlap`; so a
    fragment goes, and what lives on after the better one does not.
    """
    found = [track.boxes_at(frame_numbers) for track in tracks]
    boxes, exists = np.stack([one for one, _ in found]), np.stack([one for _, one in found])
    kept: list[int] = []
    for index in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable"):
        shared = overlap_in_pairs(boxes[index], boxes[kept]) * exists[kept]
        if (shared[:, exists[index]].mean(axis=1) <= overlap).all():
            kept.append(int(index))
            if len(kept) == most:
                break
    return tuple(tracks[index] for index in kept)
