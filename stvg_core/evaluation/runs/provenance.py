"""The configuration of a run, which decides its results, and the environment of a session.

Processes may work on the same run only if their configurations are equal. The environment is recorded for every
session, and a change is a warning: another device or torch version may change the last digits of a number.
"""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import RunError

if TYPE_CHECKING:
    from stvg_core.api.grounder import Grounder
    from stvg_core.inputs.datasets.opening import Dataset

_WHOLE_BYTES: Final = 64 * 2**20
_BLOCK_BYTES: Final = 2**20
_BLOCKS: Final = 16
_MOST_DIFFERENCES: Final = 8
_GIT_SECONDS: Final = 5.0
_ENVIRONMENT_OPTIONS: Final = ("device", "device_map", "attention", "recompute", "cuda_graphs")
"""Load options that decide where and how numbers are computed, not which ones."""


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, in hexadecimal digits.

    >>> configuration_hash({"a": 1, "b": 2}) == configuration_hash({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()


def check_same(
    first: Mapping[str, Any] | None, second: Mapping[str, Any] | None, first_name: str, second_name: str
) -> None:
    """Raise an error if two configurations differ.

    Raises:
        RunError: they differ; the message names what and how.
    """
    different = list(differences(first, second))
    if different:
        shown = "; ".join(
            f"{name}: {_shown(one)} in {first_name}, {_shown(two)} in {second_name}"
            for name, one, two in different[:_MOST_DIFFERENCES]
        )
        more = f"; and {len(different) - _MOST_DIFFERENCES} more" if len(different) > _MOST_DIFFERENCES else ""
        raise RunError(
            f"expected the configuration that the run was started with, got other values: {shown}{more}; "
            "use another --run, or change it back"
        )


def differences(first: object, second: object, name: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield dotted name and both values wherever two JSON values differ.

    >>> list(differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}))
    [('a.b', 1, 3)]
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in dict.fromkeys((*first, *second)):
            yield from differences(first.get(key), second.get(key), f"{name}.{key}" if name else str(key))
    elif first != second:
        yield name, first, second


def _shown(value: object) -> str:
    return one_line(json.dumps(value), 60)


def describe_run(dataset: "Dataset", model: Mapping[str, Any], *, corrections: bool) -> dict[str, Any]:
    """Return the configuration of a run, as JSON values: everything that decides its results.

    Raises:
        OSError: the annotation file cannot be read.
    """
    return {
        "dataset": {
            "name": dataset.description.name,
            "split": dataset.split,
            "annotations_sha256": hashlib.sha256(dataset.file.read_bytes()).hexdigest(),
            "corrections": corrections,
        },
        **model,
    }


def describe_model(grounder: "Grounder") -> dict[str, Any]:
    """Return everything about an opened model and its settings that decides results, as JSON values.

    Raises:
        OSError: the checkpoint cannot be read.
    """
    from stvg_core.api.grounder import installed_versions

    session = grounder.session
    settings = grounder.recorded_settings()
    load = {name: value for name, value in settings.pop("load").items() if name not in _ENVIRONMENT_OPTIONS}
    checkpoint = session.adapter.description.checkpoint
    versions = installed_versions(session.identity.distribution)
    own = ("stvg-core", session.identity.distribution)
    return {
        "model": {
            "id": session.identity.id,
            "backend": session.identity.backend,
            "distribution": session.identity.distribution,
            "version": session.identity.version,
            "checkpoint": None if checkpoint is None else fingerprint(checkpoint),
            **load,
        },
        "settings": settings,
        "versions": {name: versions[name] for name in own if name in versions},
    }


def fingerprint(checkpoint: Path) -> str:
    """Return a SHA-256 of a checkpoint folder: every file's name and size, and its bytes.

    Of files above 64 MiB, which would take minutes to read, only 16 evenly spaced blocks of 1 MiB are hashed:
    weights that were trained further differ in each.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(checkpoint).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_BYTES:
                digest.update(file.read())
                continue
            for block in range(_BLOCKS):
                file.seek(block * (size - _BLOCK_BYTES) // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def describe_environment(grounder: "Grounder | None") -> dict[str, Any]:
    """Return the environment of this process: versions, device, machine, commit, command.

    Args:
        grounder: the opened model; None if other processes hold it.
    """
    from stvg_core.api.grounder import installed_versions
    from stvg_core.host.registry import find_backends

    plugins = sorted({backend.distribution for backend in find_backends()})
    environment: dict[str, Any] = {
        "versions": installed_versions(*plugins),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "command": [one_line(text) for text in sys.argv],
        "git_commit": _git_commit(Path(__file__).parent),
    }
    if grounder is not None:
        load = grounder.recorded_settings()["load"]
        environment |= {name: load.get(name) for name in _ENVIRONMENT_OPTIONS}
    return environment


def reset_peak_memory() -> None:
    """Let `peak_memory` start from now (Linux, CUDA); on other systems it starts with the process."""
    import torch

    # Before its first use CUDA refuses.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
    # Documented in proc(5): 5 sets the peak resident set to the present one.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> dict[str, int]:
    """Return the largest memory of this process since `reset_peak_memory`, in bytes: resident, and on CUDA devices."""
    import torch

    peaks = {}
    resident = _peak_resident_bytes()
    if resident is not None:
        peaks["peak_host_bytes"] = resident
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        peaks["peak_device_bytes"] = max(torch.cuda.max_memory_allocated(device) for device in devices)
    return peaks


def _peak_resident_bytes() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    if sys.platform == "win32":
        return None
    import resource

    # Kilobytes, but bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _git_commit(folder: Path) -> str | None:
    """Return the commit of the checkout that a folder lies in, with "+changes" if it is modified; None without one."""
    git = shutil.which("git")
    if git is None:
        return None

    def run_git(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603  # a fixed command on our own folder
            [git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        ).stdout.strip()

    try:
        # A package installed below somebody's project is no part of that project's history.
        if not run_git("ls-files", "--", "."):
            return None
        return run_git("rev-parse", "HEAD") + ("+changes" if run_git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
