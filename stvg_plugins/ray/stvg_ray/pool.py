"""Several workers at work at once: who gets which group, and what is done where a worker dies.

Knows no Ray: workers are numbers, and what happens to them are events. So that nothing is lost, every sample stays
in its group until its outcome is here; so that nothing comes twice, a dead worker is not listened to any more.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from stvg_core.errors import RunError
from stvg_core.evaluation.runs.configuration import check_same
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task

GROUPS_PER_WORKER: Final = 2
"""One is worked on, the pictures of the other are decoded."""

DEATHS_OF_A_SAMPLE: Final = 3
_DEATHS_AT_START: Final = 3
_DEATHS_IN_A_ROW: Final = 6


@dataclass(frozen=True)
class WorkerDescription:
    """A worker that has its model.

    Attributes:
        host: name of its machine.
        model: what of the model decides results, as `describe_model` tells it.
        circumstances: as `describe_circumstances` tells them.
    """

    host: str
    model: Mapping[str, Any]
    circumstances: Mapping[str, Any]


@dataclass(frozen=True)
class Opened:
    """A worker has loaded its model."""

    worker: int
    description: WorkerDescription


@dataclass(frozen=True)
class Refused:
    """A worker cannot load the model, and says why; it is gone."""

    worker: int
    failure: Failure


@dataclass(frozen=True)
class Begun:
    """A worker has decoded and encoded the video of the group that it was given first, or failed at that."""

    worker: int
    busy_seconds: float
    waited_seconds: float


@dataclass(frozen=True)
class Found:
    """A worker is done with a sample."""

    worker: int
    outcome: Outcome
    busy_seconds: float


@dataclass(frozen=True)
class Died:
    """A worker is gone, with everything that it was given."""

    worker: int
    reason: str


Event = Opened | Refused | Begun | Found | Died


@runtime_checkable
class WorkerPool(Protocol):
    """Starts workers, gives them groups, and tells what happens. A worker does its groups in order."""

    def start(self) -> int:
        """Start a worker and return its number; its first event is Opened, Refused or Died."""
        ...

    def give(self, worker: int, tasks: tuple[Task, ...]) -> None:
        """Hand a group to an open worker."""
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
        left: by sample id, in order.
        begun: its worker has come to the samples themselves.
        died_at: places whose workers died while they had it; afterwards it is given out alone.
    """

    left: dict[str, Task]
    begun: bool = False
    died_at: set[int] = field(default_factory=set)


@dataclass(eq=False)
class _Place:
    """A device, as far as it is known here: its worker, and the dead ones before that.

    Attributes:
        worker: who works here now.
        open: whether it has its model.
        groups: what it was given, in order.
        deaths: how many workers died here since the last outcome.
    """

    worker: int
    open: bool = False
    groups: deque[_Group] = field(default_factory=deque)
    deaths: int = 0


class PooledEngine:
    """Hands groups to the workers of a pool; fits `Engine`.

    A worker that dies is replaced. What it had is tried again: alone in a worker, at another place where there
    is one, so that what dies again can be told from what happened to be beside it. A sample that a worker
    died of three times fails. A place where workers die six times in a row without any outcome, or whose new
    worker cannot load the model, is given up; the run ends where none is left.

    Attributes:
        busy_seconds: wall clock that devices worked, summed.
        waited_seconds: wall clock that devices waited for pictures, summed.
    """

    def __init__(self, pool: WorkerPool, worker_count: int) -> None:
        """Start the workers.

        Args:
            pool: where they come from.
            worker_count: how many.
        """
        self.busy_seconds = 0.0
        self.waited_seconds = 0.0
        self._pool = pool
        self._new: deque[_Group] = deque()
        self._again: deque[_Group] = deque()
        self._sample_deaths: Counter[str] = Counter()
        self._died = 0
        self._given_up = 0
        self._began = False
        self._end: RunError | None = None
        self._descriptions: list[WorkerDescription] = []
        self._places = {number: _Place(pool.start()) for number in range(worker_count)}

    def wait_until_open(self) -> tuple[WorkerDescription, ...]:
        """Wait until every worker has its model, and return what they say of it.

        Raises:
            RunError: one cannot load it, or has another one than the rest.
        """
        while not all(place.open for place in self._places.values()):
            self._take(self._pool.next_event())
            self._check_alive()
        self._began = True
        return tuple(self._descriptions)

    @property
    def capacity(self) -> int:
        """How many groups may be handed in: two for each worker."""
        return GROUPS_PER_WORKER * len(self._places)

    @property
    def waiting_groups(self) -> int:
        """How many groups were handed in and are not done."""
        return len(self._new) + len(self._again) + sum(len(place.groups) for place in self._places.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the results may want to know: workers that died."""
        given_up = f", {self._given_up} of them for good" if self._given_up else ""
        return (f"{self._died} workers died and what they had was tried again{given_up}",) if self._died else ()

    def submit(self, tasks: tuple[Task, ...]) -> None:
        """Take a group of tasks about one video."""
        self._new.append(_Group({task.sample_id: task for task in tasks}))

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what comes of samples, of whichever groups, until a group is done.

        Raises:
            RunError: no worker is left, or a new one has another model than the rest.
        """
        waiting = self.waiting_groups
        while self.waiting_groups == waiting:
            while self._hand_out():
                pass
            # What has failed by now is recorded before the run ends.
            yield from self._take(self._pool.next_event())
            self._check_alive()

    def _hand_out(self) -> bool:
        """Give one group to a worker that has room; whether there was one."""
        for number, place in sorted(self._places.items(), key=lambda item: len(item[1].groups)):
            group = self._group_for(number, place) if place.open else None
            if group is not None:
                group.begun = False
                place.groups.append(group)
                self._pool.give(place.worker, tuple(group.left.values()))
                return True
        return False

    def _group_for(self, number: int, place: _Place) -> _Group | None:
        if not place.groups:
            for group in self._again:
                if number not in group.died_at or group.died_at >= set(self._places):
                    self._again.remove(group)
                    return group
        room = len(place.groups) < GROUPS_PER_WORKER and not any(group.died_at for group in place.groups)
        return self._new.popleft() if room and self._new else None

    def _take(self, event: Event) -> list[Outcome]:
        number, place = next(item for item in self._places.items() if item[1].worker == event.worker)
        match event:
            case Opened():
                self._check_same(event.description)
                place.open = True
            case Refused():
                self._died += 1
                self._give_up(number, event.failure.message)
            case Begun():
                place.groups[0].begun = True
                self.busy_seconds += event.busy_seconds
                self.waited_seconds += event.waited_seconds
            case Found():
                self.busy_seconds += event.busy_seconds
                place.deaths = 0
                self._finish(place, event.outcome.sample_id)
                return [event.outcome]
            case Died():
                return self._bury(number, place, event.reason)
        return []

    def _check_same(self, description: WorkerDescription) -> None:
        self._descriptions.append(description)
        first = self._descriptions[0]
        names = (f"the worker on {first.host}", f"the one on {description.host}")
        check_same(first.model, description.model, *names)

    def _finish(self, place: _Place, sample_id: str) -> None:
        if not place.groups or sample_id not in place.groups[0].left:
            raise RunError(f"expected an outcome of what a worker was given, got one of {sample_id}; report it")
        del place.groups[0].left[sample_id]
        if not place.groups[0].left:
            place.groups.popleft()

    def _bury(self, number: int, place: _Place, reason: str) -> list[Outcome]:
        """Replace a dead worker; return failures of samples that have killed too many."""
        self._died += 1
        failed: list[Outcome] = []
        for position, group in enumerate(place.groups):
            tasks = list(group.left)
            # With a group that was begun it is the sample that it had come to; with others, the video.
            self._sample_deaths.update(tasks[:1] if position == 0 and group.begun else tasks)
            group.died_at.add(number)
            for sample_id in tasks:
                if self._sample_deaths[sample_id] >= DEATHS_OF_A_SAMPLE:
                    del group.left[sample_id]
                    failed.append(Outcome(sample_id, None, None, _death(reason), 0.0))
        self._again.extend(group for group in place.groups if group.left)
        deaths = place.deaths + 1
        if deaths >= (_DEATHS_IN_A_ROW if place.open else _DEATHS_AT_START):
            self._give_up(number, f"workers died {deaths} times in a row, the last time so: {reason}")
        else:
            self._places[number] = _Place(self._pool.start(), deaths=deaths)
        return failed

    def _give_up(self, number: int, reason: str) -> None:
        self._given_up += 1
        del self._places[number]
        if not self._began or not self._places:
            self._end = RunError(reason)

    def _check_alive(self) -> None:
        if self._end is not None:
            raise self._end


def _death(reason: str) -> Failure:
    return Failure(
        "WorkerDied",
        f"expected a result, but {DEATHS_OF_A_SAMPLE} workers died at this sample, the last one so: {reason}; look at "
        "the video and at the memory of workers, then add --retry-failed",
    )
