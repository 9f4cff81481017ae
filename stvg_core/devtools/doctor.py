"""The environment on one page, with every problem and its cure: `stvg doctor`.

Libraries with compiled code are imported in child processes, so that one that raises, crashes or
hangs becomes a line of the report. Nothing is downloaded, written or sent.
"""

import contextlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

from stvg_core._internal.codecs import DECODERS, H264_ENCODERS, REINSTALL
from stvg_core._internal.plain_text import one_line
from stvg_core.errors import OutputError
from stvg_core.host.hub import OFFLINE_VARIABLES
from stvg_core.host.import_check import check_backends, with_outcome
from stvg_core.host.registry import FoundBackend, find_backends_and_warnings
from stvg_core.host.registry.found import DISABLED, HARMLESS, OK, UNMET_REQUIREMENTS
from stvg_core.host.registry.metadata import InstalledPlugins, find_installed, normalized
from stvg_core.host.registry.requirements import requirement_states
from stvg_core.outputs.report.staging import check_output_folder

SMALL_DISK_BYTES = 10**9
"""Below it, results and caches soon meet a full disk."""

_DISTRIBUTIONS = (
    "stvg-core", "torch", "torchvision", "numpy", "av", "opencv-python-headless", "pillow", "scipy", "pluggy",
    "pydantic", "jaxtyping", "typer", "rich", "textblob", "packaging", "transformers", "huggingface-hub",
    "safetensors", "tokenizers", "qwen-vl-utils", "accelerate", "bitsandbytes", "flash-attn",
)  # fmt: skip
_VARIABLES = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN")
_SECRET_WORDS = {"TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIALS"}
_TORCH_TOGETHER = "pip install --upgrade --force-reinstall torch torchvision"
# The child's own path comes first from the parent, so that it finds the same distributions.
_CHILD = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request['path']; "
    "from stvg_core.devtools.doctor import answer_request; answer_request(request['library'])"
)


@dataclass(frozen=True)
class Problem:
    """Something that does not work (error), may not work (warning) or is worth knowing (note), and its cure."""

    severity: Literal["error", "warning", "note"]
    about: str
    message: str
    cure: str


def examine(*, check: bool = False) -> dict[str, Any]:
    """Return the environment and its problems, the gravest first; docs/doctor.md describes the document.

    Args:
        check: import every backend in a child process; slow.
    """
    installed = find_installed()
    backends, plugin_warnings = find_backends_and_warnings()
    if check:
        outcomes = check_backends(backends)
        backends = tuple(with_outcome(backend, outcome) for backend, outcome in zip(backends, outcomes, strict=True))
    libraries = import_libraries()
    facts = {
        "versions": _versions(installed),
        "unmet": unmet_requirements(installed),
        "machine": {
            "python": platform.python_version(),
            "executable": one_line(sys.executable),
            "platform": one_line(platform.platform()),
            "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "nvidia_driver": _nvidia_driver(),
        },
        "torch": libraries["torch"],
        "torchvision": libraries["torchvision"],
        "video": libraries["av"],
        "folders": [
            describe_folder("hub cache", hub_cache(os.environ)),
            describe_folder("current folder", Path.cwd()),
        ],
        "environment": describe_environment(os.environ),
        "backends": [_backend(backend) for backend in backends],
        "plugin_warnings": list(plugin_warnings),
        "checked": check,
    }
    problems = find_problems(facts)
    healthy = all(problem.severity != "error" for problem in problems)
    return {"schema_version": 1, "healthy": healthy, "problems": [asdict(each) for each in problems], "facts": facts}


def find_problems(facts: Mapping[str, Any]) -> list[Problem]:
    """Return what the facts of `examine` say does not work, the gravest first."""
    problems = [problem for rule in _RULES for problem in rule(facts)]
    return sorted(problems, key=lambda problem: ("error", "warning", "note").index(problem.severity))


def _versions(installed: InstalledPlugins) -> dict[str, str | None]:
    plugins = {normalized(entry.distribution.name) for entry in installed.entries}
    plugins |= {name for name in installed.versions if name.startswith("stvg-")}
    names = dict.fromkeys((*_DISTRIBUTIONS, *sorted(plugins)))
    return {name: installed.versions.get(name) or None for name in names}


def unmet_requirements(installed: InstalledPlugins) -> list[dict[str, Any]]:
    """Return what our distributions, those with a plugin, and torchvision require and do not have."""
    required = {
        entry.distribution.name: entry.distribution.requirements
        for entry in installed.entries
        if entry.distribution.hidden_by is None
    }
    # transformers imports torchvision where it is installed, and one built for another torch breaks that import.
    with contextlib.suppress(metadata.PackageNotFoundError, OSError, ValueError):
        required["torchvision"] = tuple(metadata.requires("torchvision") or ())
    unmet: dict[tuple[str, str], list[str]] = {}
    for name in sorted(required):
        for state in requirement_states(required[name], installed.versions):
            if not state.met:
                unmet.setdefault((state.text, state.installed), []).append(name)
    return [
        {"text": text, "installed": version, "wanted_by": sorted(set(names))}
        for (text, version), names in sorted(unmet.items())
    ]


def _nvidia_driver() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    arguments = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        ran = subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
        return one_line(ran.stdout).split(" ")[0]
    return ""


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Return the folder of the hub's cache, by the rules of huggingface_hub.

    >>> hub_cache({"HF_HOME": "/data/hf"}).as_posix()
    '/data/hf/hub'
    """
    home = environment.get("HF_HOME", f"{environment.get('XDG_CACHE_HOME', '~/.cache')}/huggingface")
    cache = environment.get("HF_HUB_CACHE", environment.get("HUGGINGFACE_HUB_CACHE", f"{home}/hub"))
    return Path(os.path.expanduser(os.path.expandvars(cache)))  # noqa: PTH111  # Path.expanduser raises without a home


def describe_folder(purpose: str, folder: Path) -> dict[str, Any]:
    """Return whether a folder can be written to and the free space of its disk; writes nothing."""
    reason, free_bytes = "", None
    try:
        check_output_folder(folder)
    except OutputError as error:
        reason = one_line(str(error).partition(";")[0])
    with contextlib.suppress(OSError):
        existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        free_bytes = shutil.disk_usage(existing).free
    path = one_line(str(folder))
    return {"purpose": purpose, "path": path, "writable": not reason, "reason": reason, "free_bytes": free_bytes}


def describe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that matter and are set; secrets as "set".

    >>> describe_environment({"HF_TOKEN": "hf_x", "HF_ENDPOINT": "https://me:x@mirror", "PATH": "/bin"})
    {'HF_ENDPOINT': 'https://***@mirror', 'HF_TOKEN': 'set'}
    """
    prefixed = sorted(name for name in environment if name.startswith(("STVG_", "PYTORCH_")))
    shown = {}
    for name in (*_VARIABLES, *OFFLINE_VARIABLES, *prefixed):
        if name in environment:
            secret = _SECRET_WORDS & set(name.upper().split("_"))
            value = "set" if secret else re.sub(r"//[^/@\s]*@", "//***@", environment[name])
            shown[one_line(name)] = one_line(value)
    return shown


def _backend(backend: FoundBackend) -> dict[str, Any]:
    names = ("name", "distribution", "version", "status", "reason", "fix")
    texts = {name: one_line(str(getattr(backend, name))) for name in names}
    return texts | {"architectures": list(backend.architectures)}


def import_libraries(timeout_seconds: float = 120.0) -> dict[str, dict[str, Any]]:
    """Return the state of torch, torchvision and PyAV, each imported in a child process.

    Args:
        timeout_seconds: after which an import that hangs counts as broken.
    """
    names = ("torch", "torchvision", "av")
    with ThreadPoolExecutor() as pool:
        states = pool.map(lambda name: _import_elsewhere(name, timeout_seconds), names)
        return {
            name: {"status": "ok", "reason": "", "version": ""} | state
            for name, state in zip(names, states, strict=True)
        }


def _import_elsewhere(library: str, timeout_seconds: float) -> dict[str, Any]:
    request = json.dumps({"path": sys.path, "library": library}).encode()
    command = [sys.executable, "-c", _CHILD]
    try:
        ran = subprocess.run(command, input=request, capture_output=True, timeout=timeout_seconds, check=False)  # noqa: S603
        return dict(json.loads(ran.stdout))
    except subprocess.TimeoutExpired:
        reason = f"its import did not end within {timeout_seconds:g} seconds"
    except (ValueError, TypeError):
        code = ran.returncode
        reason = f"its import ended the interpreter ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
    return {"status": "broken", "reason": reason}


def answer_request(library: str) -> None:
    """Import a library and write its state to stdout as JSON; called in the child process alone."""
    # Whatever the library prints at its import goes to stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = import_module(library)
                details = {"torch": _torch_details, "av": _av_details}.get(library, lambda module: {})(module)
            state = {"version": one_line(str(getattr(module, "__version__", "")))} | details
        except BaseException as error:  # noqa: BLE001  # this process is there to learn what the import raises
            # An installed library that lacks one of its modules is broken.
            missing = isinstance(error, ModuleNotFoundError) and error.name == library
            reason = one_line(f"{type(error).__name__}: {error}", 300)
            state = {"status": "missing" if missing else "broken", "reason": reason}
        answer.write(json.dumps(state))
    # Threads and exit handlers of the library are not waited for.
    os._exit(0)


def _av_details(av: Any) -> dict[str, Any]:  # noqa: ANN401  # a module
    def opens(name: str, mode: str) -> bool:
        with contextlib.suppress(ValueError, LookupError):
            av.codec.Codec(name, mode)
            return True
        return False

    return {
        "decoders": {kind: any(opens(name, "r") for name in names) for kind, names in DECODERS.items()},
        "encoder": next((name for name in H264_ENCODERS if opens(name, "w")), None),
    }


def _torch_details(torch: Any) -> dict[str, Any]:  # noqa: ANN401  # a module
    torch.zeros(1).numpy()  # a torch built for another NumPy imports well and fails here
    devices: list[dict[str, Any]] = []
    error = ""
    # torch warns of a driver that is too old, and of a device that this build has no code for.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if torch.cuda.is_available():
                torch.cuda.init()
                devices = [_device(torch, index) for index in range(torch.cuda.device_count())]
        except Exception as raised:  # noqa: BLE001  # a driver fails in many ways
            error = f"{type(raised).__name__}: {raised}"
    error = one_line(error or next((str(warning.message) for warning in caught), ""), 300)
    cuda_build, threads = torch.version.cuda, torch.get_num_threads()
    return {"cuda_build": cuda_build, "cuda_error": error, "threads": threads, "devices": devices}


def _device(torch: Any, index: int) -> dict[str, Any]:  # noqa: ANN401  # a module
    properties = torch.cuda.get_device_properties(index)
    return {
        "index": index,
        "name": one_line(str(properties.name)),
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_total_bytes": int(properties.total_memory),
        "memory_free_bytes": int(torch.cuda.mem_get_info(index)[0]),
        "bfloat16": properties.major >= 8,  # noqa: PLR2004  # Ampere and later compute in bfloat16 themselves
    }


def _requirement_problems(facts: Mapping[str, Any]) -> Iterator[Problem]:
    for unmet in facts["unmet"]:
        names, requirement, version = unmet["wanted_by"], unmet["text"], unmet["installed"]
        message = f"{', '.join(names)} needs {requirement}, {version or 'it'} is {'' if version else 'not '}installed"
        cure = _TORCH_TOGETHER if names == ["torchvision"] else f"pip install {shlex.quote(requirement)}"
        yield Problem("error", "requirements", message, cure)


def _torch_problems(facts: Mapping[str, Any]) -> Iterator[Problem]:
    torch, torchvision, driver = facts["torch"], facts["torchvision"], facts["machine"]["nvidia_driver"]
    reinstall = "pip install --force-reinstall torch"
    if torch["status"] == "missing":
        yield Problem("error", "torch", "torch is not installed", "pip install torch")
    elif torch["status"] == "broken":
        yield Problem("error", "torch", f"torch cannot be imported: {torch['reason']}", reinstall)
    elif driver and torch["cuda_build"] is None:
        message = f"there is an NVIDIA driver ({driver}), and torch {torch['version']} is a build without CUDA"
        yield Problem("warning", "cuda", message, reinstall)
    elif torch["cuda_build"] is not None and (torch["cuda_error"] or (driver and not torch["devices"])):
        hidden = facts["environment"].get("CUDA_VISIBLE_DEVICES")
        reason = torch["cuda_error"] or f"CUDA_VISIBLE_DEVICES is {'not set' if hidden is None else repr(hidden)}"
        message = f"torch {torch['version']} (CUDA {torch['cuda_build']}) finds no usable GPU: {reason}"
        cure = "nvidia-smi  # where it shows the GPU, update the driver or install a torch for its CUDA version"
        yield Problem("warning", "cuda", message, cure)
    builds = [library["version"].partition("+")[2] for library in (torch, torchvision)]
    if torch["status"] == "ok" and torchvision["status"] == "broken":
        message = f"torchvision cannot be imported beside torch {torch['version']}: {torchvision['reason']}"
        yield Problem("error", "torchvision", message, _TORCH_TOGETHER)
    elif torch["status"] == torchvision["status"] == "ok" and builds[0] != builds[1]:
        message = f"torch is the build {builds[0]!r}, torchvision the build {builds[1]!r}"
        yield Problem("warning", "torchvision", message, _TORCH_TOGETHER)


def _video_problems(facts: Mapping[str, Any]) -> Iterator[Problem]:
    video = facts["video"]
    if video["status"] != "ok":
        state = "is not installed" if video["status"] == "missing" else f"cannot be imported: {video['reason']}"
        yield Problem("error", "video", f"PyAV {state}", REINSTALL)
        return
    for kind, readable in video["decoders"].items():
        if not readable:
            severity: Literal["error", "warning"] = "error" if kind == "h264" else "warning"
            yield Problem(severity, "video", f"PyAV has no decoder for {kind} videos", REINSTALL)
    if video["encoder"] is None:
        message = f"PyAV has no H.264 encoder ({', '.join(H264_ENCODERS)}), overlay.mp4 cannot be written"
        yield Problem("error", "video", message, REINSTALL)


def _backend_problems(facts: Mapping[str, Any]) -> Iterator[Problem]:
    reported = {name for unmet in facts["unmet"] for name in unmet["wanted_by"]}
    for backend in facts["backends"]:
        status = backend["status"]
        message = f"backend {backend['name']} of {backend['distribution']} is {status}: {backend['reason']}"
        if status == DISABLED:
            yield Problem("note", "plugins", message, backend["fix"])
        elif status not in HARMLESS and not (status == UNMET_REQUIREMENTS and backend["distribution"] in reported):
            yield Problem("error", "plugins", message, backend["fix"])
    if all(backend["status"] != OK for backend in facts["backends"]):
        message = "no backend can be used, so no model can be loaded"
        yield Problem("error", "plugins", message, "pip install stvg-qwen2-vl")
    for warning in facts["plugin_warnings"]:
        message, _, hint = warning.partition("; ")
        yield Problem("warning", "plugins", message, hint or "correct or unset the variable")


def _folder_problems(facts: Mapping[str, Any]) -> Iterator[Problem]:
    for folder in facts["folders"]:
        purpose, free_bytes = folder["purpose"], folder["free_bytes"]
        cure = "export HF_HOME=FOLDER" if purpose == "hub cache" else "stvg ground ... --out FOLDER"
        if not folder["writable"]:
            yield Problem("warning", "disk", f"the {purpose} cannot be written to: {folder['reason']}", cure)
        elif free_bytes is not None and free_bytes < SMALL_DISK_BYTES:
            message = f"{free_bytes / 1e9:.2f} GB are free for the {purpose} ({folder['path']})"
            yield Problem("warning", "disk", message, cure)


def _hub_problems(facts: Mapping[str, Any]) -> Iterator[Problem]:
    # The first variable that is not empty decides, as in huggingface_hub.
    name = next((name for name in OFFLINE_VARIABLES if facts["environment"].get(name)), "")
    if facts["environment"].get(name, "").upper() in {"1", "ON", "YES", "TRUE"}:
        message = f"{name} switches the hub off: only models in the cache or in folders can be loaded"
        yield Problem("note", "hub", message, f"unset {name}")


_RULES = (_requirement_problems, _torch_problems, _video_problems, _backend_problems, _folder_problems, _hub_problems)
