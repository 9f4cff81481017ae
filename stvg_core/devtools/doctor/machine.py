"""What the machine is: processors, memory, driver, folders, environment. Imports nothing heavy and sends nothing."""

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from stvg_core._internal.plain_text import one_line
from stvg_core.devtools.doctor.document import Folder, Hub, Machine
from stvg_core.errors import OutputError
from stvg_core.host.hub import OFFLINE_VARIABLES
from stvg_core.outputs.report.staging import check_output_folder

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_TRUE = {"1", "ON", "YES", "TRUE"}
"""What huggingface_hub takes for yes, in any case."""

_VARIABLES = (
    "STVG_LOAD_PLUGINS",
    "STVG_DISABLE_PLUGINS",
    "STVG_TRACE_HOOKS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_LAUNCH_BLOCKING",
    "CUBLAS_WORKSPACE_CONFIG",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_ENDPOINT",
    *OFFLINE_VARIABLES,
    *TOKEN_VARIABLES,
)
_OURS = "STVG_"
_SECRET_WORDS = {"TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIALS"}
_LONGEST_VALUE = 300
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_DRIVER_SECONDS = 20.0


def look_at_machine() -> Machine:
    """Return what this process runs on."""
    total, available = memory_bytes()
    return Machine(
        python=platform.python_version(),
        executable=one_line(sys.executable, _LONGEST_VALUE),
        platform=one_line(platform.platform(), _LONGEST_VALUE),
        processors=os.cpu_count() or 1,
        usable_processors=usable_processors(),
        memory_total_bytes=total,
        memory_available_bytes=available,
        nvidia_driver=nvidia_driver(),
    )


def usable_processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processors this process may keep busy: affinity, and the quota of a container.

    Args:
        cgroup: where the kernel tells limits, of version 2 or 1.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        if quota not in {"max", "-1"}:
            return max(1, min(affinity, -(-int(quota) // int(period))))
    return affinity


def memory_bytes(
    cgroup: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")
) -> tuple[int | None, int | None]:
    """Return total and available memory, within a container's limit where there is one; None where unknown."""
    told: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for name, kibibytes in re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE):
            told[name] = int(kibibytes) * 1024
    total, available = told.get("MemTotal"), told.get("MemAvailable")
    for limit in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            allowed = int(limit.read_text())
            total = allowed if total is None else min(total, allowed)
            available = None if available is None else min(available, allowed)
    return total, available


def nvidia_driver(file: Path = _DRIVER_FILE) -> str:
    """Return the version of the NVIDIA driver; "" where there is none."""
    with contextlib.suppress(OSError):
        found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", file.read_text(encoding="utf-8", errors="replace"))
        return found[1] if found else "of unknown version"
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        arguments = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
        # The command that the user would type, found where the shell finds it.
        ran = subprocess.run(arguments, capture_output=True, text=True, timeout=_DRIVER_SECONDS, check=True)  # noqa: S603
        return one_line(ran.stdout, _LONGEST_VALUE).split(" ")[0]
    return ""


def hub_cache(environment: Mapping[str, str], home: Path) -> Path:
    """Return the folder of the hub's cache, by huggingface_hub's own rules.

    >>> hub_cache({"HF_HOME": "/data/hf"}, Path("/home/me")).as_posix()
    '/data/hf/hub'
    """

    def path(text: str) -> Path:
        expanded = os.path.expandvars(text)
        return home / expanded[2:] if expanded.startswith("~/") else Path(expanded)

    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if name in environment:
            return path(environment[name])
    if "HF_HOME" in environment:
        return path(environment["HF_HOME"]) / "hub"
    return path(environment.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface" / "hub"


def look_at_hub(environment: Mapping[str, str]) -> Hub:
    """Return whether the environment switches the hub off, and whether it holds a token.

    >>> look_at_hub({"HF_HUB_OFFLINE": "yes", "HF_TOKEN": "hf_x"})
    Hub(offline=True, offline_by='HF_HUB_OFFLINE', token=True)
    """
    # The first that is not empty decides.
    name = next((name for name in OFFLINE_VARIABLES if environment.get(name)), None)
    offline = name is not None and environment[name].upper() in _TRUE
    return Hub(
        offline=offline,
        offline_by=name or "" if offline else "",
        token=any(environment.get(each) for each in TOKEN_VARIABLES),
    )


def look_at_folder(purpose: str, folder: Path) -> Folder:
    """Return whether a folder can be written to, and how much room its disk has; nothing is written."""
    reason, exists, free = "", False, None
    with contextlib.suppress(OSError):
        exists = folder.is_dir()
    try:
        check_output_folder(folder)
    except OutputError as error:
        reason = str(error).partition(";")[0]
    with contextlib.suppress(OSError, RuntimeError):
        existing = folder.absolute()
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        free = shutil.disk_usage(existing).free
    return Folder(
        purpose=purpose,
        path=one_line(str(folder), _LONGEST_VALUE),
        exists=exists,
        writable=not reason,
        reason=one_line(reason, _LONGEST_VALUE),
        free_bytes=free,
    )


def look_at_environment(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables that matter, and every one of ours; secrets as "set".

    >>> told = look_at_environment({"HF_TOKEN": "hf_x", "HF_ENDPOINT": "https://me:x@mirror", "PATH": "/bin"})
    >>> told["HF_TOKEN"], told["HF_ENDPOINT"], told["OMP_NUM_THREADS"], "PATH" in told
    ('set', 'https://***@mirror', None, False)
    """
    names = dict.fromkeys((*_VARIABLES, *sorted(name for name in environment if name.startswith(_OURS))))
    return {one_line(name, _LONGEST_VALUE): _shown(name, environment.get(name)) for name in names}


def _shown(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if _SECRET_WORDS & set(name.upper().split("_")):
        return "set" if value else ""
    return one_line(re.sub(r"//[^/@\s]*@", "//***@", value), _LONGEST_VALUE)
