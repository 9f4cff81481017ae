"""The engine `ray`: one Ray actor per device. The only module that imports Ray.

Actors receive and return plain values, sample by sample; only the process that started them writes the run. Nothing
larger than kilobytes goes through Ray's object store.
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
from stvg_core.evaluation.runs.engine import EngineChoice, OpenedEngine
from stvg_core.evaluation.runs.evaluation import ModelChoice, SessionKeeper
from stvg_core.evaluation.runs.provenance import describe_environment, differences
from stvg_core.evaluation.runs.tasks import Failure, Task
from stvg_ray.pool import Died, Encoded, Event, Finished, LoadFailed, Opened, PooledEngine, WorkerDescription
from stvg_ray.remote_worker import DriverContext, RemoteWorker

_STORE_BYTES: Final = 100 * 2**20
_LONGEST_REASON: Final = 300
_CONNECT_TIMEOUT_SECONDS: Final = 10.0
_SUBMIT_GROUP: Final = "submit"
_OF_THE_WORKER: Final = ("versions", "platform", "git_commit", "device", "device_map", "attention")
_VARIABLES: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray reports dead workers on stdout, where --json writes its document; the engine reports them itself.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
}


class RayEngine:
    """Opens workers on this machine or in a Ray cluster; fits `stvg_core.evaluation.runs.engine.EngineOpener`."""

    @contextmanager
    def open(
        self, options: EngineChoice, choice: ModelChoice, video_root: Path, sessions: SessionKeeper | None = None
    ) -> Iterator[OpenedEngine]:
        """Start or join a Ray cluster, and load the model in one actor per device; leaving the context ends them.

        Args:
            options: how many workers, and which cluster.
            choice: opens the model, in every actor.
            video_root: folder that the tasks' videos are relative to, on every machine.
            sessions: ignored: models are loaded in the actors.

        Raises:
            RunError: Ray is missing or cannot be started or joined, there are too few devices, a worker cannot load
                the model, or workers have different ones.
            UsageError: the options name one device.
        """
        del sessions
        device = choice.spec.load.device
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"expected --device auto, cpu or cuda with --engine ray, got {device!r}: Ray assigns devices to workers"
            )
        with _connected(options) as ray:
            worker_count, device_count = allocate_workers(ray.cluster_resources(), options.workers, device)
            pool = RayPool(ray, choice, video_root, device_count)
            try:
                pooled = PooledEngine(pool, worker_count)
                workers = pooled.wait_until_open()
                yield OpenedEngine(
                    pooled,
                    workers[0].model,
                    _session_environment(workers),
                    lambda: (*_environment_warnings(workers), *pooled.warnings),
                )
            finally:
                pool.close()


@dataclass(eq=False)
class _Actor:
    """A Ray actor, and what it has yet to return: the result of `open`, then a stream of reports per group."""

    handle: Any
    opening: Any
    streams: deque[Any] = field(default_factory=deque)

    @property
    def next_reference(self) -> object:
        """What it returns next; None if it has nothing to do."""
        if self.opening is not None:
            return self.opening
        return self.streams[0] if self.streams else None


class RayPool:
    """Workers as Ray actors; fits `stvg_ray.pool.WorkerPool`."""

    def __init__(self, ray: ModuleType, choice: ModelChoice, video_root: Path, device_count: int) -> None:
        """Prepare to start actors.

        Args:
            ray: the package, connected to a cluster.
            choice: opens the model.
            video_root: folder that the tasks' videos are relative to, on every machine.
            device_count: number of CUDA devices per actor, 0 or 1.
        """
        self._ray = ray
        # abspath keeps symbolic links, which another machine may resolve differently.
        self._arguments = (choice, Path(os.path.abspath(video_root)), DriverContext.current())  # noqa: PTH100
        self._class = ray.remote(
            num_cpus=1,
            num_gpus=device_count,
            # No restarts and retries by Ray: it cannot tell a sample that kills its worker from an accident.
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            concurrency_groups={_SUBMIT_GROUP: 1},
        )(RemoteWorker)
        self._actors: dict[int, _Actor] = {}
        self._started = 0

    def start(self) -> int:
        """Start an actor and return its number; its first event is Opened, LoadFailed or Died."""
        handle = self._class.remote(*self._arguments)
        self._started += 1
        self._actors[self._started] = _Actor(handle, handle.open.remote())
        return self._started

    def submit(self, worker: int, tasks: tuple[Task, ...]) -> None:
        """Send a group to an open actor."""
        actor = self._actors[worker]
        actor.handle.submit.options(concurrency_group=_SUBMIT_GROUP).remote(tasks)
        actor.streams.append(actor.handle.work.options(num_returns="streaming").remote())

    def next_event(self) -> Event:
        """Wait until something happens.

        Raises:
            RunError: no actor has anything to do.
        """
        while True:
            numbers = {
                actor.next_reference: number
                for number, actor in self._actors.items()
                if actor.next_reference is not None
            }
            if not numbers:
                raise RunError("expected a worker with work to wait for, got none; report it as a bug of stvg-ray")
            (ready, *_), _ = self._ray.wait(list(numbers), num_returns=1, fetch_local=False)
            number = numbers[ready]
            try:
                event = self._event(number, self._actors[number])
            except self._ray.exceptions.RayError as error:
                event = Died(number, _reason(error))
            if isinstance(event, Died | LoadFailed):
                self._kill(self._actors.pop(number))
            if event is not None:
                return event

    def close(self) -> None:
        """End every actor."""
        while self._actors:
            self._kill(self._actors.popitem()[1])

    def _event(self, number: int, actor: _Actor) -> Event | None:
        if actor.opening is not None:
            result = self._ray.get(actor.opening)
            actor.opening = None
            return LoadFailed(number, result) if isinstance(result, Failure) else Opened(number, result)
        try:
            report = self._ray.get(next(actor.streams[0]))
        except StopIteration:
            actor.streams.popleft()
            return None
        if report.outcome is None:
            return Encoded(number, report.busy_seconds, report.waited_seconds)
        return Finished(number, report.outcome, report.busy_seconds)

    def _kill(self, actor: _Actor) -> None:
        # An actor that is dead already cannot be killed.
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor.handle)


def allocate_workers(resources: Mapping[str, float], workers: int | None, device: str) -> tuple[int, int]:
    """Return the number of workers, and the number of CUDA devices per worker.

    Args:
        resources: of the cluster, as Ray names them.
        workers: as requested; None: one per CUDA device, or one if there is none.
        device: "auto", "cpu" or "cuda".

    Raises:
        RunError: the cluster has fewer devices.

    >>> allocate_workers({"CPU": 16.0, "GPU": 4.0}, None, "auto")
    (4, 1)
    >>> allocate_workers({"CPU": 16.0, "GPU": 4.0}, 2, "cpu"), allocate_workers({"CPU": 16.0}, None, "auto")
    ((2, 0), (1, 0))
    """
    cuda = int(resources.get("GPU", 0))
    if device == "cuda" and not cuda:
        raise RunError("expected CUDA devices in the Ray cluster, got none; use --device cpu")
    device_count = 1 if cuda and device != "cpu" else 0
    available, kind = (cuda, "CUDA devices") if device_count else (int(resources.get("CPU", 0)), "CPU cores")
    count = workers or (cuda if device_count else 1)
    if count > available:
        raise RunError(f"expected at most {available} workers, for the Ray cluster has {available} {kind}, got {count}")
    return count, device_count


def _session_environment(workers: tuple[WorkerDescription, ...]) -> dict[str, Any]:
    """Return the environment of a session: this process, the devices and versions of the first worker, the engine."""
    first = workers[0].environment
    return {
        **describe_environment(None),
        **{name: first[name] for name in _OF_THE_WORKER if name in first},
        "engine": {"name": "ray", "workers": len(workers), "nodes": len({worker.host for worker in workers})},
    }


def _environment_warnings(workers: tuple[WorkerDescription, ...]) -> tuple[str, ...]:
    """Return a sentence for everything in which the workers' environments differ."""
    first, *others = ({name: worker.environment.get(name) for name in _OF_THE_WORKER} for worker in workers)
    warnings = {
        name: f"{name} is {one} on {workers[0].host} and {two} on {worker.host}"
        for worker, environment in zip(workers[1:], others, strict=True)
        for name, one, two in differences(first, environment)
    }
    return tuple(warnings.values())


@contextmanager
def _connected(options: EngineChoice) -> Iterator[ModuleType]:
    """Yield Ray, connected to a cluster: the one at the address, the one this process is in, or a new local one.

    Raises:
        RunError: Ray is missing, or cannot be started or joined.
    """
    with _environment_variables(_VARIABLES), _kept_signal_handler():
        try:
            import ray
        except ImportError as error:
            raise RunError(f"expected Ray, got {error}; pip install ray") from error
        connected_before = ray.is_initialized() and options.address is None
        if not connected_before:
            cluster, problem = _cluster(options)
            try:
                _check_reachable(options.address)
                with _quiet():
                    ray.init(**cluster, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
            except (ray.exceptions.RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
                raise RunError(f"{problem}: {one_line(str(error), _LONGEST_REASON)}") from error
    try:
        yield ray
    finally:
        if not connected_before:
            ray.shutdown()


def _cluster(options: EngineChoice) -> tuple[dict[str, Any], str]:
    """Return the arguments of ray.init, and the beginning of the error message if it fails."""
    if options.address is not None:
        return {"address": options.address}, f"cannot join the Ray cluster {options.address!r} (see ray status)"
    local = {
        "address": "local",
        "num_cpus": max(os.cpu_count() or 1, options.workers or 1),
        "object_store_memory": _STORE_BYTES,
        "include_dashboard": False,
    }
    return local, "cannot start Ray on this machine"


def _check_reachable(address: str | None) -> None:
    """Connect to an address such as 10.0.0.1:6379; Ray itself waits for minutes if nobody answers.

    Raises:
        OSError: nobody answers.
        ValueError: it is the address of Ray Client, which does not stream results.
    """
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ValueError("expected auto or HOST:PORT; run stvg on a machine of the cluster")
    with socket.create_connection((host, int(port)), _CONNECT_TIMEOUT_SECONDS):
        pass


@contextmanager
def _environment_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the context."""
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
def _kept_signal_handler() -> Iterator[None]:
    """Restore the handler of SIGTERM, which Ray replaces: a run that is stopped releases its claims."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Limit Ray's log to errors; its import sets a lower level."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _reason(error: Exception) -> str:
    """Return the reason of a death as Ray gives it, on one line."""
    cause, text = getattr(error, "cause", None), str(error)
    if cause is not None:
        return one_line(str(cause), _LONGEST_REASON)
    return one_line(text.partition("The actor is dead because ")[2] or text, _LONGEST_REASON)
