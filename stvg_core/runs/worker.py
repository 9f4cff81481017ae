"""Grounds the tasks of a run: pictures are decoded ahead of the model, and made into tokens once per video.

Knows no store and no truth. Every error that belongs to a sample is its outcome; what ends the whole run is raised.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from stvg_core.api import Grounder, GroundingResult
from stvg_core.branches import UNPROMPTED_STAGE
from stvg_core.errors import RunError
from stvg_core.pipeline import EncodedViews, Stopwatch, encode_views
from stvg_core.plain_text import one_line
from stvg_core.report.document import dump_document
from stvg_core.report.kept_maps import dump_maps
from stvg_core.runs.tasks import Failure, Outcome, Task, dump_track
from stvg_core.values import Frames
from stvg_core.video import read_frames

# A kernel that fails leaves the process without its device, whichever sample comes next.
_BROKEN_DEVICE = "CUDA error"
_LONGEST_REASON = 300


@dataclass(frozen=True)
class _Read:
    """A group of tasks and its pictures, or why there are none."""

    tasks: tuple[Task, ...]
    frames: Frames | Failure
    seconds: float


@dataclass(frozen=True, eq=False)
class _Encoded:
    """A group whose pictures are encoded, as far as that works.

    Attributes:
        tasks: of the group.
        views: what the model sees, or why there is nothing.
        stage_seconds: of encoding, by stage.
        read_seconds: of decoding.
        encode_seconds: wall clock of encoding.
    """

    tasks: tuple[Task, ...]
    views: EncodedViews | Failure
    stage_seconds: dict[str, float]
    read_seconds: float
    encode_seconds: float


class Worker:
    """One opened model at work; a context manager that ends its decoding thread.

    Groups are handed in with `submit` and come out of `outcomes` in that order. While the model works on one,
    the pictures of the next ones are decoded in a thread.

    Attributes:
        capacity: groups that may be handed in; the pictures of so many lie in memory at most.
        busy_seconds: wall clock that the model, the tracker and the rest of the method took.
        waited_seconds: wall clock that they waited for pictures.
    """

    capacity = 3

    def __init__(self, grounder: Grounder, video_root: Path) -> None:
        """Hold an opened model.

        Args:
            grounder: model, settings and tracker.
            video_root: folder that the tasks' videos are relative to.
        """
        self._grounder = grounder
        self._video_root = video_root
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
        """End the decoding thread; what it was asked for and has not begun is dropped."""
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
        share_seconds = group.read_seconds / len(group.tasks)
        for position, task in enumerate(group.tasks):
            watch = Stopwatch()
            watch.seconds["video"] = share_seconds
            own_seconds = share_seconds
            if position == 0:
                watch.seconds |= group.stage_seconds
                own_seconds += group.encode_seconds
            began = time.perf_counter()
            found = self._ground(task, group.views, watch)
            # What is read for reports alone is no cost of the method.
            seconds = time.perf_counter() - began - watch.seconds.get(UNPROMPTED_STAGE, 0.0)
            self.busy_seconds += seconds
            own_seconds += seconds
            if isinstance(found, GroundingResult):
                document, track = (
                    dump_document(found.document),
                    dump_track(found.grounding.tracks[found.grounding.chosen_track]),
                )
                maps = dump_maps(found.grounding) if self._grounder.keep_maps else None
                yield Outcome(task.sample_id, document, track, None, own_seconds, maps)
            else:
                yield Outcome(task.sample_id, None, None, found, own_seconds)

    def _next_group(self) -> _Encoded:
        start = time.perf_counter()
        read = self._ahead.popleft().result()
        began = time.perf_counter()
        self.waited_seconds += began - start
        watch = Stopwatch()
        views = self._encode(read.frames, watch)
        encode_seconds = time.perf_counter() - began
        self.busy_seconds += encode_seconds
        return _Encoded(read.tasks, views, watch.seconds, read.seconds, encode_seconds)

    def _read(self, tasks: tuple[Task, ...]) -> _Read:
        start = time.perf_counter()
        first, sampling = tasks[0], self._grounder.settings.sampling
        frames: Frames | Failure
        try:
            frames = read_frames(
                self._video_root / first.video,
                sampling,
                maximum_side_pixels=sampling.maximum_side_pixels,
                segment=first.source_segment,
            )
        except Exception as error:  # noqa: BLE001  # whatever a file does to a decoder, the run goes on
            frames = Failure.of(error)
        return _Read(tasks, frames, time.perf_counter() - start)

    def _encode(self, frames: Frames | Failure, watch: Stopwatch) -> EncodedViews | Failure:
        if isinstance(frames, Failure):
            return frames
        try:
            return encode_views(frames, self._grounder.session, self._grounder.settings, watch)
        except Exception as error:  # noqa: BLE001  # the video's failure, not the run's
            return _failure(error)

    def _ground(self, task: Task, views: EncodedViews | Failure, watch: Stopwatch) -> GroundingResult | Failure:
        if isinstance(views, Failure):
            return views
        try:
            sub_queries = self._grounder.decompose(task.query, task.video, watch)
            return self._grounder.ground(views, sub_queries, watch)
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
