"""A data set of made-up samples, and an engine that answers without any model."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stvg_core.devtools.demos import find_demos
from stvg_core.evaluation.runs.runner import register_samples, run_pending
from stvg_core.evaluation.runs.selection import Selection
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task
from stvg_core.inputs.datasets import Dataset, open_dataset
from stvg_core.inputs.video import probe_video
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import Track
from tests.support.clips import Clip, write_clip

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


def better(task: Task) -> Outcome:
    """The made-up model with a tube that covers the truth."""
    found = answer(task)
    if found.failure:
        return found
    document = json.loads(found.document or "")
    document["tube"] |= {"start_frame": 5, "end_frame": 14}
    corners = [float(task.video.strip("video.mp4")), 0.0, 31.0, 40.0]
    track = {"frames": [0, 29], "boxes_xyxy": [corners, corners]}
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
        store.begin_configuration(configuration or CONFIGURATION)
        register_samples(store, dataset, selection or Selection(), corrections=True)
        store.begin_session({"process": process})
        run_pending(store, engine, retry=retry)
    return engine


def begin(run: Path, dataset: Dataset) -> None:
    """Register a run's samples, and end."""
    with RunStore(run) as store:
        store.begin_configuration(CONFIGURATION)
        register_samples(store, dataset, Selection(), corrections=True)


def rows(run: Path) -> list[tuple[Any, ...]]:
    """What a run found, without times and session numbers."""
    with RunStore(run, write=False) as store:
        return [(row.sample_id, row.document, row.track, row.failure) for row in store.results()]


class WholePicture(Tracker):
    """One track as large as the picture; counts how often it was asked."""

    name = "whole"
    per_video = True

    def __init__(self) -> None:
        self.asked: list[int] = []

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        self.asked.append(int(request.frames.indices[-1]))
        return (Track(np.array([0, 29]), np.array([[0.0, 0, 64, 48]] * 2)),)


def write_data(root: Path, *, frame_count: int = 20) -> Path:
    """Our own format: three clips, one of them damaged and one missing, one sample without a truth."""
    root.mkdir(exist_ok=True)
    for name in ("a.mp4", "b.mp4"):
        write_clip(root, Clip(name=name, frame_count=20))
    (root / "damaged.mp4").write_bytes(b"no picture in it")
    tube = {"start_frame": 3, "end_frame": 4, "boxes": {"3": [1, 2, 30, 40], "4": [2, 2, 31, 40]}}
    known = {"query": "The man walks.", "frame_count": frame_count, "width": 64, "height": 48, "tube": tube}
    samples = [
        {"id": "1", "video": "a.mp4", **known},
        {"id": "2", "video": "b.mp4", **known, "query": "Who walks?"},
        {"id": "3", "video": "a.mp4", "query": "The man walks."},
        {"id": "4", "video": "damaged.mp4", **known},
        {"id": "5", "video": "gone.mp4", **known},
    ]
    (root / "samples.json").write_text(json.dumps(samples))
    return root


def write_demo_data(root: Path, clips: int, queries: int) -> Path:
    """The shipped demo clip under several names, with several queries each."""
    demo = next(case for case in find_demos() if case.name == "easy")
    truth = demo.truth(probe_video(demo.video))
    boxes = {str(truth.start_frame + place): box for place, box in enumerate(truth.boxes_xyxy.tolist())}
    tube = {"start_frame": truth.start_frame, "end_frame": truth.end_frame, "boxes": boxes}
    objects = [f"{colour} {shape}" for colour in ("red", "blue", "green") for shape in ("circle", "square")]
    root.mkdir()
    samples = []
    for clip in range(clips):
        (root / f"{clip}.mp4").write_bytes(demo.video.read_bytes())
        for query, name in enumerate(objects[:queries]):
            sample = {"id": f"{clip}-{query}", "video": f"{clip}.mp4", "query": f"The {name} moves left."}
            samples.append(sample | {"frame_count": len(probe_video(demo.video).frame_seconds), "tube": tube})
    (root / "samples.json").write_text(json.dumps(samples))
    return root
