"""What decides the results of a run, and under what circumstances a process worked on it.

A difference in the first is refused (`configuration`); the second is recorded for every session, and a change is a
warning: another device or torch may move a number's last digits.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.api.grounder import Grounder, installed_versions
from stvg_core.inputs.datasets.opening import Dataset

_WHOLE_BYTES: Final = 64 * 2**20
_BLOCK_BYTES: Final = 2**20
_BLOCKS: Final = 16
_GIT_SECONDS: Final = 5.0
_CIRCUMSTANTIAL_LOAD: Final = ("device", "device_map", "attention", "recompute", "cuda_graphs")
"""How a model is loaded, as far as it changes where numbers are computed and not what they mean."""


def describe_run(dataset: Dataset, model: Mapping[str, Any], *, corrections: bool) -> dict[str, Any]:
    """Return everything that decides the results of a run, as JSON says it.

    Args:
        dataset: the split.
        model: what `describe_model` tells, in whichever process the model is.
        corrections: whether known defects are left out and boxes cut.

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


def describe_model(grounder: Grounder) -> dict[str, Any]:
    """Return everything about an opened model and its settings that decides results, as JSON says it.

    Raises:
        OSError: the checkpoint cannot be read.
    """
    session = grounder.session
    settings = grounder.recorded_settings()
    load = {name: value for name, value in settings.pop("load").items() if name not in _CIRCUMSTANTIAL_LOAD}
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

    Of files above 64 MiB, which would take minutes to read, 16 evenly spread blocks of 1 MiB stand for all bytes:
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


def describe_circumstances(grounder: Grounder | None, arguments: list[str] | None = None) -> dict[str, Any]:
    """Return who computes, where and with what: versions, device, machine, commit, command.

    Args:
        grounder: the opened model; None where other processes hold it.
        arguments: of the command; None: this process's own.
    """
    circumstances: dict[str, Any] = {
        "versions": installed_versions(*_distributions()),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "command": [one_line(text) for text in (sys.argv if arguments is None else arguments)],
        "git_commit": _git_commit(Path(__file__).parent),
    }
    if grounder is not None:
        load = grounder.recorded_settings()["load"]
        circumstances |= {name: load.get(name) for name in _CIRCUMSTANTIAL_LOAD}
    return circumstances


def reset_peak_memory() -> None:
    """Let `peak_memory` count from now on, where the system can (Linux, CUDA); elsewhere from the process's start."""
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

    found = {}
    resident = _peak_resident_bytes()
    if resident is not None:
        found["peak_host_bytes"] = resident
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        found["peak_device_bytes"] = max(torch.cuda.max_memory_allocated(device) for device in devices)
    return found


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


def _distributions() -> list[str]:
    """Return the installed distributions that are plugins of ours."""
    from stvg_core.host.registry import find_backends

    return sorted({backend.distribution for backend in find_backends()})


def _git_commit(folder: Path) -> str | None:
    """Return the commit of the checkout that a folder lies in, with "+changes" where it has some; None without one."""
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603  # a fixed command on our own folder
            [git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        ).stdout.strip()

    try:
        # A package installed below somebody's project is no part of that project's history.
        if not ask("ls-files", "--", "."):
            return None
        return ask("rev-parse", "HEAD") + ("+changes" if ask("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
