"""A video that is longer than one window: search all windows, read those that hold the event, ground in them.

What happens in a window is the pipeline's; this module knows what happens between them. One window's pictures and
visual tokens are held at a time (and the pictures of the next one, which are decoded meanwhile), then the pictures of
the joined windows. Cost grows with the number of windows only by a forward pass for each.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from stvg_core._internal.determinism import deterministic_algorithms
from stvg_core.errors import StvgError, VideoError
from stvg_core.host.session import Session
from stvg_core.inputs.video import Window, WindowedVideo, lost_frame_count
from stvg_core.method.branches import BranchMaps, ask, read_queries
from stvg_core.method.pipeline import Stopwatch, encode_views, ground_maps
from stvg_core.method.windows import MergedFrames, WindowFrames, choose_windows, merge_frames, merge_maps, widened
from stvg_core.plugin.tracker import Tracker
from stvg_core.settings import Settings
from stvg_core.values import FrameMaps, Frames, Grounding, SearchedWindow, SubQueries


@dataclass(frozen=True, eq=False)
class WindowReading:
    """What the windows of a video say of one query.

    Attributes:
        sub_queries: the query and its attribute and action parts (DSTH).
        windows: all windows with their margins.
        merged: the sampled frames of the joined ones on one time line.
        maps: both branches' maps of those frames.
        read_frames: decodes those frames; queries whose windows are the same are given the same object.
        warnings: what could not be done as asked, one sentence each.
    """

    sub_queries: SubQueries
    windows: tuple[SearchedWindow, ...]
    merged: MergedFrames
    maps: BranchMaps
    read_frames: Callable[[], Frames]
    warnings: tuple[str, ...]


def read_windows(
    video: WindowedVideo, queries: Sequence[SubQueries], session: Session, settings: Settings, watch: Stopwatch
) -> tuple[WindowReading, ...]:
    """Search a video's windows for queries, and read the maps of those that hold each query's event.

    Every window is encoded once for all queries, and once more where one of them joins it.

    Args:
        video: the windows, and how they are read.
        queries: each query and its attribute and action parts.
        session: the opened backend.
        settings: every choice of the method.
        watch: collects the time per stage; told the number of each window.

    Raises:
        VideoError: no window can be decoded. One that cannot while others can is left out, with a warning.
        DeviceMemoryError: a stage needs more memory than there is; the session still works.
        StvgError: any stage failed; the message names the window.
    """
    with deterministic_algorithms(session.options.deterministic):
        margins, skipped = _search(video, queries, session, settings, watch)
        joined = [choose_windows(own, settings.windows) for own in margins]
        read = {}
        for number in sorted({number for own in joined for number in own}):
            asked = [place for place, own in enumerate(joined) if number in own]
            with _named(video, number, watch):
                read[number] = _read(video.windows[number], video, queries, asked, session, settings, watch)
    # Queries whose windows are the same see the same pictures, so that a tracker need not look twice.
    decode = lru_cache(maxsize=1)(partial(_read_frames, video))
    readings = []
    for place, (sub_queries, numbers) in enumerate(zip(queries, joined, strict=True)):
        windows = [read[number] for number in numbers]
        merged = merge_frames([window.frames for window in windows])
        lost = sum(window.lost for window in windows)
        sampled = sum(len(window.frames.indices) for window in windows)
        # A window without a margin joins nothing.
        own = [margin for number in numbers if (margin := margins[place][number]) is not None]
        best = numbers[int(np.argmax(own))]
        readings.append(
            WindowReading(
                sub_queries,
                _searched(video, margins[place], numbers),
                merged,
                _merge(windows, merged, place, own, read[best].maps[place], video, settings),
                partial(decode, _wanted(numbers, merged)),
                (
                    *skipped,
                    *((f"{lost} of {sampled} sampled frames do not decode; neighbours stand in",) if lost else ()),
                ),
            )
        )
    return tuple(readings)


def ground_windows(reading: WindowReading, tracker: Tracker, settings: Settings, watch: Stopwatch) -> Grounding:
    """Ground a query in the windows that hold its event, as in one clip.

    The tracker is shown the sampled frames of these windows; `frames.segment` tells where they are.

    Args:
        reading: what `read_windows` made with the same settings.
        tracker: proposes the candidate tracks.
        settings: every choice of the method; only `joint` matters here.
        watch: collects the time per stage.

    Raises:
        TrackError: the tracker cannot work.
        VideoError: the video can no longer be read.
    """
    with watch.stage("video"):
        frames = reading.read_frames()
    joint = widened(settings.joint, reading.merged)
    grounding = ground_maps(frames, reading.sub_queries, reading.maps, tracker, joint, watch)
    return replace(grounding, windows=reading.windows, warnings=(*grounding.warnings, *reading.warnings))


@dataclass(frozen=True, eq=False)
class _ReadWindow:
    """One window that joined at least one query.

    Attributes:
        frames: its place in the video.
        maps: both branches' maps, by number of the query.
        lost: sampled frames that did not decode.
    """

    frames: WindowFrames
    maps: Mapping[int, BranchMaps]
    lost: int


def _search(
    video: WindowedVideo, queries: Sequence[SubQueries], session: Session, settings: Settings, watch: Stopwatch
) -> tuple[list[list[float | None]], tuple[str, ...]]:
    """Return every query's margin in every window, and a warning for each window that cannot be decoded."""
    asked = [_questions(query, settings) for query in queries]
    margins: list[list[float | None]] = [[] for _ in queries]
    failures: list[VideoError] = []
    warnings = []
    with closing(video.each()) as pictures:
        for number in range(len(video.windows)):
            with _named(video, number, watch):
                found = _ask(pictures, asked, session, settings, watch)
            if isinstance(found, VideoError):
                failures.append(found)
                warnings.append(f"{_name(video, number)} cannot be decoded and was not searched: {found}")
            for place, own in enumerate(margins):
                own.append(None if isinstance(found, VideoError) else found[place])
    if len(failures) == len(video.windows):
        raise failures[0]
    return margins, tuple(warnings)


def _ask(
    pictures: Iterator[Frames | VideoError],
    asked: Sequence[Sequence[str]],
    session: Session,
    settings: Settings,
    watch: Stopwatch,
) -> list[float] | VideoError:
    """Return every query's margin in the next window; its pictures and tokens are let go of on return."""
    with watch.stage("video"):
        frames = next(pictures)
    if isinstance(frames, VideoError):
        return frames
    # The reversed view has no say in a margin.
    views = encode_views(frames, session, _one_view(settings), watch)
    answers = ask(session, views.clip, [question for own in asked for question in own], watch)
    return [sum(answers[question] for question in own) for own in asked]


def _questions(query: SubQueries, settings: Settings) -> list[str]:
    """Return the questions whose margins rank a query's windows."""
    parts = {
        "sentence": (query.text.lower(),),
        "action": (query.action,),
        "attribute": (query.attribute,),
        "both": (query.attribute, query.action),
    }[settings.windows.question]
    return [settings.question(part) for part in parts]


def _one_view(settings: Settings) -> Settings:
    return settings.model_copy(update={"augment": settings.augment.model_copy(update={"enabled": False})})


def _read(
    window: Window,
    video: WindowedVideo,
    queries: Sequence[SubQueries],
    asked: Sequence[int],
    session: Session,
    settings: Settings,
    watch: Stopwatch,
) -> _ReadWindow:
    """Learn prompts and read attention in one window, for the queries that it joined."""
    with watch.stage("video"):
        frames = video.read(window)
    views = encode_views(frames, session, settings, watch)
    own = [queries[place] for place in asked]
    maps = read_queries(session, views.clip, views.reversed_clip, own, settings, watch)
    lost = lost_frame_count(frames, settings.sampling)
    return _ReadWindow(WindowFrames(*window, frames.indices), dict(zip(asked, maps, strict=True)), lost)


def _merge(
    windows: Sequence[_ReadWindow],
    merged: MergedFrames,
    place: int,
    weighed_by: Sequence[float],
    best: BranchMaps,
    video: WindowedVideo,
    settings: Settings,
) -> BranchMaps:
    """Return the maps of all windows on one time line; what prompts did is told of the best window alone."""
    frames = [window.frames for window in windows]
    found = [window.maps[place] for window in windows]

    def merge(maps: list[FrameMaps]) -> FrameMaps:
        return merge_maps(frames, merged, maps, weighed_by, video.info.frame_seconds, settings.windows)

    return BranchMaps(
        merge([one.spatial for one in found]),
        merge([one.temporal for one in found]),
        best.margins,
        best.prompts,
        best.answers,
        best.warnings,
    )


def _wanted(numbers: range, merged: MergedFrames) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return each joined window with the places of the sampled frames that the time line has of it."""
    return tuple(
        (number, tuple(merged.places[merged.owners == position].tolist())) for position, number in enumerate(numbers)
    )


def _read_frames(video: WindowedVideo, wanted: tuple[tuple[int, tuple[int, ...]], ...]) -> Frames:
    """Return the frames of a time line; a window's others are let go of before the next window is decoded."""
    indices, pixels = [], []
    for number, places in wanted:
        frames = video.read(video.windows[number])
        indices.append(frames.indices[list(places)])
        pixels.append(frames.pixels[list(places)])
    segment = video.windows[wanted[0][0]][0], video.windows[wanted[-1][0]][1]
    return Frames(video.info, np.concatenate(indices), np.concatenate(pixels), segment)


def _searched(video: WindowedVideo, margins: Sequence[float | None], joined: range) -> tuple[SearchedWindow, ...]:
    return tuple(
        SearchedWindow(*window, *video.seconds(window), margin, number in joined)
        for number, (window, margin) in enumerate(zip(video.windows, margins, strict=True))
    )


def _name(video: WindowedVideo, number: int) -> str:
    start, end = video.seconds(video.windows[number])
    return f"window {number + 1} of {len(video.windows)} ({start:.2f} to {end:.2f} s)"


@contextmanager
def _named(video: WindowedVideo, number: int, watch: Stopwatch) -> Iterator[None]:
    """Name a window in what is told while it is worked on, and in what goes wrong there."""
    with watch.part(f"window {number + 1} of {len(video.windows)}"):
        try:
            yield
        except StvgError as error:
            raise type(error)(f"{_name(video, number)}: {error}") from error
