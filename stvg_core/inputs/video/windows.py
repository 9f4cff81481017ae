"""Where the windows of a long video lie, and how they are read. Knows presentation times, no model and no query."""

import math
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from stvg_core.errors import VideoError
from stvg_core.inputs.video.reading import inside_segment, probe_video, read_frames
from stvg_core.settings import Settings, WindowSettings
from stvg_core.values import Frames, VideoInfo

Window = tuple[int, int]
"""First and last source frame, inclusive."""

_ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True, eq=False)
class WindowedVideo:
    """A video that is too long to be sampled as a whole.

    Attributes:
        info: the video.
        windows: at least two, in order of time; together they hold every frame that is to be searched.
        read: returns the sampled frames of a window; their `segment` is the window. Raises VideoError.
    """

    info: VideoInfo
    windows: tuple[Window, ...]
    read: Callable[[Window], Frames]

    def each(self) -> Generator[Frames | VideoError]:
        """Yield every window's sampled frames, or why there are none.

        While the caller works on one window the next one is decoded; two windows' images are held at most.
        """
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="stvg-window") as reader:
            following = reader.submit(self._try, self.windows[0])
            for window in self.windows[1:]:
                frames = following.result()
                following = reader.submit(self._try, window)
                yield frames
            yield following.result()

    def _try(self, window: Window) -> Frames | VideoError:
        try:
            return self.read(window)
        except VideoError as error:
            return error

    def seconds(self, window: Window) -> tuple[float, float]:
        """Return when a window's first frame comes on screen and its last one leaves it."""
        return float(self.info.frame_seconds[window[0]]), self.info.frame_end_seconds(window[1])


def read_video(path: str | Path, settings: Settings, segment: Window | None = None) -> Frames | WindowedVideo:
    """Return the sampled frames of a video, or its windows where it is longer than one.

    Args:
        path: a plain local file.
        settings: `sampling` and `windows` matter here.
        segment: first and last source frame (0-based, inclusive) to look at; None: the whole video.

    Raises:
        VideoError: as `read_frames`; of windows not before they are read.
    """
    side_pixels = settings.sampling.maximum_side_pixels
    if settings.windows.length_seconds is not None:
        info = probe_video(path)
        windows = lay_windows(info, settings.windows, None if segment is None else inside_segment(segment, info))
        if len(windows) > 1:
            return WindowedVideo(info, windows, partial(_read_window, path, settings))
    return read_frames(path, settings.sampling, maximum_side_pixels=side_pixels, segment=segment)


def _read_window(path: str | Path, settings: Settings, window: Window) -> Frames:
    sampling = settings.sampling
    return read_frames(path, sampling, maximum_side_pixels=sampling.maximum_side_pixels, segment=window)


def lay_windows(info: VideoInfo, settings: WindowSettings, segment: Window | None = None) -> tuple[Window, ...]:
    """Return the windows of a video, in order of time; every frame is in at least one.

    Windows are counted in presentation time, so that they are equally long at variable frame rates: one
    holds the frames that come on screen during it. The last one ends with the video and is as long as the others, so
    that it overlaps more. A window in which no frame comes on screen, or none that the one before did not have, is
    left out.

    Args:
        info: the video.
        settings: length and overlap.
        segment: first and last source frame (inclusive) to search; None: the whole video.

    >>> info = VideoInfo("a.mp4", 64, 48, 10.0, 1.0, np.arange(10) / 10)
    >>> lay_windows(info, WindowSettings(length_seconds=0.4, overlap=0.5))
    ((0, 3), (2, 5), (4, 7), (6, 9))
    >>> lay_windows(info, WindowSettings(length_seconds=0.4, overlap=0.25))
    ((0, 3), (3, 6), (6, 9))
    >>> lay_windows(info, WindowSettings(length_seconds=1.0))
    ((0, 9),)
    """
    first, last = segment or (0, info.frame_count - 1)
    length_seconds = settings.length_seconds
    seconds = info.frame_seconds[first : last + 1]
    start_seconds, end_seconds = float(seconds[0]), info.frame_end_seconds(last)
    if length_seconds is None or end_seconds - start_seconds <= length_seconds + _ROUNDING_SECONDS:
        return ((first, last),)
    step_seconds = length_seconds * (1.0 - settings.overlap)
    steps = math.ceil((end_seconds - start_seconds - length_seconds - _ROUNDING_SECONDS) / step_seconds)
    starts = np.append(start_seconds + step_seconds * np.arange(steps), end_seconds - length_seconds)
    firsts = first + np.searchsorted(seconds, starts - _ROUNDING_SECONDS)
    lasts = first + np.searchsorted(seconds, starts + length_seconds - _ROUNDING_SECONDS) - 1
    # However times are rounded, no frame falls between two windows or behind the last one.
    lasts = np.append(np.maximum(lasts[:-1], firsts[1:] - 1), last)
    windows: list[Window] = []
    for window in zip(firsts.tolist(), lasts.tolist(), strict=True):
        if window[0] <= window[1] and not (windows and window[1] <= windows[-1][1]):
            windows.append(window)
    return tuple(windows)
