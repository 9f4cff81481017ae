"""What `stvg doctor` tells, as data: frozen, closed, and checked where it is born. Knows no machine."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning", "note"]
State = Literal["ok", "missing", "broken", "unknown"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(_Part):
    """Something to mend.

    Attributes:
        severity: error: something does not work; warning: something may not; note: worth knowing.
        about: a word for what it concerns.
        message: what is wrong, one sentence.
        cure: the command or step that mends it.
    """

    severity: Severity
    about: str
    message: str
    cure: str


class Library(_Part):
    """A library with compiled code, as a process of its own found it.

    Attributes:
        status: unknown: it was not looked at, because something before it failed.
        reason: what is wrong; empty when ok.
        version: as the library tells; empty where it does not.
    """

    status: State = "unknown"
    reason: str = ""
    version: str = ""


class Device(_Part):
    """A CUDA device, as torch sees it.

    Attributes:
        compute_capability: such as "9.0".
        bfloat16: computed by the device itself, not emulated.
        memory_free_bytes: None where the driver does not tell.
        supported: whether this build of torch has code for it.
    """

    index: int
    name: str
    compute_capability: str
    memory_total_bytes: int
    memory_free_bytes: int | None
    bfloat16: bool
    supported: bool


class Torch(Library):
    """torch and its devices.

    Attributes:
        cuda_build: CUDA version that it was built for; None: a build without CUDA.
        cuda_error: what kept CUDA from starting; empty where nothing did.
        threads: that operations on the CPU use; None where unknown.
    """

    cuda_build: str | None = None
    cuda_error: str = ""
    threads: int | None = None
    devices: tuple[Device, ...] = ()


class Video(Library):
    """PyAV and the codecs that are needed.

    Attributes:
        decoders: video format to whether it can be read.
        encoder: what would write overlay.mp4; None: nothing.
    """

    decoders: dict[str, bool] = {}
    encoder: str | None = None


class Machine(_Part):
    """Where this runs.

    Attributes:
        processors: of the machine.
        usable_processors: that this process may use (affinity, quota of a container).
        memory_total_bytes: of the machine or of the container's limit; None where unknown.
        memory_available_bytes: likewise.
        nvidia_driver: version; "" where there is none.
    """

    python: str
    executable: str
    platform: str
    processors: int
    usable_processors: int
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    nvidia_driver: str


class Folder(_Part):
    """A folder that is written to.

    Attributes:
        purpose: "hub cache" or "current folder".
        exists: a missing one is made when it is needed.
        reason: why it cannot be written to; empty where it can.
        free_bytes: on its disk; None where unknown.
    """

    purpose: str
    path: str
    exists: bool
    writable: bool
    reason: str
    free_bytes: int | None


class Hub(_Part):
    """How the Hugging Face hub is reached.

    Attributes:
        offline: switched off by the environment.
        offline_by: the variable that says so; empty where none does.
        token: whether one is set; never the token.
    """

    offline: bool
    offline_by: str
    token: bool


class Plugin(_Part):
    """A backend or an extension.

    Attributes:
        status: "ok", or what is wrong; see docs/plugins.md.
        reason: one sentence; empty when ok.
        fix: what mends it; empty when ok.
    """

    name: str
    distribution: str
    version: str
    status: str
    reason: str
    fix: str
    architectures: tuple[str, ...] = ()


class NamedModel(_Part):
    """A named checkpoint.

    Attributes:
        architecture: as its config.json says; empty where it cannot be read.
        folder: where it is; empty where it is not there.
    """

    name: str
    distribution: str
    status: Literal["ok", "broken"]
    reason: str
    architecture: str
    folder: str


class Requirement(_Part):
    """A requirement of ours that what is installed does not meet.

    Attributes:
        text: such as "transformers>=5.17,<6".
        installed: version; empty where none is.
        wanted_by: distributions that declare it.
    """

    text: str
    installed: str
    wanted_by: tuple[str, ...]


class Facts(_Part):
    """Everything that was looked at.

    Attributes:
        versions: of distributions that matter, None where one is not installed.
        unmet: requirements of our distributions and of torchvision.
        environment: variables that matter, None where unset; secrets as "set".
        plugin_warnings: about the lists of plugins in the environment.
        checked: whether every backend was imported in a process of its own.
    """

    versions: dict[str, str | None]
    unmet: tuple[Requirement, ...]
    machine: Machine
    torch: Torch
    torchvision: Library
    video: Video
    folders: tuple[Folder, ...]
    hub: Hub
    environment: dict[str, str | None]
    backends: tuple[Plugin, ...]
    extensions: tuple[Plugin, ...]
    models: tuple[NamedModel, ...]
    plugin_warnings: tuple[str, ...]
    checked: bool


class DoctorDocument(_Part):
    """What `stvg doctor --json` prints.

    Attributes:
        schema_version: a new number where a field changes its meaning or goes; fields may be added.
        healthy: no problem is an error.
        problems: the gravest first.
    """

    schema_version: Literal[1] = 1
    healthy: bool
    problems: tuple[Problem, ...]
    facts: Facts
