"""One backend as found on this machine, and its status."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

OK = "ok"
DISABLED = "disabled"
INCOMPATIBLE_API = "incompatible-api"
UNMET_REQUIREMENTS = "unmet-deps"
MISSING_MANIFEST = "missing-manifest"
DUPLICATE = "duplicate"
SHADOWED = "shadowed"
BROKEN = "broken"

HARMLESS = (OK, DISABLED, SHADOWED)
"""Statuses that are nobody's fault: nothing needs fixing."""


@dataclass(frozen=True)
class FoundBackend:
    """One backend as found on this machine.

    Attributes:
        name: entry-point name.
        distribution: that holds it; of a backend in a single file, the file's name.
        version: of the distribution; of a single file, "sha256:" and the digest of its bytes.
        status: "ok", or what is wrong.
        reason: one sentence; empty when ok.
        fix: the command or step that fixes it; empty when ok.
        entry_point: where its hooks are, imported only when a session opens.
        display_name: as its manifest says; empty where there is none.
        metadata_path: folder of the distribution's metadata, where it is on disk.
        package_path: folder that holds the manifest, or the single file.
        requirements: Requires-Dist lines.
        presets: what its family has differently: by preset, dotted setting names to values.
        family_options: options of `input.family`: each one's default, or a tuple of choices with the default first.
    """

    name: str
    distribution: str
    version: str
    status: str
    reason: str
    fix: str
    hook_api: int | None
    architectures: tuple[str, ...]
    entry_point: EntryPoint
    display_name: str = ""
    metadata_path: Path | None = None
    package_path: Path | None = None
    requirements: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    family_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def selector(self) -> str:
        """The name that means this backend alone: distribution:backend."""
        return f"{self.distribution}:{self.name}"

    @property
    def is_file(self) -> bool:
        """Whether it is a single file and no installed distribution."""
        return self.version.startswith(FILE_VERSION)


FILE_VERSION = "sha256:"
