"""Which backends are installed, told from metadata and manifests; imports no plugin and no torch.

A backend distribution has an entry point in group `stvg.backends` and a static manifest
`stvg-backend.toml` inside its package. A broken plugin is a row with its reason and cure,
never an exception, so that one cannot harm another or the listing.
"""

import importlib.metadata
import importlib.util
import tomllib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stvg_core.errors import PluginError
from stvg_core.identity import HOOK_API

BACKEND_GROUP = "stvg.backends"
MANIFEST_FILE = "stvg-backend.toml"
_MANIFEST_BYTES = 64 * 1024

PUBLISHED_BACKENDS = {
    "InternVLForConditionalGeneration": "stvg-internvl",
    "LlavaNextVideoForConditionalGeneration": "stvg-llava-next",
    "Qwen2VLForConditionalGeneration": "stvg-qwen2-vl",
    "Qwen2_5_VLForConditionalGeneration": "stvg-qwen2-vl",
}
"""Which distribution to install for an architecture: advice for those who lack it, never read where one is found."""


class BackendManifest(BaseModel):
    """The static file by which a backend introduces itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    display_name: str = Field(min_length=1, max_length=128)
    hook_api: int = Field(ge=1)
    architectures: tuple[str, ...] = Field(min_length=1)


@dataclass(frozen=True)
class FoundBackend:
    """One backend as found on this machine.

    Attributes:
        name: entry-point name.
        status: "ok", or what is wrong.
        reason: one sentence; empty when ok.
        fix: the command or step that mends it; empty when ok.
        entry_point: where its hooks are, imported only when a session opens.
    """

    name: str
    distribution: str
    version: str
    status: str
    reason: str
    fix: str
    hook_api: int | None
    architectures: tuple[str, ...]
    entry_point: importlib.metadata.EntryPoint


def find_backends() -> tuple[FoundBackend, ...]:
    """Return every backend of every installed distribution, by name."""
    found = [
        _inspect(entry_point, distribution)
        for distribution in importlib.metadata.distributions()
        for entry_point in distribution.entry_points
        if entry_point.group == BACKEND_GROUP
    ]
    unique = {(backend.name, backend.distribution): backend for backend in reversed(found)}
    names = Counter(name for name, _ in unique)
    rows = [
        _as_duplicate(backend, list(unique.values())) if names[backend.name] > 1 else backend
        for backend in unique.values()
    ]
    return tuple(sorted(rows, key=lambda backend: (backend.name, backend.distribution)))


def backend_for(architecture: str, backends: tuple[FoundBackend, ...]) -> FoundBackend:
    """Return the one healthy backend that declares an architecture of config.json.

    Raises:
        PluginError: none does, it is not healthy, or several do.
    """
    matching = [backend for backend in backends if architecture in backend.architectures]
    if not matching:
        raise PluginError(
            f"no installed backend handles architecture {architecture!r}; {_advice(architecture, backends)}"
        )
    healthy = [backend for backend in matching if backend.status == "ok"]
    if not healthy:
        worst = matching[0]
        raise PluginError(
            f"backend {worst.name!r} of {worst.distribution} is {worst.status}: {worst.reason}; {worst.fix}"
        )
    if len(healthy) > 1:
        names = ", ".join(f"{backend.name} ({backend.distribution})" for backend in healthy)
        raise PluginError(f"several backends handle {architecture!r}: {names}; uninstall all but one")
    return healthy[0]


def _advice(architecture: str, backends: tuple[FoundBackend, ...]) -> str:
    if architecture in PUBLISHED_BACKENDS:
        return f"pip install {PUBLISHED_BACKENDS[architecture]}"
    installed = {name: backend.distribution for backend in backends for name in backend.architectures}
    supported = ", ".join(f"{name} ({owner})" for name, owner in sorted((PUBLISHED_BACKENDS | installed).items()))
    return f"supported: {supported}; docs/hooks.md tells how to write a backend for another"


def _inspect(entry_point: importlib.metadata.EntryPoint, distribution: importlib.metadata.Distribution) -> FoundBackend:
    name = distribution.metadata["Name"]
    backend = FoundBackend(entry_point.name, name, distribution.version, "ok", "", "", None, (), entry_point)
    try:
        manifest = _read_manifest(entry_point.module.split(".")[0])
    except (OSError, ValueError) as error:
        return replace(
            backend,
            status="missing-manifest",
            reason=f"{MANIFEST_FILE} cannot be read: {' '.join(str(error).split())[:200]}",
            fix=f"ask the authors of {name} to ship {MANIFEST_FILE} in its package (hatchling does)",
        )
    backend = replace(backend, hook_api=manifest.hook_api, architectures=manifest.architectures)
    if manifest.hook_api != HOOK_API:
        return replace(
            backend,
            status="incompatible-api",
            reason=f"written for hook API {manifest.hook_api}, this core has {HOOK_API}",
            fix=f"pip install --upgrade stvg-core {name}",
        )
    unmet = _unmet_requirements(distribution)
    if unmet:
        return replace(
            backend, status="unmet-deps", reason=f"needs {', '.join(unmet)}", fix=f"pip install --upgrade {name}"
        )
    return backend


def _read_manifest(package: str) -> BackendManifest:
    # find_spec of a top-level package reads no code of it, so a broken plugin stays asleep.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"package {package} is not importable")
    for location in spec.submodule_search_locations:
        path = Path(location) / MANIFEST_FILE
        if path.is_file():
            if path.stat().st_size > _MANIFEST_BYTES:
                raise ValueError(f"{MANIFEST_FILE} is larger than {_MANIFEST_BYTES} bytes")
            try:
                return BackendManifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
            except ValidationError as error:
                first = error.errors()[0]
                raise ValueError(f"{first['loc']}: {first['msg']}") from error
    raise FileNotFoundError(f"package {package} holds no {MANIFEST_FILE}")


def _unmet_requirements(distribution: importlib.metadata.Distribution) -> list[str]:
    # Its grammar takes a tenth of a second to compile: not for `stvg --help`.
    from packaging.requirements import InvalidRequirement, Requirement

    unmet = []
    for line in distribution.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            unmet.append(line)
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            unmet.append(f"{requirement.name}{requirement.specifier} (not installed)")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            unmet.append(f"{requirement.name}{requirement.specifier} (installed: {installed})")
    return unmet


def _as_duplicate(backend: FoundBackend, everyone: list[FoundBackend]) -> FoundBackend:
    claimants = sorted(other.distribution for other in everyone if other.name == backend.name)
    return replace(
        backend,
        status="duplicate",
        reason=f"{' and '.join(claimants)} both claim the name {backend.name!r}",
        fix=f"pip uninstall one of: {', '.join(claimants)}",
    )
