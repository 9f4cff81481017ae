"""Grounds the tasks of a run: frames are decoded ahead of the model, and encoded once per video.

Errors of a sample are its outcome; what ends the whole run is raised.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TypeVar

from stvg_core._internal.plain_text import one_line
from stvg_core.api.grounder import Grounder
from stvg_core.api.results import GroundingResult
from stvg_core.errors import RunError
from stvg_core.evaluation.runs.controls import dump_maps_and_controls
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task, dump_track
from stvg_core.inputs.video import WindowedVideo, read_video
from stvg_core.method.branches import BranchMaps
from stvg_core.method.long_videos import WindowSearch
from stvg_core.method.pipeline import UNPROMPTED_STAGE, EncodedViews, Stopwatch
from stvg_core.outputs.report.document import dump_document
from stvg_core.values import Frames, SubQueries

# A kernel that fails leaves the process without its device, whichever sample comes next.
_BROKEN_DEVICE = "CUDA error"
_LONGEST_REASON = 300
_BATCH_SIZE = 8
"""Queries of a video in one batch: attribute and action of each, as many as one pass of the method takes."""

_Views = EncodedViews | WindowSearch | Failure
"""A task's encoded video; or what the search of a long video's windows found for it; or why there is neither."""
_Result = TypeVar("_Result")


@dataclass(eq=False)
class _Item:
    """A task in work.

    Attributes:
        task: of the store.
        views: of its video.
        seconds: wall clock so far, its share of what was computed for several included.
        watch: the same by stage.
        query: decomposed; None of a long video, whose search has done so.
        maps: computed in one pass with other queries; None: to be computed alone.
    """

    task: Task
    views: _Views
    seconds: float
    watch: Stopwatch = field(default_factory=Stopwatch)
    query: SubQueries | None = None
    maps: BranchMaps | None = None


class Worker(AbstractContextManager["Worker"]):
    """One opened model at work; a context manager that ends its decoding thread.

    Groups are taken by `submit` and come out of `outcomes` in that order. While the model works on one, the frames of
    the next ones are decoded in a thread.

    Attributes:
        capacity: groups that may be submitted; the frames of so many are in memory at most.
        busy_seconds: wall clock that the model, the tracker and the rest of the method took.
        waited_seconds: wall clock that they waited for frames.
    """

    capacity = 3

    def __init__(self, grounder: Grounder, video_root: Path, *, share: bool = True) -> None:
        """Hold an opened model.

        Args:
            grounder: model, settings and tracker.
            video_root: folder that the tasks' videos are relative to.
            share: queries about one video that learn no prompts are computed in one pass; without it one by one, so
                that a worker that dies has died of the sample that it had come to.
        """
        self._grounder = grounder
        self._video_root = video_root
        self._share = share
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stvg-decode")
        self._ahead: deque[Future[tuple[tuple[Task, ...], Frames | WindowedVideo | Failure, float]]] = deque()
        self._begun: list[_Item] = []
        self.busy_seconds = 0.0
        self.waited_seconds = 0.0

    def __exit__(self, *_: object) -> None:
        """End the decoding thread; groups that have not begun are dropped."""
        self._reader.shutdown(wait=True, cancel_futures=True)

    @property
    def waiting_groups(self) -> int:
        """How many groups were submitted and are not done."""
        return len(self._ahead)

    def submit(self, tasks: tuple[Task, ...]) -> None:
        """Take a group of tasks about one video; its frames are decoded when the thread comes to it."""
        self._ahead.append(self._reader.submit(self._read, tasks))

    def begin(self) -> None:
        """Wait for the frames of the group that was submitted first and encode them; `outcomes` does the rest.

        Raises:
            RunError: the device is broken: every further sample would fail.
        """
        self._begun = self._next_group()

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes of the tasks of the group that was submitted first, one by one.

        Raises:
            RunError: the device is broken: every further sample would fail.
        """
        items = self._begun or self._next_group()
        self._begun = []
        for start in range(0, len(items), _BATCH_SIZE):
            batch = items[start : start + _BATCH_SIZE]
            self._compute_maps(batch)
            yield from map(self._outcome, batch)

    def _read(self, tasks: tuple[Task, ...]) -> tuple[tuple[Task, ...], Frames | WindowedVideo | Failure, float]:
        start, first = time.perf_counter(), tasks[0]
        path = self._video_root / first.video
        frames = _attempt(lambda: read_video(path, self._grounder.settings, first.source_segment))
        return tasks, frames, time.perf_counter() - start

    def _next_group(self) -> list[_Item]:
        start = time.perf_counter()
        tasks, frames, read_seconds = self._ahead.popleft().result()
        self.waited_seconds += time.perf_counter() - start
        watch, share = Stopwatch(), read_seconds / len(tasks)
        views, seconds = self._timed(lambda: self._encode(tasks, frames, watch))
        items = [_Item(task, own, share) for task, own in zip(tasks, views, strict=True)]
        for item in items:
            item.watch.seconds["video"] = share
        items[0].watch.seconds |= watch.seconds
        items[0].seconds += seconds
        return items

    def _encode(
        self, tasks: Sequence[Task], frames: Frames | WindowedVideo | Failure, watch: Stopwatch
    ) -> Sequence[_Views]:
        if isinstance(frames, WindowedVideo):
            return self._search(tasks, frames, watch)
        if isinstance(frames, Failure):
            return [frames] * len(tasks)
        return [_attempt(lambda: self._grounder.encode(frames, watch))] * len(tasks)

    def _search(
        self, tasks: Sequence[Task], video: WindowedVideo, watch: Stopwatch
    ) -> Sequence[WindowSearch | Failure]:
        """Search a long video for all tasks at once; one whose query cannot be decomposed fails alone."""
        found = [_attempt(partial(self._grounder.decompose, task.query, task.video, watch)) for task in tasks]
        queries = [query for query in found if isinstance(query, SubQueries)]
        searches = _attempt(lambda: self._grounder.search_windows(video, queries, watch) if queries else ())
        each: Iterator[WindowSearch | Failure] = repeat(searches) if isinstance(searches, Failure) else iter(searches)
        return [query if isinstance(query, Failure) else next(each) for query in found]

    def _compute_maps(self, items: Sequence[_Item]) -> None:
        """Decompose queries about encoded frames and, where that is worth it, compute their maps in shared passes."""
        decomposed: list[SubQueries] = []
        for item in items:
            if isinstance(item.views, EncodedViews):
                work = partial(self._grounder.decompose, item.task.query, item.task.video, item.watch)
                query, seconds = self._timed(partial(_attempt, work))
                item.seconds += seconds
                if isinstance(query, Failure):
                    item.views = query
                else:
                    item.query = query
                    decomposed.append(query)
        views = next((item.views for item in items if isinstance(item.views, EncodedViews)), None)
        if views is None or not self._share or self._grounder.learns_prompts or len(decomposed) == 1:
            return
        watch = Stopwatch()
        maps, seconds = self._timed(partial(_attempt, lambda: self._grounder.compute_maps(views, decomposed, watch)))
        if isinstance(maps, Failure):
            # Each is tried alone, and then has its own failure.
            return
        for item, own in zip((item for item in items if item.query is not None), maps, strict=True):
            item.maps = own
            item.seconds += seconds / len(maps)
            item.watch.seconds |= {name: spent / len(maps) for name, spent in watch.seconds.items()}

    def _outcome(self, item: _Item) -> Outcome:
        tracker, sample_id = self._grounder.tracker, item.task.sample_id
        shared_before = tracker.shared_seconds
        found, seconds = self._timed(partial(_attempt, partial(self._ground, item)))
        # What is computed for reports alone is no cost of the method, what is made for all rows no cost of one.
        aside = tracker.shared_seconds - shared_before + item.watch.seconds.get(UNPROMPTED_STAGE, 0.0)
        self.busy_seconds -= aside
        item.seconds += seconds - aside
        if isinstance(found, Failure):
            return Outcome(sample_id, None, None, found, item.seconds)
        track = dump_track(found.grounding.tracks[found.grounding.chosen_track])
        maps = None
        if self._grounder.keep_maps:
            maps = dump_maps_and_controls(found.grounding, self._grounder.settings.joint, sample_id)
        return Outcome(sample_id, dump_document(found.document), track, None, item.seconds, maps)

    def _ground(self, item: _Item) -> GroundingResult | Failure:
        match item.views, item.query:
            case EncodedViews() as views, SubQueries() as query:
                return self._grounder.ground_views(views, query, item.watch, item.maps)
            case WindowSearch() as search, _:
                return self._grounder.ground_windows(search, item.watch)
            case Failure() as failure, _:
                return failure
            case _:
                raise TypeError(f"expected a decomposed query's frames, got {type(item.views).__name__}")

    def _timed(self, work: Callable[[], _Result]) -> tuple[_Result, float]:
        """Return a result and the seconds that it took, which count as busy."""
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        self.busy_seconds += seconds
        return result, seconds


def _attempt(work: Callable[[], _Result]) -> _Result | Failure:
    """Return a result, or the failure of the sample or the video that it belongs to.

    Raises:
        RunError: it belongs to the device.
    """
    try:
        return work()
    except Exception as error:
        if isinstance(error, RuntimeError) and _BROKEN_DEVICE in str(error):
            reason = one_line(str(error), _LONGEST_REASON)
            raise RunError(
                f"the device stopped working and every further sample would fail: {reason}; "
                "run the same command again to go on"
            ) from error
        return Failure.of(error)
