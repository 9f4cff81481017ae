"""Grounds the tasks of a run: pictures are decoded ahead of the model, and made into tokens once per video.

Knows no store and no truth. Every error that belongs to a sample is its outcome; what ends the whole run is raised.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

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
_LEAST = 2
_READ_TOGETHER = 8
"""Queries of a video that are read at once: attribute and action of each, as many as one pass of the method takes."""

_Views = EncodedViews | WindowSearch | Failure
"""What the model sees of a task's video; or what it says of a long video's windows; or why there is nothing."""


@dataclass(frozen=True)
class _Read:
    """A group of tasks and its pictures (of a long video: its windows), or why there are none."""

    tasks: tuple[Task, ...]
    frames: Frames | WindowedVideo | Failure
    seconds: float


@dataclass(frozen=True, eq=False)
class _Encoded:
    """A group whose pictures are encoded, as far as that works.

    Attributes:
        tasks: of the group.
        views: for each task what the model sees, or what it says of the windows, or why there is nothing.
        stage_seconds: of encoding, by stage.
        read_seconds: of decoding.
        encode_seconds: wall clock of encoding.
    """

    tasks: tuple[Task, ...]
    views: tuple[_Views, ...]
    stage_seconds: dict[str, float]
    read_seconds: float
    encode_seconds: float


@dataclass(frozen=True, eq=False)
class _Asked:
    """A task's query, split, and what was read of it together with others.

    Attributes:
        query: its parts; what a search of a long video found for it; or why there is neither.
        watch: the time by stage so far, its share of what was done for several included.
        seconds: wall clock so far, likewise.
        maps: what was read; None where it is read alone.
    """

    query: SubQueries | WindowSearch | Failure
    watch: Stopwatch
    seconds: float = 0.0
    maps: BranchMaps | None = None


class Worker:
    """One opened model at work; a context manager that ends its decoding thread.

    Groups are handed in with `submit` and come out of `outcomes` in that order. While the model works on one,
    the pictures of the next ones are decoded in a thread.

    Attributes:
        capacity: groups that may be handed in; the pictures of so many lie in memory at most.
        busy_seconds: wall clock that the model, the tracker and the rest of the method took.
        waited_seconds: wall clock that they waited for frames.
    """

    capacity = 3

    def __init__(self, grounder: Grounder, video_root: Path, *, share: bool = True) -> None:
        """Hold an opened model.

        Args:
            grounder: model, settings and tracker.
            video_root: folder that the tasks' videos are relative to.
            share: queries about one video that learn no prompts are read in one pass; without it one by one, so
                that a worker that dies has died of the sample that it had come to.
        """
        self._grounder = grounder
        self._video_root = video_root
        self._share = share
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stvg-decode")
        self._ahead: deque[Future[_Read]] = deque()
        self._begun: _Encoded | None = None
        self.busy_seconds = 0.0
        self.waited_seconds = 0.0

    def __enter__(self) -> "Worker":
        """Return the worker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the decoding thread; groups that have not begun are dropped."""
        self._reader.shutdown(wait=True, cancel_futures=True)

    @property
    def waiting_groups(self) -> int:
        """How many groups were handed in and are not done."""
        return len(self._ahead)

    def submit(self, tasks: tuple[Task, ...]) -> None:
        """Take a group of tasks about one video; its pictures are decoded when the thread comes to it."""
        self._ahead.append(self._reader.submit(self._read, tasks))

    def begin(self) -> None:
        """Wait for the pictures of the group that was handed in first and encode them; `outcomes` goes on from there.

        Raises:
            RunError: the device is broken: every further sample would fail.
        """
        self._begun = self._next_group()

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what comes of the tasks of the group that was handed in first, one by one.

        Raises:
            RunError: the device is broken: every further sample would fail.
        """
        group = self._begun or self._next_group()
        self._begun = None
        for start in range(0, len(group.tasks), _READ_TOGETHER):
            yield from self._outcomes(group, start, group.tasks[start : start + _READ_TOGETHER])

    def _outcomes(self, group: _Encoded, start: int, tasks: tuple[Task, ...]) -> Iterator[Outcome]:
        share_seconds = group.read_seconds / len(group.tasks)
        asked = self._ask_together(group.views[start : start + len(tasks)], tasks)
        for position, (task, question) in enumerate(zip(tasks, asked, strict=True), start):
            watch = question.watch
            watch.seconds = {"video": share_seconds} | watch.seconds
            own_seconds = share_seconds + question.seconds
            if position == 0:
                watch.seconds |= group.stage_seconds
                own_seconds += group.encode_seconds
            began, made = time.perf_counter(), self._shared_seconds()
            found = self._ground(question, group.views[position])
            # What is read for reports alone is no cost of the method, what is made for all rows no cost of one.
            aside = self._shared_seconds() - made + watch.seconds.get(UNPROMPTED_STAGE, 0.0)
            seconds = time.perf_counter() - began - aside
            self.busy_seconds += seconds
            own_seconds += seconds
            if isinstance(found, GroundingResult):
                document, track = (
                    dump_document(found.document),
                    dump_track(found.grounding.tracks[found.grounding.chosen_track]),
                )
                maps = None
                if self._grounder.keep_maps:
                    maps = dump_maps_and_controls(found.grounding, self._grounder.settings.joint, task.sample_id)
                yield Outcome(task.sample_id, document, track, None, own_seconds, maps)
            else:
                yield Outcome(task.sample_id, None, None, found, own_seconds)

    def _shared_seconds(self) -> float:
        return self._grounder.tracker.shared_seconds

    def _next_group(self) -> _Encoded:
        start = time.perf_counter()
        read = self._ahead.popleft().result()
        began = time.perf_counter()
        self.waited_seconds += began - start
        watch = Stopwatch()
        views = self._encode(read, watch)
        encode_seconds = time.perf_counter() - began
        self.busy_seconds += encode_seconds
        return _Encoded(read.tasks, views, watch.seconds, read.seconds, encode_seconds)

    def _read(self, tasks: tuple[Task, ...]) -> _Read:
        start = time.perf_counter()
        first = tasks[0]
        frames: Frames | WindowedVideo | Failure
        try:
            frames = read_video(self._video_root / first.video, self._grounder.settings, first.source_segment)
        except Exception as error:  # noqa: BLE001  # whatever a file does to a decoder, the run goes on
            frames = Failure.of(error)
        return _Read(tasks, frames, time.perf_counter() - start)

    def _encode(self, read: _Read, watch: Stopwatch) -> tuple[_Views, ...]:
        frames, count = read.frames, len(read.tasks)
        if isinstance(frames, Failure):
            return (frames,) * count
        if isinstance(frames, WindowedVideo):
            return self._search(read.tasks, frames, watch)
        try:
            return (self._grounder.encode(frames, watch),) * count
        except Exception as error:  # noqa: BLE001  # the video's failure, not the run's
            return (_failure(error),) * count

    def _search(
        self, tasks: tuple[Task, ...], video: WindowedVideo, watch: Stopwatch
    ) -> tuple[WindowSearch | Failure, ...]:
        """Search a long video for all tasks at once; one whose query cannot be split fails alone."""
        found: list[SubQueries | Failure] = []
        for task in tasks:
            try:
                found.append(self._grounder.decompose(task.query, task.video, watch))
            except Exception as error:  # noqa: BLE001  # the sample's failure, not the run's
                found.append(_failure(error))
        queries = [one for one in found if isinstance(one, SubQueries)]
        try:
            searches = iter(self._grounder.search_windows(video, queries, watch) if queries else ())
        except Exception as error:  # noqa: BLE001  # the video's failure, not the run's
            shared = _failure(error)
            return tuple(one if isinstance(one, Failure) else shared for one in found)
        return tuple(one if isinstance(one, Failure) else next(searches) for one in found)

    def _ask_together(self, given: tuple[_Views, ...], tasks: tuple[Task, ...]) -> list["_Asked"]:
        """Split the tasks' queries and, where that is worth it, read them in shared passes."""
        asked = [
            self._split(task) if isinstance(one, EncodedViews) else _Asked(one, Stopwatch())
            for one, task in zip(given, tasks, strict=True)
        ]
        views = given[0]
        whole = [(number, one.query) for number, one in enumerate(asked) if isinstance(one.query, SubQueries)]
        if (
            not isinstance(views, EncodedViews)
            or not self._share
            or self._grounder.learns_prompts
            or len(whole) < _LEAST
        ):
            return asked
        began, watch = time.perf_counter(), Stopwatch()
        try:
            read = self._grounder.compute_maps(views, [query for _, query in whole], watch)
        except Exception as error:  # noqa: BLE001  # each is tried alone, and has its own failure then
            _failure(error)
            return asked
        seconds = time.perf_counter() - began
        self.busy_seconds += seconds
        for (number, query), maps in zip(whole, read, strict=True):
            shares = {name: spent / len(whole) for name, spent in watch.seconds.items()}
            own = asked[number]
            own.watch.seconds |= shares
            asked[number] = _Asked(query, own.watch, own.seconds + seconds / len(whole), maps)
        return asked

    def _split(self, task: Task) -> "_Asked":
        began, watch = time.perf_counter(), Stopwatch()
        query: SubQueries | Failure
        try:
            query = self._grounder.decompose(task.query, task.video, watch)
        except Exception as error:  # noqa: BLE001  # the sample's failure, not the run's
            query = _failure(error)
        seconds = time.perf_counter() - began
        self.busy_seconds += seconds
        return _Asked(query, watch, seconds)

    def _ground(self, asked: "_Asked", views: _Views) -> GroundingResult | Failure:
        work: Callable[[], GroundingResult]
        match asked.query, views:
            case Failure() as failure, _:
                return failure
            case WindowSearch() as search, _:
                work = partial(self._grounder.ground_windows, search, asked.watch)
            case SubQueries() as query, EncodedViews() as encoded:
                work = partial(self._grounder.ground_views, encoded, query, asked.watch, asked.maps)
            case _:
                raise TypeError(f"expected a split query's frames, got {type(views).__name__}")
        try:
            return work()
        except Exception as error:  # noqa: BLE001  # the sample's failure, not the run's
            return _failure(error)


def _failure(error: Exception) -> Failure:
    """Return what is kept of an error that belongs to a sample.

    Raises:
        RunError: it belongs to the device.
    """
    if isinstance(error, RuntimeError) and _BROKEN_DEVICE in str(error):
        raise RunError(
            f"the device stopped working and every further sample would fail: {one_line(str(error), _LONGEST_REASON)}; "
            "run the same command again to go on"
        ) from error
    return Failure.of(error)
