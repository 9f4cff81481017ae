"""A worker in a process of its own, on whichever machine: plain values in, plain values out, sample by sample."""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from stvg_core.api.grounder import Grounder
from stvg_core.errors import RunError
from stvg_core.evaluation.runs.pool import WorkerDescription
from stvg_core.evaluation.runs.provenance import describe_circumstances, describe_model
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task
from stvg_core.evaluation.runs.worker import Worker
from stvg_core.plugin.model_reference import LoadOptions

_OWN_VARIABLES: Final = "STVG_"


@runtime_checkable
class Openable(Protocol):
    """What opens a model in another process, such as `ModelChoice`: a value that can be pickled."""

    @property
    def options(self) -> LoadOptions:
        """How it is loaded."""
        ...

    def open(self) -> Grounder:
        """Load the model.

        Raises:
            StvgError: what was expected, what came, and the cure.
        """
        ...


@dataclass(frozen=True)
class Surroundings:
    """What of the driver's process a worker needs to find the same files by the same names.

    Attributes:
        folder: the current one; a relative path means the same in a worker, where its machine has the folder.
        variables: of the environment, our own.
    """

    folder: str
    variables: Mapping[str, str]

    @classmethod
    def here(cls) -> "Surroundings":
        """Return those of this process."""
        own = {name: value for name, value in os.environ.items() if name.startswith(_OWN_VARIABLES)}
        return cls(str(Path.cwd()), own)

    def enter(self) -> None:
        """Take them on."""
        os.environ.update(self.variables)
        if Path(self.folder).is_dir():
            os.chdir(self.folder)


@dataclass(frozen=True)
class Report:
    """What a worker tells between two samples.

    Attributes:
        outcome: of the sample; None at the start of a group, when its video is decoded and encoded.
        busy_seconds: that the device worked since the last report.
        waited_seconds: that it waited for pictures since the last report.
    """

    outcome: Outcome | None
    busy_seconds: float
    waited_seconds: float


class RemoteWorker:
    """A `Worker` in an actor.

    `submit` runs in a thread of its own, so that the pictures of the next group are decoded while the model works;
    the other calls come one after the other.
    """

    def __init__(self, choice: Openable, video_root: Path, surroundings: Surroundings) -> None:
        """Keep what `open` needs; nothing can go wrong here."""
        self._choice = choice
        self._video_root = video_root
        self._surroundings = surroundings
        self._worker: Worker | None = None
        self._told_seconds = (0.0, 0.0)
        self._submitted = threading.Semaphore(0)

    def open(self) -> WorkerDescription | Failure:
        """Load the model; what is wrong with it is returned, because not every error can travel."""
        try:
            self._surroundings.enter()
            grounder = self._choice.open()
            self._worker = Worker(grounder, self._video_root, share=False)
            return WorkerDescription(socket.gethostname(), describe_model(grounder), describe_circumstances(grounder))
        except Exception as error:  # noqa: BLE001  # the driver's to raise
            return Failure.of(error)

    def submit(self, tasks: tuple[Task, ...]) -> None:
        """Take a group of tasks about one video.

        Raises:
            RunError: the model was not opened.
        """
        self._opened().submit(tasks)
        self._submitted.release()

    def work(self) -> Iterator[Report]:
        """Yield what comes of the group that was handed in first.

        Raises:
            RunError: the device is broken, or the model was not opened.
        """
        worker = self._opened()
        # The two calls of a group travel in order, but their threads may not start so.
        self._submitted.acquire()
        worker.begin()
        yield self._report(worker, None)
        for outcome in worker.outcomes():
            yield self._report(worker, outcome)

    def _opened(self) -> Worker:
        if self._worker is None:
            raise RunError("expected a worker with a model, got one without; report it")
        return self._worker

    def _report(self, worker: Worker, outcome: Outcome | None) -> Report:
        before, now = self._told_seconds, (worker.busy_seconds, worker.waited_seconds)
        self._told_seconds = now
        return Report(outcome, now[0] - before[0], now[1] - before[1])
