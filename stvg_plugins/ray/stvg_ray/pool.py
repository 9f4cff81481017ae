"""Schedules groups over several workers, and replaces workers that die.

Independent of Ray: workers are numbers, and what happens to them are events. No sample is lost, because each stays in
its group until its outcome arrives; none is recorded twice, because events of a dead worker are ignored.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from stvg_core.errors import RunError
from stvg_core.evaluation.runs.provenance import check_same
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task

GROUPS_PER_WORKER: Final = 2
"""The model works on one while the frames of the other are decoded."""

DEATHS_PER_SAMPLE: Final = 3
"""Deaths of workers after which the sample they died at fails."""

_DEATHS_WHILE_LOADING: Final = 3
_DEATHS_IN_A_ROW: Final = 6


@dataclass(frozen=True)
class WorkerDescription:
    """A worker that has loaded its model.

    Attributes:
        host: name of its machine.
        model: what of the model decides results, as `describe_model` returns it.
        environment: as `describe_environment` returns it.
    """

    host: str
    model: Mapping[str, Any]
    environment: Mapping[str, Any]


@dataclass(frozen=True)
class Opened:
    """A worker has loaded its model."""

    worker: int
    description: WorkerDescription


@dataclass(frozen=True)
class LoadFailed:
    """A worker could not load the model; it has ended."""

    worker: int
    failure: Failure


@dataclass(frozen=True)
class Encoded:
    """A worker has decoded and encoded the video of its first group, or failed to."""

    worker: int
    busy_seconds: float
    waited_seconds: float


@dataclass(frozen=True)
class Finished:
    """A worker has finished a sample."""

    worker: int
    outcome: Outcome
    busy_seconds: float


@dataclass(frozen=True)
class Died:
    """A worker has ended without finishing its groups."""

    worker: int
    reason: str


Event = Opened | LoadFailed | Encoded | Finished | Died


@runtime_checkable
class WorkerPool(Protocol):
    """Starts workers, sends them groups, and reports events. A worker processes its groups in order."""

    def start(self) -> int:
        """Start a worker and return its number; its first event is Opened, LoadFailed or Died."""
        ...

    def submit(self, worker: int, tasks: tuple[Task, ...]) -> None:
        """Send a group to an open worker."""
        ...

    def next_event(self) -> Event:
        """Wait until something happens.

        Raises:
            RunError: nothing can happen any more.
        """
        ...


@dataclass(eq=False)
class _Group:
    """Tasks about one video that have no outcome yet.

    Attributes:
        tasks: by sample id, in order.
        encoded: its worker has reached the samples themselves.
        died_in: slots whose workers died while they had it; from then on it is alone in its worker.
    """

    tasks: dict[str, Task]
    encoded: bool = False
    died_in: set[int] = field(default_factory=set)


@dataclass(eq=False)
class _Slot:
    """A device, with its present worker.

    Attributes:
        worker: number of the worker.
        open: whether the worker has loaded its model.
        groups: submitted to the worker, in order.
        deaths: number of workers that died here since the last outcome.
    """

    worker: int
    open: bool = False
    groups: deque[_Group] = field(default_factory=deque)
    deaths: int = 0


class PooledEngine:
    """Distributes groups over the workers of a pool; fits `Engine`.

    A worker that dies is replaced. The groups it had are tried again: each alone in a worker, in another slot if there
    is one, to separate a sample that kills workers from the samples beside it. A sample at which three workers died
    fails. A slot is given up if six workers die in a row without any outcome, or if a replacement cannot load the
    model; the run ends when no slot is left.

    Attributes:
        busy_seconds: wall clock that devices worked, summed.
        waited_seconds: wall clock that devices waited for frames, summed.
    """

    def __init__(self, pool: WorkerPool, worker_count: int) -> None:
        """Start the workers.

        Args:
            pool: starts them.
            worker_count: how many.
        """
        self.busy_seconds = 0.0
        self.waited_seconds = 0.0
        self._pool = pool
        self._new: deque[_Group] = deque()
        self._retries: deque[_Group] = deque()
        self._deaths_at: Counter[str] = Counter()
        self._dead_workers = 0
        self._closed_slots = 0
        self._all_opened = False
        self._error: RunError | None = None
        self._descriptions: list[WorkerDescription] = []
        self._slots = {number: _Slot(pool.start()) for number in range(worker_count)}

    def wait_until_open(self) -> tuple[WorkerDescription, ...]:
        """Wait until every worker has loaded its model, and return their descriptions.

        Raises:
            RunError: a worker cannot load it, or has a different model.
        """
        while not all(slot.open for slot in self._slots.values()):
            self._handle(self._pool.next_event())
            self._raise_error()
        self._all_opened = True
        return tuple(self._descriptions)

    @property
    def capacity(self) -> int:
        """How many groups may be submitted: two for each worker."""
        return GROUPS_PER_WORKER * len(self._slots)

    @property
    def waiting_groups(self) -> int:
        """How many submitted groups are not done."""
        return len(self._new) + len(self._retries) + sum(len(slot.groups) for slot in self._slots.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence about workers that died, if any did."""
        if not self._dead_workers:
            return ()
        closed = f", {self._closed_slots} of them for good" if self._closed_slots else ""
        return (f"{self._dead_workers} workers died and what they had was tried again{closed}",)

    def submit(self, tasks: tuple[Task, ...]) -> None:
        """Take a group of tasks about one video."""
        self._new.append(_Group({task.sample_id: task for task in tasks}))

    def outcomes(self) -> Iterator[Outcome]:
        """Yield outcomes of samples, of any group, until a group is done.

        Raises:
            RunError: no worker is left, or a replacement has a different model.
        """
        waiting = self.waiting_groups
        while self.waiting_groups == waiting:
            while self._assign():
                pass
            # Failures are recorded before the run ends.
            yield from self._handle(self._pool.next_event())
            self._raise_error()

    def _assign(self) -> bool:
        """Send one group to a worker with room; return whether there was one."""
        for number, slot in sorted(self._slots.items(), key=lambda item: len(item[1].groups)):
            group = self._group_for(number, slot) if slot.open else None
            if group is not None:
                group.encoded = False
                slot.groups.append(group)
                self._pool.submit(slot.worker, tuple(group.tasks.values()))
                return True
        return False

    def _group_for(self, number: int, slot: _Slot) -> _Group | None:
        if not slot.groups:
            for group in self._retries:
                if number not in group.died_in or group.died_in >= set(self._slots):
                    self._retries.remove(group)
                    return group
        room = len(slot.groups) < GROUPS_PER_WORKER and not any(group.died_in for group in slot.groups)
        return self._new.popleft() if room and self._new else None

    def _handle(self, event: Event) -> list[Outcome]:
        number, slot = next(item for item in self._slots.items() if item[1].worker == event.worker)
        match event:
            case Opened():
                self._check_same_model(event.description)
                slot.open = True
            case LoadFailed():
                self._dead_workers += 1
                self._close_slot(number, event.failure.message)
            case Encoded():
                slot.groups[0].encoded = True
                self.busy_seconds += event.busy_seconds
                self.waited_seconds += event.waited_seconds
            case Finished():
                self.busy_seconds += event.busy_seconds
                slot.deaths = 0
                self._remove_task(slot, event.outcome.sample_id)
                return [event.outcome]
            case Died():
                return self._replace_worker(number, slot, event.reason)
        return []

    def _check_same_model(self, description: WorkerDescription) -> None:
        self._descriptions.append(description)
        first = self._descriptions[0]
        names = (f"the worker on {first.host}", f"the one on {description.host}")
        check_same(first.model, description.model, *names)

    def _remove_task(self, slot: _Slot, sample_id: str) -> None:
        if not slot.groups or sample_id not in slot.groups[0].tasks:
            raise RunError(f"expected an outcome of a submitted sample, got one of {sample_id}; report it as a bug")
        del slot.groups[0].tasks[sample_id]
        if not slot.groups[0].tasks:
            slot.groups.popleft()

    def _replace_worker(self, number: int, slot: _Slot, reason: str) -> list[Outcome]:
        """Start another worker; return the failures of samples at which too many have died."""
        self._dead_workers += 1
        failed: list[Outcome] = []
        for position, group in enumerate(slot.groups):
            sample_ids = list(group.tasks)
            # In an encoded group the worker died at the first sample without an outcome; else, at the video.
            self._deaths_at.update(sample_ids[:1] if position == 0 and group.encoded else sample_ids)
            group.died_in.add(number)
            for sample_id in sample_ids:
                if self._deaths_at[sample_id] >= DEATHS_PER_SAMPLE:
                    del group.tasks[sample_id]
                    failed.append(Outcome(sample_id, None, None, _death(reason), 0.0))
        self._retries.extend(group for group in slot.groups if group.tasks)
        deaths = slot.deaths + 1
        if deaths >= (_DEATHS_IN_A_ROW if slot.open else _DEATHS_WHILE_LOADING):
            self._close_slot(number, f"workers died {deaths} times in a row, the last time so: {reason}")
        else:
            self._slots[number] = _Slot(self._pool.start(), deaths=deaths)
        return failed

    def _close_slot(self, number: int, reason: str) -> None:
        self._closed_slots += 1
        del self._slots[number]
        if not self._all_opened or not self._slots:
            self._error = RunError(reason)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _death(reason: str) -> Failure:
    return Failure(
        "WorkerDied",
        f"expected a result, but {DEATHS_PER_SAMPLE} workers died at this sample, the last one so: {reason}; look at "
        "the video and at the memory of workers, then add --retry-failed",
    )
