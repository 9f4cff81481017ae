"""A data set of made-up samples, and an engine that answers without any model."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stvg_core.evaluation.runs.runner import begin_configuration, register_samples, run_pending
from stvg_core.evaluation.runs.selection import Selection
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task
from stvg_core.inputs.datasets import Dataset, open_dataset

FRAMES = 30
CONFIGURATION: dict[str, Any] = {"model": {"id": "made-up"}, "settings": {"prompt": {"steps": 2}}}


def write_dataset(folder: Path, videos: int = 4, queries: int = 3) -> Dataset:
    """Write a folder of our own format: `queries` sentences about each of `videos` videos, mixed up in order."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = [
        {
            "id": f"v{video}-q{query}",
            "video": f"video{video}.mp4",
            "query": f"The man number {query} walks.",
            "frame_count": FRAMES,
            "width": 64,
            "height": 48,
            "tube": {
                "start_frame": 5,
                "end_frame": 14,
                "boxes": {str(frame): [video, query, 30 + video, 40] for frame in range(5, 15)},
            },
        }
        for query in range(queries)
        for video in range(videos)
    ]
    (folder / "samples.json").write_text(json.dumps(samples))
    for video in range(videos):
        (folder / f"video{video}.mp4").write_bytes(b"no picture in it")
    return open_dataset("folder", folder)


def answer(task: Task) -> Outcome:
    """What the made-up model says: the same for the same task, in whatever process."""
    number = sum(map(ord, task.sample_id))
    if number % 11 == 0:
        return Outcome(task.sample_id, None, None, Failure("QueryError", "expected a man, got none"), 0.1)
    start, end = number % 8, number % 8 + 10
    corners = [float(number % 5), 0.0, 31.5, 40.0]
    document = {
        "video": {"frame_count": FRAMES, "width": 64, "height": 48},
        "query": {"text": task.query, "attribute": "the man", "action": "the man walks"},
        "tube": {
            "start_frame": start,
            "end_frame": end,
            "start_seconds": start / 10,
            "end_seconds": end / 10,
            "boxes": [{"frame": frame, "seconds": frame / 10, "xyxy": corners} for frame in range(start, end + 1)],
        },
    }
    track = {"frames": [0, FRAMES - 1], "boxes_xyxy": [corners, corners]}
    return Outcome(task.sample_id, json.dumps(document), json.dumps(track), None, 0.1)


@dataclass
class MadeUpEngine:
    """Answers by `answer`, after `seconds` of doing nothing."""

    seconds: float = 0.0
    speak: Callable[[Task], Outcome] = answer
    capacity: int = 2
    busy_seconds: float = 0.0
    waited_seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    most_waiting: int = 0
    _groups: deque[tuple[Task, ...]] = field(default_factory=deque)

    @property
    def waiting_groups(self) -> int:
        return len(self._groups)

    def submit(self, tasks: tuple[Task, ...]) -> None:
        self._groups.append(tasks)
        self.most_waiting = max(self.most_waiting, len(self._groups))

    def outcomes(self) -> Iterator[Outcome]:
        for task in self._groups.popleft():
            time.sleep(self.seconds)
            self.busy_seconds += 1.0
            self.asked.append(task.sample_id)
            yield self.speak(task)


def work(
    run: Path,
    dataset: Dataset,
    engine: MadeUpEngine | None = None,
    *,
    selection: Selection | None = None,
    configuration: dict[str, Any] | None = None,
    retry: bool = False,
    process: int = 1,
) -> MadeUpEngine:
    """Work on a run until nothing is left to claim, as `stvg evaluate` does."""
    engine = engine or MadeUpEngine()
    with RunStore(run) as store:
        begin_configuration(store, configuration or CONFIGURATION)
        register_samples(store, dataset, selection or Selection(), corrections=True)
        store.begin_session({"process": process})
        run_pending(store, engine, retry=retry)
    return engine


def begin(run: Path, dataset: Dataset) -> None:
    """Register a run's samples, and end."""
    with RunStore(run) as store:
        begin_configuration(store, CONFIGURATION)
        register_samples(store, dataset, Selection(), corrections=True)


def rows(run: Path) -> list[tuple[Any, ...]]:
    """What a run found, without times and session numbers."""
    with RunStore(run, write=False) as store:
        return [(row.sample_id, row.document, row.track, row.failure) for row in store.results()]


__all__ = ["CONFIGURATION", "MadeUpEngine", "answer", "begin", "rows", "work", "write_dataset"]
