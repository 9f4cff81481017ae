"""Imports a backend in a process of its own and says whether it would open: `stvg plugins --check`.

A plugin that raises, exits, crashes the interpreter or hangs at import harms that process alone.
The process checks hooks and arguments as a session does; it loads no model.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from time import perf_counter
from typing import Any

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import StvgError
from stvg_core.host.loading import load_backend
from stvg_core.host.registry.found import BROKEN, DUPLICATE, OK, FoundBackend

CHECK_SECONDS = 60.0
_AT_ONCE = 4
_LONGEST_REASON = 600
# The child's own path comes first from the parent, so that it finds the same distributions.
_CHILD = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request['path']; "
    "from stvg_core.host.import_check import answer_request; answer_request(request)"
)


@dataclass(frozen=True)
class CheckOutcome:
    """What came of importing a backend.

    Attributes:
        status: "ok" or "broken"; of a backend that cannot be imported for another reason, its own status.
        reason: one sentence; empty when ok.
        fix: what fixes it; empty when ok.
        hooks: that its plugin object implements, once it could be loaded.
        seconds: that importing it and the hooks took; 0 where none was tried or it did not end.
    """

    status: str
    reason: str
    fix: str
    hooks: tuple[str, ...] = ()
    seconds: float = 0.0


def check_backend(found: FoundBackend, timeout_seconds: float = CHECK_SECONDS) -> CheckOutcome:
    """Return whether a backend can be imported and fits the hooks; nothing of it runs in this process.

    A backend that is disabled, shadowed or fails its handshake is not imported: its own status comes back.
    """
    if found.status not in {OK, DUPLICATE}:
        return CheckOutcome(found.status, found.reason, found.fix)
    child = subprocess.Popen(  # noqa: S603  # this interpreter, and a text of our own
        [sys.executable, "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A group of its own, so that a plugin's own children end with it.
        start_new_session=True,
    )
    request = json.dumps({"path": sys.path, "found": _as_json(found)}).encode()
    try:
        answer, _ = child.communicate(request, timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        reason = f"its import did not end within {timeout_seconds:g} seconds"
        return CheckOutcome(BROKEN, reason, f"ask the authors of {found.distribution}, or allow more with --timeout")
    finally:
        _end(child)
    try:
        outcome = json.loads(answer)
        ready = CheckOutcome(
            outcome["status"], outcome["reason"], outcome["fix"], tuple(outcome["hooks"]), outcome["seconds"]
        )
    except (ValueError, KeyError, TypeError):
        return CheckOutcome(
            BROKEN, f"its import ended the interpreter ({_ending(child.returncode)})", _reinstall(found)
        )
    if ready.status != OK:
        return replace(ready, fix=ready.fix or _reinstall(found))
    return replace(ready, status=found.status, reason=found.reason, fix=found.fix)


def check_backends(
    backends: Sequence[FoundBackend], timeout_seconds: float = CHECK_SECONDS
) -> tuple[CheckOutcome, ...]:
    """Return the outcome of each backend, in order; some are checked at the same time."""
    with ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
        return tuple(pool.map(lambda found: check_backend(found, timeout_seconds), backends))


def with_outcome(found: FoundBackend, outcome: CheckOutcome) -> FoundBackend:
    """Return a row as it stands after its check."""
    return replace(found, status=outcome.status, reason=outcome.reason, fix=outcome.fix)


def answer_request(request: dict[str, Any]) -> None:
    """Run in the child: import the backend that a request tells, and write the outcome as JSON."""
    # What a plugin prints must not get into the answer.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        answers.write(json.dumps(asdict(_import_and_compare(_from_json(request["found"])))))
    # Threads that a plugin left running, and its handlers of exit, are not waited for.
    os._exit(0)


def _import_and_compare(found: FoundBackend) -> CheckOutcome:
    start = perf_counter()
    try:
        plugin = load_backend(found)
        # After the plugin: a faulty one is told before torch is imported.
        from stvg_core.host.hooks import hook_manager, implemented_hooks

        hooks = implemented_hooks(hook_manager(plugin, found))
    except StvgError as error:
        reason, _, cure = one_line(str(error), _LONGEST_REASON).rpartition("; ")
        return CheckOutcome(BROKEN, reason or cure, cure if reason else "")
    return CheckOutcome(OK, "", "", hooks, perf_counter() - start)


def _reinstall(found: FoundBackend) -> str:
    return f"fix {found.distribution}" if found.is_file else f"pip install --force-reinstall {found.distribution}"


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    except (ProcessLookupError, PermissionError):
        pass
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _as_json(found: FoundBackend) -> dict[str, Any]:
    paths = {name: str(path) if (path := getattr(found, name)) else None for name in ("metadata_path", "package_path")}
    point = found.entry_point
    return {
        **{name: value for name, value in vars(found).items() if name != "entry_point"},
        **paths,
        "point": [point.name, point.value, point.group],
    }


def _from_json(values: dict[str, Any]) -> FoundBackend:
    point = EntryPoint(*values.pop("point"))
    for name in ("metadata_path", "package_path"):
        values[name] = Path(values[name]) if values[name] is not None else None
    for name in ("architectures", "requirements"):
        values[name] = tuple(values[name])
    return FoundBackend(**values, entry_point=point)
