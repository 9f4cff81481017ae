"""From facts to problems: every rule is a pure function, and every problem has its severity and its cure.

docs/doctor.md lists them all.
"""

import re
import shlex
from collections.abc import Callable, Iterator

from stvg_core._internal.codecs import H264_ENCODERS, REINSTALL
from stvg_core.devtools.doctor.document import Facts, Problem, Severity
from stvg_core.host.known_models import backend_advice
from stvg_core.host.registry.found import DISABLED, HARMLESS, OK, UNMET_REQUIREMENTS

_GIGA, _GIBI = 10**9, 2**30
LARGE_CHECKPOINT_BYTES = 17 * _GIGA
"""A checkpoint of 7 billion parameters in 16 bits with its vision tower."""
SMALL_ROOM_BYTES = _GIGA
"""Below it, results and caches soon meet a full disk."""
SMALL_MEMORY_BYTES = 2 * _GIBI
"""torch and transformers alone take about a quarter of it."""
_BUSY_SHARE = 0.5
_ORDER: tuple[Severity, ...] = ("error", "warning", "note")
_NO_DEVICES = {"", "-1", "none", "nodevfiles"}

Rule = Callable[[Facts], Iterator[Problem]]


def find_problems(facts: Facts) -> tuple[Problem, ...]:
    """Return what the facts say needs mending, the gravest first."""
    found = [problem for rule in _RULES for problem in rule(facts)]
    return tuple(sorted(found, key=lambda problem: _ORDER.index(problem.severity)))


def _error(about: str, message: str, cure: str) -> Problem:
    return Problem(severity="error", about=about, message=message, cure=cure)


def _warning(about: str, message: str, cure: str) -> Problem:
    return Problem(severity="warning", about=about, message=message, cure=cure)


def _note(about: str, message: str, cure: str) -> Problem:
    return Problem(severity="note", about=about, message=message, cure=cure)


def requirements(facts: Facts) -> Iterator[Problem]:
    """What our distributions declare and do not have."""
    for each in facts.unmet:
        have = f"{each.installed} is installed" if each.installed else "it is not installed"
        message = f"{', '.join(each.wanted_by)} needs {each.text}, {have}"
        if each.wanted_by == ("torchvision",):
            cure = "pip install --upgrade --force-reinstall torch torchvision"
        else:
            cure = f"pip install {shlex.quote(each.text)}"
        yield _error("requirements", message, cure)


def torch(facts: Facts) -> Iterator[Problem]:
    """Torch that is missing or broken, or lacks what the machine has."""
    found, driver = facts.torch, facts.machine.nvidia_driver
    if found.status == "missing":
        yield _error("torch", "torch is not installed", "pip install torch")
    elif found.status == "broken":
        yield _error("torch", f"torch cannot be imported: {found.reason}", "pip install --force-reinstall torch")
    if found.status != "ok" or found.devices:
        return
    hidden = facts.environment.get("CUDA_VISIBLE_DEVICES")
    if driver and found.cuda_build is None:
        yield _warning(
            "cuda",
            f"there is an NVIDIA driver ({driver}), and torch {found.version} is a build without CUDA",
            "pip install --force-reinstall torch",
        )
    elif driver and hidden is not None and hidden.strip().lower() in _NO_DEVICES:
        yield _note("cuda", f"CUDA_VISIBLE_DEVICES={hidden!r} hides every GPU", "unset CUDA_VISIBLE_DEVICES")
    elif driver or (found.cuda_error and found.cuda_build is not None):
        reason = f": {found.cuda_error}" if found.cuda_error else ""
        yield _warning(
            "cuda",
            f"torch {found.version} (CUDA {found.cuda_build}) finds no usable GPU{reason}",
            "nvidia-smi  # where it shows the GPU, update the driver or install a torch for its CUDA version",
        )


def devices(facts: Facts) -> Iterator[Problem]:
    """GPUs that torch has no code for, or that are taken."""
    for device in facts.torch.devices:
        if not device.supported:
            yield _error(
                "cuda",
                f"torch {facts.torch.version} has no code for {device.name} (compute capability "
                f"{device.compute_capability})",
                "pip install --upgrade torch",
            )
        free = device.memory_free_bytes
        if free is not None and free < _BUSY_SHARE * device.memory_total_bytes:
            yield _note(
                "cuda",
                f"{free / _GIBI:.1f} of {device.memory_total_bytes / _GIBI:.1f} GiB are free on cuda:{device.index}",
                "nvidia-smi  # shows who holds the rest",
            )
        if not device.bfloat16:
            yield _note(
                "cuda",
                f"{device.name} does not compute in bfloat16, which most checkpoints are stored in",
                "stvg ground ... --dtype float16",
            )


def torchvision(facts: Facts) -> Iterator[Problem]:
    """Torchvision made for another torch: transformers imports it where it is installed."""
    found, cure = facts.torchvision, "pip install --upgrade --force-reinstall torch torchvision"
    if found.status == "broken":
        yield _error("torchvision", f"torchvision cannot be imported beside this torch: {found.reason}", cure)
    if found.status == "ok":
        builds = [_build(version) for version in (facts.torch.version, found.version)]
        if builds[0] != builds[1]:
            yield _warning(
                "torchvision", f"torch is the build {builds[0]!r}, torchvision the build {builds[1]!r}", cure
            )


def _build(version: str) -> str:
    """Return the label of a build ("cu126" of "2.9.0+cu126"); "" where it has none."""
    return version.partition("+")[2]


def codecs(facts: Facts) -> Iterator[Problem]:
    """PyAV and its codecs."""
    found = facts.video
    if found.status == "missing":
        yield _error("video", "PyAV is not installed, no video can be read", "pip install --only-binary av av")
    elif found.status == "broken":
        yield _error("video", f"PyAV cannot be imported: {found.reason}", REINSTALL)
    if found.status != "ok":
        return
    for kind, readable in found.decoders.items():
        if not readable:
            tell = _error if kind == "h264" else _warning
            yield tell("video", f"PyAV has no decoder for {kind} videos", REINSTALL)
    if found.encoder is None:
        message = f"PyAV has no H.264 encoder ({', '.join(H264_ENCODERS)}), overlay.mp4 cannot be written"
        yield _error("video", message, REINSTALL)


def backends(facts: Facts) -> Iterator[Problem]:
    """Backends that cannot be used."""
    told = {name for requirement in facts.unmet for name in requirement.wanted_by}
    for found in facts.backends:
        if found.status == DISABLED:
            yield _note(
                "plugins", f"backend {found.name} of {found.distribution} is disabled: {found.reason}", found.fix
            )
        elif found.status not in HARMLESS and not (found.status == UNMET_REQUIREMENTS and found.distribution in told):
            message = f"backend {found.name} of {found.distribution} is {found.status}: {found.reason}"
            yield _error("plugins", message, found.fix)
    if not any(found.status == OK for found in facts.backends):
        yield _error("plugins", "no backend can be used, so no model can be loaded", "pip install stvg-qwen2-vl")
    for warning in facts.plugin_warnings:
        message, _, hint = warning.partition("; ")
        yield _warning("plugins", message, f"correct or unset the variable; {hint}" if hint else "unset the variable")


def models(facts: Facts) -> Iterator[Problem]:
    """Named checkpoints that are not there, or that no backend opens."""
    healthy = {name for found in facts.backends if found.status == OK for name in found.architectures}
    for found in facts.models:
        if found.status != OK:
            reinstall = f"pip install --force-reinstall {found.distribution}"
            yield _error("models", f"named model {found.name} cannot be used: {found.reason}", reinstall)
        elif found.architecture not in healthy:
            yield _warning(
                "models",
                f"no usable backend opens named model {found.name} ({found.architecture})",
                backend_advice(found.architecture, found.name) or "stvg plugins",
            )


def processors(facts: Facts) -> Iterator[Problem]:
    """Threads of the CPU beside its processors, and memory."""
    usable, value = facts.machine.usable_processors, facts.environment.get("OMP_NUM_THREADS")
    cure = f"export OMP_NUM_THREADS={usable}"
    # A list gives the number for each level of nesting.
    first = None if value is None else value.split(",")[0].strip()
    if first is not None and not re.fullmatch(r"[1-9]\d{0,5}", first):
        yield _warning("threads", f"OMP_NUM_THREADS={value!r} is no number of threads", cure)
    elif first is not None and int(first) > usable:
        yield _warning(
            "threads", f"OMP_NUM_THREADS={first} asks for more threads than the {usable} usable processors", cure
        )
    elif first is not None and int(first) < usable:
        message = f"OMP_NUM_THREADS={first} leaves {usable - int(first)} of {usable} usable processors idle on the CPU"
        yield _note("threads", message, cure)
    elif first is None and facts.torch.threads is not None and facts.torch.threads > usable:
        message = f"torch takes {facts.torch.threads} threads, {usable} processors are usable (affinity or quota)"
        yield _warning("threads", message, cure)
    memory = facts.machine.memory_available_bytes
    if memory is not None and memory < SMALL_MEMORY_BYTES:
        message = f"{memory / _GIBI:.1f} GiB of memory are available, loading a model may fail"
        yield _warning("memory", message, "free -h  # end what holds it, or raise the container's limit")


def folders(facts: Facts) -> Iterator[Problem]:
    """Folders that cannot be written to, or whose disk is full."""
    for folder in facts.folders:
        cache = folder.purpose == "hub cache"
        cure = "export HF_HOME=FOLDER" if cache else "stvg ground ... --out FOLDER"
        if not folder.writable:
            yield _warning("disk", f"the {folder.purpose} cannot be written to: {folder.reason}", cure)
        elif folder.free_bytes is not None and folder.free_bytes < SMALL_ROOM_BYTES:
            message = f"{folder.free_bytes / _GIGA:.2f} GB are free for the {folder.purpose} ({folder.path})"
            yield _warning("disk", message, cure)
        elif cache and folder.free_bytes is not None and folder.free_bytes < LARGE_CHECKPOINT_BYTES:
            yield _note(
                "disk",
                f"{folder.free_bytes / _GIGA:.1f} GB are free for the hub cache, a checkpoint of 7 billion parameters "
                f"takes about {LARGE_CHECKPOINT_BYTES // _GIGA}",
                cure,
            )


def hub(facts: Facts) -> Iterator[Problem]:
    """The hub, where it is switched off."""
    if facts.hub.offline:
        name = facts.hub.offline_by
        yield _note("hub", f"{name} switches the hub off: only models in the cache or in folders open", f"unset {name}")


_RULES: tuple[Rule, ...] = (
    requirements,
    torch,
    devices,
    torchvision,
    codecs,
    backends,
    models,
    processors,
    folders,
    hub,
)
