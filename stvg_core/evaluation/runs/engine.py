"""Where the method runs: in this process, or in workers of a Ray cluster."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from stvg_core.errors import UsageError
from stvg_core.evaluation.runs.tasks import Outcome, Task

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class EngineChoice:
    """Which engine.

    Attributes:
        name: "local": one model in this process; "ray": one in each of several workers.
        workers: how many (ray); None: one per CUDA device, one in all where there is none.
        address: of a Ray cluster; None: one of this machine's own.

    Raises:
        UsageError: the name is unknown, there is no worker, or workers or address are given to the local engine.
    """

    name: str = "local"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        """Check that the choices go together."""
        if self.name not in ENGINES:
            raise UsageError(f"expected --engine {' or '.join(ENGINES)}, got {self.name!r}")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"expected --workers of at least 1, got {self.workers}")
        if self.name == "local" and (self.workers or 1, self.address) != (1, None):
            raise UsageError("expected --engine ray beside --workers or --ray-address, got local")


@runtime_checkable
class Engine(Protocol):
    """Takes groups of tasks, and gives back what comes of them.

    Attributes:
        busy_seconds: wall clock that devices worked, summed.
        waited_seconds: wall clock that devices waited for pictures, summed.
    """

    busy_seconds: float
    waited_seconds: float

    @property
    def capacity(self) -> int:
        """How many groups may be handed in before it has to be asked for outcomes."""
        ...

    @property
    def waiting_groups(self) -> int:
        """How many groups were handed in and are not done."""
        ...

    def submit(self, tasks: tuple[Task, ...]) -> None:
        """Take a group of tasks about one video."""
        ...

    def outcomes(self) -> Iterator[Outcome]:
        """Wait for a group that was handed in, and yield what comes of its tasks.

        Raises:
            RunError: it cannot go on.
        """
        ...


@dataclass(frozen=True, eq=False)
class OpenedEngine:
    """An engine that is ready, and what a run records of it.

    Attributes:
        engine: takes tasks.
        model: what of the model decides results, as `describe_model` tells it.
        circumstances: of this session.
        warnings: what a reader of the results may want to know at the end.
        peak_memory: largest memory so far, as `RunStore.add_session_memory` takes it; empty where nobody looked.
    """

    engine: Engine
    model: Mapping[str, Any]
    circumstances: Mapping[str, Any]
    warnings: Callable[[], tuple[str, ...]] = tuple
    peak_memory: Callable[[], Mapping[str, int]] = dict
