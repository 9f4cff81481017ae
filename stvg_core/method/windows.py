"""From what a query's windows say to one stretch of a long video: which windows, and their maps on one time line.

Pure functions over frozen values; they know no model, no file and no order of stages.
"""

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
        owners: which window each frame is of.
        places: which of that window's sampled frames it is.
        inner_count: frames that lie after the first window's end and before the last one's start. All windows hold
            the event, so it lasts through these.
        window_frames: sampled frames of one window (of the one with the most).
    """

    owners: Int64[np.ndarray, " frame"]
    places: Int64[np.ndarray, " frame"]
    inner_count: int
    window_frames: int


def choose_windows(margins: Sequence[float | None], settings: WindowSettings) -> range:
    """Return the windows in a row that hold the event: the best, and those beside it that say so as well.

    The best has the highest margin (the earliest of several). Its neighbours join from the better one on, as long as
    they may and are not more than `most_joined`. Rule `relative` compares a margin with the middle between the best and
    the lowest of all: a model that says yes to whatever it is asked moves both alike.

    Args:
        margins: logit of yes minus no of each window, in order of time; None: it could not be read, and joins nothing.
        settings: which windows join, and how many.

    Raises:
        ValueError: no window could be read.

    >>> choose_windows([0.0, 5.0, 6.0, 1.0, 0.0], WindowSettings(join="relative", most_joined=5))
    range(1, 3)
    >>> choose_windows([0.0, 5.0, 6.0, 1.0, -1.0], WindowSettings(join="positive", most_joined=5))
    range(0, 4)
    """
    known = [margin for margin in margins if margin is not None]
    if not known:
        raise ValueError("expected a window with a margin, got none")
    values = [-np.inf if margin is None else margin for margin in margins]
    best = int(np.argmax(values))
    least = {
        "relative": (min(known) + values[best]) / 2,
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

    Where two windows overlap, each keeps the frames that are nearer to its middle.

    Args:
        windows: in a row, in order of time.

    >>> one = WindowFrames(0, 9, np.array([0, 3, 6, 9]))
    >>> other = WindowFrames(5, 14, np.array([5, 8, 11, 14]))
    >>> merge_frames([one, other]).owners.tolist(), merge_frames([one, other]).places.tolist()
    ([0, 0, 0, 1, 1, 1], [0, 1, 2, 1, 2, 3])
    """
    owners, places, inner = [], [], 0
    for number, window in enumerate(windows):
        low = -np.inf if number == 0 else _border(windows[number - 1], window)
        high = np.inf if number == len(windows) - 1 else _border(window, windows[number + 1])
        own = np.flatnonzero((window.indices >= low) & (window.indices < high))
        owners.append(np.full(len(own), number, dtype=np.int64))
        places.append(own.astype(np.int64))
        frames = window.indices[own]
        inner += int(((frames > windows[0].last_frame) & (frames < windows[-1].first_frame)).sum())
    most = max(len(window.indices) for window in windows)
    return MergedFrames(np.concatenate(owners), np.concatenate(places), inner, most)


def _border(before: WindowFrames, after: WindowFrames) -> float:
    """Return the source frame from which on frames are the later window's."""
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

    Relative attention is a ratio to what the same window's cells get under the neutral question; it tells where to look
    in a window, not whether there is anything. Weight `probability` says that: each window's maps are multiplied by its
    probability of yes (against no) as a share of the best window's, so that one window alone keeps its values.

    Args:
        windows: the joined windows.
        merged: what `merge_frames` made of them.
        maps: one branch's maps of each window.
        margins: logit of yes minus no of each window.
        frame_seconds: presentation time of every source frame.
        settings: whether a frame's map is that of its own window, or the mean over all windows that hold it (each at
            its sampled frame nearest in time).
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
    """Return what each window's maps are multiplied by; 1 for the best.

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
    """Return the settings by which the span of merged frames is chosen.

    The span's length is what an event takes of one window, whose frames are as far apart as the merged ones. One that
    reaches through whole windows between the first and the last takes their frames as well.
    """
    length = settings.span_length(merged.window_frames) + merged.inner_count
    return settings.model_copy(update={"span_frame_count": length})
