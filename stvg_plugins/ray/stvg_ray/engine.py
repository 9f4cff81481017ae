"""The method in workers of a Ray cluster: one actor per device. The only module that imports Ray.

Actors get plain values and give plain values back, sample by sample; the process that started them alone writes
the run. Nothing goes through Ray's object store but kilobytes.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import RunError, UsageError
from stvg_core.evaluation.runs.configuration import differing
from stvg_core.evaluation.runs.engine import EngineChoice, OpenedEngine
from stvg_core.evaluation.runs.pool import Begun, Died, Event, Found, Opened, PooledEngine, Refused, WorkerDescription
from stvg_core.evaluation.runs.provenance import describe_circumstances
from stvg_core.evaluation.runs.remote_worker import Openable, RemoteWorker, Surroundings
from stvg_core.evaluation.runs.tasks import Failure, Task

_STORE_BYTES: Final = 100 * 2**20
_LONGEST_REASON: Final = 300
_PATIENCE_SECONDS: Final = 10.0
_PICTURES: Final = "pictures"
_OF_THE_WORKER: Final = ("versions", "platform", "git_commit", "device", "device_map", "attention")
_SWITCHES: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray tells of dead workers on stdout, where --json has its document; we tell of them ourselves.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
}


@dataclass(eq=False)
class _Actor:
    """A Ray actor, and what it owes: the answer to `open`, then a stream of reports per group, in order."""

    handle: Any
    opening: Any
    streams: deque[Any] = field(default_factory=deque)

    @property
    def owed(self) -> object:
        """What comes next; None where it owes nothing."""
        if self.opening is not None:
            return self.opening
        return self.streams[0] if self.streams else None


class RayPool:
    """Workers as Ray actors; fits `WorkerPool`."""

    def __init__(self, ray: ModuleType, choice: Openable, video_root: Path, device_count: int) -> None:
        """Prepare to start actors.

        Args:
            ray: the package, connected to a cluster.
            choice: opens the model.
            video_root: folder that the tasks' videos are relative to, on every machine.
            device_count: CUDA devices that each actor gets, 0 or 1.
        """
        self._ray = ray
        self._arguments = (choice, Path(os.path.abspath(video_root)), Surroundings.here())  # noqa: PTH100  # no links
        self._class = ray.remote(
            num_cpus=1,
            num_gpus=device_count,
            # Ray itself replaces and repeats nothing: it could not tell a poisoned sample from an accident.
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            concurrency_groups={_PICTURES: 1},
        )(RemoteWorker)
        self._actors: dict[int, _Actor] = {}
        self._started = 0

    def start(self) -> int:
        """Start an actor and return its number; its first event is Opened, Refused or Died."""
        handle = self._class.remote(*self._arguments)
        self._started += 1
        self._actors[self._started] = _Actor(handle, handle.open.remote())
        return self._started

    def give(self, worker: int, tasks: tuple[Task, ...]) -> None:
        """Hand a group to an open actor."""
        actor = self._actors[worker]
        actor.handle.submit.options(concurrency_group=_PICTURES).remote(tasks)
        actor.streams.append(actor.handle.work.options(num_returns="streaming").remote())

    def next_event(self) -> Event:
        """Wait until something happens.

        Raises:
            RunError: nobody works.
        """
        while True:
            owed = {actor.owed: number for number, actor in self._actors.items() if actor.owed is not None}
            if not owed:
                raise RunError("expected a worker to wait for, got none at work; report it")
            (ready, *_), _ = self._ray.wait(list(owed), num_returns=1, fetch_local=False)
            number = owed[ready]
            try:
                event = self._event(number, self._actors[number])
            except self._ray.exceptions.RayError as error:
                event = Died(number, _reason(error))
            if isinstance(event, Died | Refused):
                self._end(self._actors.pop(number))
            if event is not None:
                return event

    def close(self) -> None:
        """End every actor."""
        while self._actors:
            self._end(self._actors.popitem()[1])

    def _event(self, number: int, actor: _Actor) -> Event | None:
        if actor.opening is not None:
            answer = self._ray.get(actor.opening)
            actor.opening = None
            return Refused(number, answer) if isinstance(answer, Failure) else Opened(number, answer)
        try:
            report = self._ray.get(next(actor.streams[0]))
        except StopIteration:
            actor.streams.popleft()
            return None
        if report.outcome is None:
            return Begun(number, report.busy_seconds, report.waited_seconds)
        return Found(number, report.outcome, report.busy_seconds)

    def _end(self, actor: _Actor) -> None:
        # One that is dead already cannot be ended.
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor.handle)


@contextmanager
def open_ray_engine(engine: EngineChoice, choice: Openable, video_root: Path) -> Iterator[OpenedEngine]:
    """Start or join a Ray cluster, and load the model in one actor per device; leaving it ends them.

    Args:
        engine: how many workers, and which cluster.
        choice: opens the model, in every actor.
        video_root: folder that the tasks' videos are relative to, on every machine.

    Raises:
        RunError: Ray is missing or cannot be started or joined, there are too few devices, a worker cannot load
            the model, or workers have different ones.
        UsageError: the options name one device.
    """
    device = choice.options.device
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"expected --device auto, cpu or cuda beside --engine ray, got {device!r}: Ray deals them out")
    with _connected(engine) as ray:
        worker_count, device_count = _share(ray.cluster_resources(), engine.workers, device)
        pool = RayPool(ray, choice, video_root, device_count)
        try:
            pooled = PooledEngine(pool, worker_count)
            descriptions = pooled.wait_until_open()
            yield OpenedEngine(
                pooled,
                descriptions[0].model,
                _circumstances(descriptions),
                lambda: (*_differences(descriptions), *pooled.warnings),
            )
        finally:
            pool.close()


def _share(resources: Mapping[str, float], workers: int | None, device: str) -> tuple[int, int]:
    """Return how many workers there are to be, and how many CUDA devices each gets.

    Raises:
        RunError: the cluster has fewer.

    >>> _share({"CPU": 16.0, "GPU": 4.0}, None, "auto")
    (4, 1)
    >>> _share({"CPU": 16.0, "GPU": 4.0}, 2, "cpu"), _share({"CPU": 16.0}, None, "auto")
    ((2, 0), (1, 0))
    """
    cuda = int(resources.get("GPU", 0))
    if device == "cuda" and not cuda:
        raise RunError("expected CUDA devices in the Ray cluster, got none; give --device cpu")
    device_count = 1 if cuda and device != "cpu" else 0
    places, kind = (cuda, "CUDA devices") if device_count else (int(resources.get("CPU", 0)), "CPU cores")
    wanted = workers or (cuda if device_count else 1)
    if wanted > places:
        raise RunError(f"expected at most {places} workers, for the Ray cluster has {places} {kind}, got {wanted}")
    return wanted, device_count


def _circumstances(descriptions: tuple[WorkerDescription, ...]) -> dict[str, Any]:
    """Return the session's circumstances: this process, what its first worker computes with, and all workers."""
    theirs = descriptions[0].circumstances
    return {
        **describe_circumstances(None),
        **{name: theirs[name] for name in _OF_THE_WORKER if name in theirs},
        "engine": {
            "name": "ray",
            "workers": len(descriptions),
            "nodes": len({description.host for description in descriptions}),
        },
    }


def _differences(descriptions: tuple[WorkerDescription, ...]) -> tuple[str, ...]:
    """Return a sentence for whatever workers do not compute with alike."""
    first, *others = (
        (description.host, {name: description.circumstances.get(name) for name in _OF_THE_WORKER})
        for description in descriptions
    )
    told = {
        name: f"{name} is {one} on {first[0]} and {two} on {host}"
        for host, circumstances in others
        for name, one, two in differing(first[1], circumstances)
    }
    return tuple(told.values())


@contextmanager
def _connected(engine: EngineChoice) -> Iterator[ModuleType]:
    """Give Ray, connected to a cluster: the one that this process is in, the one of the address, or its own.

    Raises:
        RunError: Ray is missing, or cannot be started or joined.
    """
    with _environment(_SWITCHES), _kept_signals():
        try:
            import ray
        except ImportError as error:
            raise RunError(f"expected Ray, got {error}; pip install 'stvg-core[ray]'") from error
        joined = ray.is_initialized() and engine.address is None
        if not joined:
            where, told = _cluster(engine)
            try:
                _check_reachable(engine.address)
                with _quiet():
                    ray.init(**where, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
            except (ray.exceptions.RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
                raise RunError(f"{told}: {one_line(str(error), _LONGEST_REASON)}") from error
    try:
        yield ray
    finally:
        if not joined:
            ray.shutdown()


def _cluster(engine: EngineChoice) -> tuple[dict[str, Any], str]:
    """Return which cluster Ray is to be told, and what to say where that fails."""
    if engine.address is not None:
        return {"address": engine.address}, f"cannot join the Ray cluster {engine.address!r} (see ray status)"
    own = {
        "address": "local",
        "num_cpus": max(os.cpu_count() or 1, engine.workers or 1),
        "object_store_memory": _STORE_BYTES,
        "include_dashboard": False,
    }
    return own, "cannot start Ray on this machine"


def _check_reachable(address: str | None) -> None:
    """Knock at an address such as 10.0.0.1:6379; Ray itself waits for minutes where nobody answers.

    Raises:
        OSError: nobody answers.
        ValueError: it is a client's address, by which no stream of results comes back.
    """
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ValueError("expected auto or HOST:PORT; run stvg on a machine of the cluster")
    with socket.create_connection((host, int(port)), _PATIENCE_SECONDS):
        pass


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment while inside."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _kept_signals() -> Iterator[None]:
    """Put back the answer to SIGTERM that Ray replaces: a run that is stopped gives its claims back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Ray's own log tell errors alone; its import has set the level to more."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _reason(error: Exception) -> str:
    """Return what Ray says of a death, on one line."""
    cause, text = getattr(error, "cause", None), str(error)
    if cause is not None:
        return one_line(str(cause), _LONGEST_REASON)
    return one_line(text.partition("The actor is dead because ")[2] or text, _LONGEST_REASON)
