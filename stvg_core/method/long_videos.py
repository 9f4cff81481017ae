"""A video longer than one window: search all windows, compute maps in those that hold the event, ground in them.

`pipeline` does the work inside a window; this module does the work between windows. The frames and visual tokens of one
window are in memory at a time (and the frames of the next one, which are decoded meanwhile), then the frames of the
joined windows. Each further window costs one forward pass.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import torch

from stvg_core._internal.determinism import deterministic_algorithms
from stvg_core.errors import ModelError, StvgError, VideoError
from stvg_core.inputs.video import WindowedVideo, lost_frame_count
from stvg_core.method.branches import MAXIMUM_BRANCHES_PER_PASS, BranchMaps
from stvg_core.method.pipeline import Pipeline
from stvg_core.method.stages import Stopwatch, device_stage
from stvg_core.method.windows import MergedFrames, WindowFrames, choose_windows, merge_frames, merge_maps, widened
from stvg_core.plugin.adapter import EncodedClip
from stvg_core.settings import Settings
from stvg_core.values import FrameMaps, Frames, Grounding, SearchedWindow, SubQueries


@dataclass(frozen=True, eq=False)
class WindowSearch:
    """The windows of a video that hold the event of one query, and the maps of their frames.

    Attributes:
        sub_queries: the query with its attribute and action sub-queries (DSTH).
        windows: all windows with their margins.
        merged: the sampled frames of the joined windows on one time line.
        maps: maps of both branches, one entry per merged frame.
        decode_frames: decodes those frames; queries with the same windows get the same object.
        warnings: one sentence each.
    """

    sub_queries: SubQueries
    windows: tuple[SearchedWindow, ...]
    merged: MergedFrames
    maps: BranchMaps
    decode_frames: Callable[[], Frames]
    warnings: tuple[str, ...]


def search_windows(pipeline: Pipeline, video: WindowedVideo, queries: Sequence[SubQueries]) -> tuple[WindowSearch, ...]:
    """Search the windows of a video for queries, and compute the maps of those that hold each query's event.

    Every window is encoded once for all queries, and once more if it joins any of them.

    Args:
        pipeline: the method; its watch gets the number of each window.
        video: the windows, and how to decode them.
        queries: each query with its attribute and action sub-queries.

    Raises:
        VideoError: no window can be decoded. If only some cannot, they are left out with a warning.
        DeviceMemoryError: a stage needs more memory than there is; the session still works.
        StvgError: any stage failed; the message names the window.
    """
    with deterministic_algorithms(pipeline.session.options.deterministic):
        margins, skipped = _search(pipeline, video, queries)
        joined = [choose_windows(of_query, pipeline.settings.windows) for of_query in margins]
        computed = {}
        for number in sorted({number for numbers in joined for number in numbers}):
            places = [place for place, numbers in enumerate(joined) if number in numbers]
            with _window_context(pipeline.watch, video, number):
                computed[number] = _compute_maps(pipeline, video, number, {place: queries[place] for place in places})
    # Queries with the same windows get the same frames, so that a tracker works once.
    decode = lru_cache(maxsize=1)(partial(_decode_frames, video))
    searches = []
    for place, (sub_queries, numbers) in enumerate(zip(queries, joined, strict=True)):
        windows = [computed[number] for number in numbers]
        merged = merge_frames([window.frames for window in windows])
        lost = sum(window.lost_frame_count for window in windows)
        sampled = sum(len(window.frames.indices) for window in windows)
        warnings = (f"{lost} of {sampled} sampled frames do not decode; neighbours stand in",) if lost else ()
        # Windows without a margin are never joined.
        joined_margins = [margin for number in numbers if (margin := margins[place][number]) is not None]
        searches.append(
            WindowSearch(
                sub_queries,
                _searched(video, margins[place], numbers),
                merged,
                _merge(windows, merged, place, joined_margins, video, pipeline.settings),
                partial(decode, _merged_places(numbers, merged)),
                (*skipped, *warnings),
            )
        )
    return tuple(searches)


def ground_windows(pipeline: Pipeline, search: WindowSearch) -> Grounding:
    """Ground a query in the windows that hold its event, as in one clip.

    The tracker gets the sampled frames of these windows; `frames.segment` gives their bounds.

    Args:
        pipeline: the method with the same settings as in `search_windows`.
        search: from `search_windows`.

    Raises:
        TrackError: the tracker cannot work.
        VideoError: the video can no longer be decoded.
    """
    with pipeline.watch.stage("video"):
        frames = search.decode_frames()
    settings = pipeline.settings
    joint = widened(settings.joint, search.merged)
    merged = replace(pipeline, settings=settings.model_copy(update={"joint": joint}))
    grounding = merged.ground_maps(frames, search.sub_queries, search.maps)
    return replace(grounding, windows=search.windows, warnings=(*grounding.warnings, *search.warnings))


def answer_margins(pipeline: Pipeline, clip: EncodedClip, questions: Sequence[str]) -> dict[str, float]:
    """Return the margin of each question, the logit of yes minus that of no, without a visual prompt.

    Args:
        pipeline: the method.
        clip: visual tokens of a window.
        questions: whole questions; repeated ones are asked once.

    Raises:
        DeviceMemoryError: the device is too small.
        ModelError: a margin is not finite.
    """
    distinct = list(dict.fromkeys(questions))
    size = f"{clip.layout.frame_count} frames as {clip.layout.cell_count} visual tokens"
    margins: list[float] = []
    with device_stage(pipeline.watch, "search", size), torch.no_grad():
        for start in range(0, len(distinct), MAXIMUM_BRANCHES_PER_PASS):
            together = distinct[start : start + MAXIMUM_BRANCHES_PER_PASS]
            margins += pipeline.session.adapter.answer_logits(clip, together, None).margins.tolist()
    if not all(map(math.isfinite, margins)):
        raise ModelError("expected finite logits of yes and no, got nan or infinity; load the model in a wider dtype")
    return dict(zip(distinct, margins, strict=True))


@dataclass(frozen=True, eq=False)
class _WindowMaps:
    """One window that joined at least one query.

    Attributes:
        frames: its place in the video.
        maps: maps of both branches, by number of the query.
        lost_frame_count: sampled frames that did not decode.
    """

    frames: WindowFrames
    maps: Mapping[int, BranchMaps]
    lost_frame_count: int


def _search(
    pipeline: Pipeline, video: WindowedVideo, queries: Sequence[SubQueries]
) -> tuple[list[list[float | None]], tuple[str, ...]]:
    """Return the margin of each query in each window, and a warning for each window that cannot be decoded."""
    questions = [_ranking_questions(query, pipeline.settings) for query in queries]
    margins: list[list[float | None]] = [[] for _ in queries]
    failures: list[VideoError] = []
    warnings = []
    with closing(video.each()) as decoded:
        for number in range(len(video.windows)):
            with _window_context(pipeline.watch, video, number):
                result = _window_margins(pipeline, decoded, questions)
            if isinstance(result, VideoError):
                failures.append(result)
                warnings.append(f"{_name(video, number)} cannot be decoded and was not searched: {result}")
            for place, of_query in enumerate(margins):
                of_query.append(None if isinstance(result, VideoError) else result[place])
    if len(failures) == len(video.windows):
        raise failures[0]
    return margins, tuple(warnings)


def _window_margins(
    pipeline: Pipeline, decoded: Iterator[Frames | VideoError], questions: Sequence[Sequence[str]]
) -> list[float] | VideoError:
    """Return the margin of each query in the next window, whose frames and visual tokens are freed on return."""
    with pipeline.watch.stage("video"):
        frames = next(decoded)
    if isinstance(frames, VideoError):
        return frames
    # The reversed view does not change a margin.
    clip = pipeline.encode(frames, reversed_view=False).clip
    answers = answer_margins(pipeline, clip, [question for of_query in questions for question in of_query])
    return [sum(answers[question] for question in of_query) for of_query in questions]


def _ranking_questions(query: SubQueries, settings: Settings) -> list[str]:
    """Return the questions whose margins rank the windows for a query."""
    parts = {
        "sentence": (query.text.lower(),),
        "action": (query.action,),
        "attribute": (query.attribute,),
        "both": (query.attribute, query.action),
    }[settings.windows.question]
    return [settings.question(part) for part in parts]


def _compute_maps(
    pipeline: Pipeline, video: WindowedVideo, number: int, queries: Mapping[int, SubQueries]
) -> _WindowMaps:
    """Return the maps of one window for the queries that it joins."""
    window = video.windows[number]
    with pipeline.watch.stage("video"):
        frames = video.read(window)
    maps = pipeline.compute_maps(pipeline.encode(frames), list(queries.values()))
    lost = lost_frame_count(frames, pipeline.settings.sampling)
    return _WindowMaps(WindowFrames(*window, frames.indices), dict(zip(queries, maps, strict=True)), lost)


def _merge(
    windows: Sequence[_WindowMaps],
    merged: MergedFrames,
    query: int,
    margins: Sequence[float],
    video: WindowedVideo,
    settings: Settings,
) -> BranchMaps:
    """Return the maps of all joined windows on one time line, with the diagnostics of the best window."""
    frames = [window.frames for window in windows]
    maps = [window.maps[query] for window in windows]

    def merge(of_branch: list[FrameMaps]) -> FrameMaps:
        return merge_maps(frames, merged, of_branch, margins, video.info.frame_seconds, settings.windows)

    return replace(
        maps[int(np.argmax(margins))],
        spatial=merge([one.spatial for one in maps]),
        temporal=merge([one.temporal for one in maps]),
        views=(),
    )


def _merged_places(numbers: range, merged: MergedFrames) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return each joined window with the places of its sampled frames that are on the time line."""
    return tuple(
        (number, tuple(merged.places[merged.owners == position].tolist())) for position, number in enumerate(numbers)
    )


def _decode_frames(video: WindowedVideo, places: tuple[tuple[int, tuple[int, ...]], ...]) -> Frames:
    """Return the frames of a time line; the other frames of a window are freed before the next one is decoded."""
    indices, pixels = [], []
    for number, of_window in places:
        frames = video.read(video.windows[number])
        indices.append(frames.indices[list(of_window)])
        pixels.append(frames.pixels[list(of_window)])
    segment = video.windows[places[0][0]][0], video.windows[places[-1][0]][1]
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
def _window_context(watch: Stopwatch, video: WindowedVideo, number: int) -> Iterator[None]:
    """Prefix the stages and the errors inside with the window's number."""
    with watch.part(f"window {number + 1} of {len(video.windows)}"):
        try:
            yield
        except StvgError as error:
            raise type(error)(f"{_name(video, number)}: {error}") from error
