"""What is installed: versions, unmet requirements, backends, extensions, named checkpoints. Imports no torch."""

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires

from stvg_core._internal.plain_text import one_line
from stvg_core.devtools.doctor.document import NamedModel, Plugin, Requirement
from stvg_core.errors import StvgError
from stvg_core.host.import_check import CHECK_SECONDS, check_backends, with_outcome
from stvg_core.host.models import named_entries, resolve_model
from stvg_core.host.registry import find_backends_and_warnings
from stvg_core.host.registry.metadata import InstalledPlugins, normalized
from stvg_core.host.registry.requirements import requirement_states
from stvg_core.host.registry.selection import find_entries
from stvg_core.plugin.model_reference import EXTENSION_GROUP

_WANTED = (
    "stvg-core",
    "torch",
    "torchvision",
    "numpy",
    "av",
    "opencv-python-headless",
    "pillow",
    "scipy",
    "pluggy",
    "pydantic",
    "jaxtyping",
    "typer",
    "rich",
    "textblob",
    "packaging",
    "transformers",
    "huggingface-hub",
    "safetensors",
    "tokenizers",
    "qwen-vl-utils",
    "accelerate",
    "bitsandbytes",
    "flash-attn",
)
_LONGEST_REASON = 600


def look_at_versions(installed: InstalledPlugins) -> dict[str, str | None]:
    """Return the versions of what matters and of every distribution of ours or with a plugin; None: not installed."""
    ours = {normalized(entry.distribution.name) for entry in installed.entries}
    ours |= {name for name in installed.versions if name.startswith("stvg-")}
    return {name: installed.versions.get(name) or None for name in (*_WANTED, *sorted(ours - set(_WANTED)))}


def look_at_requirements(installed: InstalledPlugins) -> tuple[Requirement, ...]:
    """Return what our distributions, those with a plugin, and torchvision require and do not have."""
    wanted_by: dict[tuple[str, str], list[str]] = {}
    for name, lines in _requirements(installed).items():
        for state in requirement_states(lines, installed.versions):
            if not state.met:
                wanted_by.setdefault((state.text, state.installed), []).append(name)
    return tuple(
        Requirement(text=text, installed=version, wanted_by=tuple(sorted(set(names))))
        for (text, version), names in sorted(wanted_by.items())
    )


def _requirements(installed: InstalledPlugins) -> Mapping[str, tuple[str, ...]]:
    found = {
        entry.distribution.name: entry.distribution.requirements
        for entry in installed.entries
        if entry.distribution.hidden_by is None
    }
    # transformers imports it where it is installed, and one made for another torch breaks that import.
    with suppress(PackageNotFoundError, OSError, ValueError):
        found["torchvision"] = tuple(requires("torchvision") or ())
    return found


def look_at_backends(check: bool, timeout_seconds: float = CHECK_SECONDS) -> tuple[tuple[Plugin, ...], tuple[str, ...]]:
    """Return every backend's state, and warnings about the lists in the environment.

    Args:
        check: import each in a process of its own.
        timeout_seconds: that an import may take.
    """
    backends, warnings = find_backends_and_warnings()
    if check:
        outcomes = check_backends(backends, timeout_seconds)
        backends = tuple(with_outcome(found, outcome) for found, outcome in zip(backends, outcomes, strict=True))
    rows = [
        Plugin(
            name=found.name,
            distribution=found.distribution,
            version=found.version,
            status=found.status,
            reason=one_line(found.reason, _LONGEST_REASON),
            fix=one_line(found.fix, _LONGEST_REASON),
            architectures=found.architectures,
        )
        for found in backends
    ]
    return tuple(rows), warnings


def look_at_extensions() -> tuple[Plugin, ...]:
    """Return every extension that wraps hooks; none of them is imported."""
    return tuple(
        Plugin(
            name=entry.point.name,
            distribution=entry.distribution.name,
            version=entry.distribution.version,
            status="disabled" if disabled else "ok",
            reason=disabled.partition("; ")[0],
            fix=disabled.partition("; ")[2],
        )
        for entry, disabled in find_entries(EXTENSION_GROUP)
    )


def look_at_models() -> tuple[NamedModel, ...]:
    """Return every named checkpoint, and whether its configuration and weights are there."""
    rows = []
    for name, entry in named_entries().items():
        reason = architecture = place = ""
        try:
            resolved = resolve_model(name)
            folder, architecture = resolved.reference.folder, resolved.architecture
            place = str(folder)
            if folder is None or not any(folder.glob("*.safetensors")):
                reason = f"expected weights (*.safetensors) in {folder}, found none"
        except (StvgError, OSError) as error:
            reason = str(error)
        rows.append(
            NamedModel(
                name=name,
                distribution=entry.distribution.name,
                status="broken" if reason else "ok",
                reason=one_line(reason, _LONGEST_REASON),
                architecture=one_line(architecture, _LONGEST_REASON),
                folder="" if reason else one_line(place, _LONGEST_REASON),
            )
        )
    return tuple(rows)
