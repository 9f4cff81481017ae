"""A worker in another process, on any machine: plain values in, plain values out, sample by sample."""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stvg_core.errors import RunError
from stvg_core.evaluation.runs.evaluation import ModelChoice
from stvg_core.evaluation.runs.provenance import describe_environment, describe_model
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task
from stvg_core.evaluation.runs.worker import Worker
from stvg_ray.pool import WorkerDescription

_VARIABLE_PREFIX: Final = "STVG_"


@dataclass(frozen=True)
class DriverContext:
    """What a worker takes over from the driver's process, so that paths and plugins mean the same.

    Attributes:
        folder: the working directory; entered if the worker's machine has it.
        variables: environment variables that begin with STVG_.
    """

    folder: str
    variables: Mapping[str, str]

    @classmethod
    def current(cls) -> "DriverContext":
        """Return the context of this process."""
        variables = {name: value for name, value in os.environ.items() if name.startswith(_VARIABLE_PREFIX)}
        return cls(str(Path.cwd()), variables)

    def apply(self) -> None:
        """Change to the folder and set the variables."""
        os.environ.update(self.variables)
        if Path(self.folder).is_dir():
            os.chdir(self.folder)


@dataclass(frozen=True)
class Report:
    """What a worker returns between two samples.

    Attributes:
        outcome: of the sample; None at the start of a group, after its video was decoded and encoded.
        busy_seconds: that the device worked since the last report.
        waited_seconds: that the device waited for frames since the last report.
    """

    outcome: Outcome | None
    busy_seconds: float
    waited_seconds: float


class RemoteWorker:
    """A `Worker` in an actor.

    `submit` runs in a thread of its own, so that the frames of the next group are decoded while the model works;
    the other calls run one after the other.
    """

    def __init__(self, choice: ModelChoice, video_root: Path, driver: DriverContext) -> None:
        """Store what `open` needs; nothing can fail here."""
        self._choice = choice
        self._video_root = video_root
        self._driver = driver
        self._worker: Worker | None = None
        self._reported_seconds = (0.0, 0.0)
        self._submitted = threading.Semaphore(0)

    def open(self) -> WorkerDescription | Failure:
        """Load the model; errors are returned, because not every exception can be pickled."""
        try:
            self._driver.apply()
            grounder = self._choice.open()
            self._worker = Worker(grounder, self._video_root, share=False)
            return WorkerDescription(socket.gethostname(), describe_model(grounder), describe_environment(grounder))
        except Exception as error:  # noqa: BLE001  # raised by the driver
            return Failure.of(error)

    def submit(self, tasks: tuple[Task, ...]) -> None:
        """Take a group of tasks about one video.

        Raises:
            RunError: the model was not opened.
        """
        self._opened().submit(tasks)
        self._submitted.release()

    def work(self) -> Iterator[Report]:
        """Yield the reports of the group that was submitted first.

        Raises:
            RunError: the device is broken, or the model was not opened.
        """
        worker = self._opened()
        # The two calls of a group arrive in order, but their threads may not start in order.
        self._submitted.acquire()
        worker.begin()
        yield self._report(worker, None)
        for outcome in worker.outcomes():
            yield self._report(worker, outcome)

    def _opened(self) -> Worker:
        if self._worker is None:
            raise RunError("expected a worker with a model, got one without; report it as a bug of stvg-ray")
        return self._worker

    def _report(self, worker: Worker, outcome: Outcome | None) -> Report:
        before, now = self._reported_seconds, (worker.busy_seconds, worker.waited_seconds)
        self._reported_seconds = now
        return Report(outcome, now[0] - before[0], now[1] - before[1])
