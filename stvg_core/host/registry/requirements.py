"""Which requirements of a distribution are met by what is installed; evaluated before any import."""

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stvg_core._internal.plain_text import one_line
from stvg_core.host.registry.metadata import normalized

_LONGEST_TEXT = 200


@dataclass(frozen=True)
class RequirementState:
    """One requirement, and what is installed.

    Attributes:
        text: such as "transformers>=5.17,<6".
        installed: version; "" where none is.
    """

    text: str
    installed: str
    met: bool

    def __str__(self) -> str:
        """Return the requirement with what came in its place."""
        return f"{self.text} ({f'installed: {self.installed}' if self.installed else 'not installed'})"


def requirement_states(lines: Iterable[str], versions: Mapping[str, str]) -> tuple[RequirementState, ...]:
    """Return the state of every requirement that applies here; those of extras do not.

    Args:
        lines: as in Requires-Dist.
        versions: normalized name of every installed distribution to its version; "" where only its metadata knows.
    """
    # Its grammar takes a tenth of a second to compile: not for `stvg --help`.
    from packaging.requirements import InvalidRequirement, Requirement

    states = []
    for line in lines:
        text = one_line(line, _LONGEST_TEXT)
        try:
            requirement = Requirement(line)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        except (InvalidRequirement, ValueError):
            states.append(RequirementState(f"{text} [malformed]", "", met=False))
            continue
        if not applies:
            continue
        installed = _installed_version(requirement.name, versions)
        try:
            met = bool(installed) and requirement.specifier.contains(installed, prereleases=True)
        except ValueError:
            met = False
        states.append(RequirementState(f"{requirement.name}{requirement.specifier}", installed, met))
    return tuple(states)


def _installed_version(name: str, versions: Mapping[str, str]) -> str:
    known = versions.get(normalized(name))
    if known or known is None:
        return known or ""
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError, OSError):
        return ""
