"""Pure functions for long videos: choose the windows that hold an event, and merge their maps on one time line."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core.settings import JointSettings, WindowSettings
from stvg_core.values import FrameMaps


@dataclass(frozen=True, eq=False)
class WindowFrames:
    """One joined window's place in the video.

    Attributes:
        first_frame: first source frame of the window.
        last_frame: last source frame of the window, inclusive.
        indices: source frame numbers of its sampled frames, never decreasing.
    """

    first_frame: int
    last_frame: int
    indices: Int64[np.ndarray, " frame"]


@dataclass(frozen=True, eq=False)
class MergedFrames:
    """Sampled frames of joined windows on one time line.

    Attributes:
        owners: number of the window that each frame comes from.
        places: position of the frame among that window's sampled frames.
        inner_count: number of frames after the first window's end and before the last one's start. All windows hold
            the event, so it lasts through these.
        window_frames: number of sampled frames of one window (the largest).
    """

    owners: Int64[np.ndarray, " frame"]
    places: Int64[np.ndarray, " frame"]
    inner_count: int
    window_frames: int


def choose_windows(margins: Sequence[float | None], settings: WindowSettings) -> range:
    """Return the consecutive windows that hold the event: the best one and its neighbours with a high margin.

    The best window has the highest margin (the earliest of several). Neighbours join in order of their margins, up to
    `most_joined` windows. Rule `relative` compares a margin with the mean of the best and the lowest one, which cancels
    a model's bias towards yes.

    Args:
        margins: logit of yes minus no of each window, in order of time; None for a window that cannot be decoded,
            which never joins.
        settings: which windows join, and how many.

    Raises:
        ValueError: no window has a margin.

    >>> choose_windows([0.0, 5.0, 6.0, 1.0, 0.0], WindowSettings(join="relative", most_joined=5))
    range(1, 3)
    >>> choose_windows([0.0, 5.0, 6.0, 1.0, -1.0], WindowSettings(join="positive", most_joined=5))
    range(0, 4)
    """
    finite = [margin for margin in margins if margin is not None]
    if not finite:
        raise ValueError("expected a window with a margin, got none")
    values = [-np.inf if margin is None else margin for margin in margins]
    best = int(np.argmax(values))
    least = {
        "relative": (min(finite) + values[best]) / 2,
        "positive": 0.0,
        "none": np.inf,
    }[settings.join]
    first = last = best
    while last - first + 1 < settings.most_joined:
        before = values[first - 1] if first > 0 else -np.inf
        after = values[last + 1] if last + 1 < len(values) else -np.inf
        if max(before, after) < least or max(before, after) == -np.inf:
            break
        if before >= after:
            first -= 1
        else:
            last += 1
    return range(first, last + 1)


def merge_frames(windows: Sequence[WindowFrames]) -> MergedFrames:
    """Return the sampled frames of joined windows on one time line, about as dense as in one window.

    Where two windows overlap, each contributes the frames that are nearer to its middle.

    Args:
        windows: consecutive windows, in order of time.

    >>> one = WindowFrames(0, 9, np.array([0, 3, 6, 9]))
    >>> other = WindowFrames(5, 14, np.array([5, 8, 11, 14]))
    >>> merge_frames([one, other]).owners.tolist(), merge_frames([one, other]).places.tolist()
    ([0, 0, 0, 1, 1, 1], [0, 1, 2, 1, 2, 3])
    """
    owners, places, inner = [], [], 0
    for number, window in enumerate(windows):
        low = -np.inf if number == 0 else _border(windows[number - 1], window)
        high = np.inf if number == len(windows) - 1 else _border(window, windows[number + 1])
        inside = np.flatnonzero((window.indices >= low) & (window.indices < high))
        owners.append(np.full(len(inside), number, dtype=np.int64))
        places.append(inside.astype(np.int64))
        frames = window.indices[inside]
        inner += int(((frames > windows[0].last_frame) & (frames < windows[-1].first_frame)).sum())
    most = max(len(window.indices) for window in windows)
    return MergedFrames(np.concatenate(owners), np.concatenate(places), inner, most)


def _border(before: WindowFrames, after: WindowFrames) -> float:
    """Return the first source frame (it may be fractional) that the later window contributes."""
    return (before.last_frame + after.first_frame + 1) / 2


def merge_maps(
    windows: Sequence[WindowFrames],
    merged: MergedFrames,
    maps: Sequence[FrameMaps],
    margins: Sequence[float],
    frame_seconds: Float64[np.ndarray, " source_frame"],
    settings: WindowSettings,
) -> FrameMaps:
    """Return the maps of merged frames.

    Relative attention is a ratio within one window: it locates an object there, but does not say whether the window
    holds it. With weight `probability` each window's maps are therefore multiplied by its probability of yes (against
    no), divided by that of the best window, so that the maps of a single window do not change.

    Args:
        windows: the joined windows.
        merged: what `merge_frames` made of them.
        maps: one branch's maps of each window.
        margins: logit of yes minus no of each window.
        frame_seconds: presentation time of every source frame.
        settings: whether the map of a frame in several windows comes from one of them, or is their mean (each at its
            sampled frame nearest in time).
    """
    scaled = [one.values * weight for one, weight in zip(maps, _weights(margins, settings), strict=True)]
    values = [scaled[owner][place] for owner, place in zip(merged.owners, merged.places, strict=True)]
    if settings.shared_frames == "average":
        for number, (owner, place) in enumerate(zip(merged.owners, merged.places, strict=True)):
            frame = int(windows[owner].indices[place])
            others = [
                other[np.abs(frame_seconds[window.indices] - frame_seconds[frame]).argmin()]
                for position, (window, other) in enumerate(zip(windows, scaled, strict=True))
                if position != owner and window.first_frame <= frame <= window.last_frame
            ]
            values[number] = np.mean([values[number], *others], axis=0)
    tokens = dict.fromkeys(token for one in maps for token in one.grounding_tokens)
    return FrameMaps(np.stack(values), tuple(tokens))


def _weights(margins: Sequence[float], settings: WindowSettings) -> Float64[np.ndarray, " window"]:
    """Return the factor of each window's maps; 1 for the best window.

    >>> _weights([0.0, 2.0], WindowSettings(weight="none")).tolist()
    [1.0, 1.0]
    >>> _weights([0.0, 2.0], WindowSettings(weight="probability")).round(2).tolist()
    [0.57, 1.0]
    """
    if settings.weight == "none":
        return np.ones(len(margins))
    logs = -np.logaddexp(0.0, -np.asarray(margins, dtype=np.float64))
    weights: Float64[np.ndarray, " window"] = np.exp(logs - logs.max())
    return weights


def widened(settings: JointSettings, merged: MergedFrames) -> JointSettings:
    """Return the settings that choose the span of merged frames.

    The span is as long as in one window, whose frames are as far apart as the merged ones, plus all frames of the
    windows between the first and the last.
    """
    length = settings.span_length(merged.window_frames) + merged.inner_count
    return settings.model_copy(update={"span_frame_count": length})
