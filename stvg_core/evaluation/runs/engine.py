"""Where the method runs. Engines are opened by name from the entry-point group `stvg.engines`.

An engine is a class that is made without arguments and fulfils `EngineOpener`. The core registers `local`, which
runs the method in this process; distributions such as stvg-ray register others.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from stvg_core.errors import UsageError
from stvg_core.evaluation.runs.tasks import Outcome, Task
from stvg_core.host.loading import open_plugin, plugin_names
from stvg_core.host.registry.selection import find_entries

if TYPE_CHECKING:
    from stvg_core.evaluation.runs.evaluation import ModelChoice, SessionKeeper

GROUP: Final = "stvg.engines"
_PUBLISHED: Final = {"ray": "stvg-ray"}


@dataclass(frozen=True)
class EngineChoice:
    """Which engine, and where its workers are.

    Attributes:
        name: as its distribution registers it; "local": one model in this process.
        workers: number of models that work at the same time; None: as many as the engine finds devices for.
        address: of the cluster to join; None: this machine.

    Raises:
        UsageError: there is no worker, or workers or an address are given to the engine `local`.
    """

    name: str = "local"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        """Check that the values go together."""
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"expected --workers of at least 1, got {self.workers}")
        if self.name == "local" and (self.workers or 1, self.address) != (1, None):
            raise UsageError("expected an engine such as ray with --workers or --ray-address, got --engine local")


@runtime_checkable
class Engine(Protocol):
    """Takes groups of tasks and returns their outcomes.

    Attributes:
        busy_seconds: wall clock that devices worked, summed.
        waited_seconds: wall clock that devices waited for frames, summed.
    """

    busy_seconds: float
    waited_seconds: float

    @property
    def capacity(self) -> int:
        """How many groups may be submitted before outcomes must be taken."""
        ...

    @property
    def waiting_groups(self) -> int:
        """How many submitted groups are not done."""
        ...

    def submit(self, tasks: tuple[Task, ...]) -> None:
        """Take a group of tasks about one video."""
        ...

    def outcomes(self) -> Iterator[Outcome]:
        """Wait for a submitted group, and yield the outcomes of its tasks.

        Raises:
            RunError: the engine cannot continue.
        """
        ...


@dataclass(frozen=True, eq=False)
class OpenedEngine:
    """An engine that is ready, and what a run records of it.

    Attributes:
        engine: takes tasks.
        model: what of the model decides results, as `describe_model` returns it.
        environment: of this session, as `describe_environment` returns it, with the engine's name, workers and nodes.
        warnings: for the summary of the run.
        peak_memory: largest so far, as `peak_host_bytes` and `peak_device_bytes`; empty if not measured.
    """

    engine: Engine
    model: Mapping[str, Any]
    environment: Mapping[str, Any]
    warnings: Callable[[], tuple[str, ...]] = tuple
    peak_memory: Callable[[], Mapping[str, int]] = dict


@runtime_checkable
class EngineOpener(Protocol):
    """What an entry point of `stvg.engines` makes."""

    def open(
        self, options: EngineChoice, choice: "ModelChoice", video_root: Path, sessions: "SessionKeeper | None" = None
    ) -> AbstractContextManager[OpenedEngine]:
        """Load the model where the method is to run; leaving the context releases everything.

        Args:
            options: the workers and their place.
            choice: the model and everything else that decides results; can be pickled.
            video_root: folder that the tasks' videos are relative to.
            sessions: holds the model between runs of this process; engines that load it elsewhere ignore it.

        Raises:
            StvgError: the model cannot be loaded, the place does not exist, or the options do not fit.
        """
        ...


def engine_names() -> tuple[str, ...]:
    """Return the names of installed engines, sorted; imports none of them."""
    return plugin_names(GROUP)


def find_engine(name: str) -> EngineOpener:
    """Return the engine of this name; imports no other.

    Raises:
        UsageError: no installed distribution registers it.
        PluginError: it cannot be imported, is disabled, or two distributions register it.
    """
    if name not in {entry.point.name for entry, _ in find_entries(GROUP)}:
        cure = f"; pip install {_PUBLISHED[name]}" if name in _PUBLISHED else ""
        raise UsageError(f"expected --engine {' or '.join(engine_names())}, got {name!r}{cure}")
    # mypy takes a Protocol for abstract here; isinstance does not.
    return open_plugin(GROUP, "engine", EngineOpener, name)  # type: ignore[type-abstract]
