"""What has to be installed for a row, and where this installation has it from.

A distribution that was installed from a folder, an archive or a repository says so (PEP 610, direct_url.json); ours of
which nothing is said, and torch, are asked for in the version that runs here; all others are left to the resolver,
because their pins may be what the rows differ in.
"""

import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from stvg_core.errors import PluginError, UsageError
from stvg_core.evaluation.comparison.rows import ComparisonRow
from stvg_core.host.known_models import PUBLISHED_BACKENDS
from stvg_core.host.models import named_entries, resolve_model
from stvg_core.host.registry import find_backends
from stvg_core.host.registry.choice import matching_backends
from stvg_core.host.registry.metadata import CORE, normalized
from stvg_core.host.registry.selection import find_entries

_OURS: Final = "stvg-"
_TORCH: Final = "torch"
_GROUPS: Final = (("stvg.trackers", "tracks"), ("stvg.decomposers", "decomposer"))


def row_requirements(row: ComparisonRow) -> tuple[str, ...]:
    """Return what an environment of the row's own has to hold, as lines of a requirements file, sorted.

    These are the core, the distributions that hold the row's backend, model, tracker and decomposer, what these need
    of ours or from a place of its own, the torch of this installation (another would be a difference of its own, and
    gigabytes), and the row's own requirements, which go before everything else of their name.

    Raises:
        UsageError: a requirement of the row cannot be read.
        ModelError: the model is not found, so that nobody knows its backend.
        PluginError: no backend is known for it, and the row's requirements name none.
    """
    own = {normalized(requirement.name): str(requirement) for requirement in map(_read, row.requirements)}
    lines = dict(own)
    for name in _closure(_distributions(row, bool(own))):
        lines.setdefault(name, _line(name))
    torch = _installed(_TORCH)
    if torch is not None:
        # Of the public version every build will do: the local part (+cpu) is where it was built for.
        lines.setdefault(_TORCH, f"{_TORCH}=={Version(torch.version).public}")
    return tuple(sorted(lines.values()))


def _read(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise UsageError(f"expected a requirement such as 'transformers==5.17.*', got {text!r}: {error}") from error


def _distributions(row: ComparisonRow, has_own: bool) -> Iterator[str]:
    """Yield what holds the parts that the row names."""
    yield CORE
    named = named_entries()
    if row.model in named:
        yield named[row.model].distribution.name
    yield from _backend(row, has_own)
    for group, field in _GROUPS:
        wanted = (getattr(row, field) or "").partition(":")[0]
        yield from (entry.distribution.name for entry, _ in find_entries(group) if entry.point.name == wanted)


def _backend(row: ComparisonRow, has_own: bool) -> Iterator[str]:
    backends = find_backends()
    architecture = ""
    if row.backend is not None:
        # One whose requirements are not met here is what isolation is for.
        found = matching_backends(row.backend, backends)
    else:
        architecture = resolve_model(row.model).architecture
        found = tuple(backend for backend in backends if architecture in backend.architectures)
    if found:
        if not found[0].is_file:
            yield found[0].distribution
    elif architecture in PUBLISHED_BACKENDS:
        yield PUBLISHED_BACKENDS[architecture]
    elif not has_own:
        wanted = f"backend {row.backend!r}" if row.backend is not None else f"a backend for {architecture!r}"
        raise PluginError(
            f"expected to know which distribution has {wanted}, found none; name it in the row's requirements"
        )


def _closure(names: Iterator[str]) -> tuple[str, ...]:
    """Return the distributions, and what they need of ours or from a place of its own."""
    found: dict[str, None] = {}
    waiting = [(name, frozenset[str]()) for name in names]
    looked: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        key = normalized(name)
        if (key, extras) in looked:
            continue
        looked.add((key, extras))
        distribution = _installed(key)
        first = not any(name == key for name in found)
        if first and (key.startswith(_OURS) or (distribution is not None and _direct_url(distribution))):
            found[key] = None
        if distribution is not None:
            waiting += _needs(distribution, extras)
    return tuple(found)


def _needs(distribution: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for line in distribution.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement.name, frozenset(requirement.extras)


def _line(name: str) -> str:
    """Return one distribution as a line of a requirements file: from where it is from here."""
    distribution = _installed(name)
    if distribution is None:
        return name
    told = _direct_url(distribution)
    if not told:
        return f"{name}=={distribution.version}"
    url, repository = str(told["url"]), told.get("vcs_info")
    subfolder = f"#subdirectory={told['subdirectory']}" if told.get("subdirectory") else ""
    if isinstance(repository, dict):
        return f"{name} @ {repository.get('vcs')}+{url}@{repository.get('commit_id')}{subfolder}"
    if isinstance(told.get("dir_info"), dict) and told["dir_info"].get("editable"):
        return f"-e {url}"
    return f"{name} @ {url}{subfolder}"


def _installed(name: str) -> Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except PackageNotFoundError:
        return None


def _direct_url(distribution: Distribution) -> dict[str, Any]:
    """Return what direct_url.json says (PEP 610); nothing where there is none, or it cannot be read."""
    try:
        told = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) and isinstance(told.get("url"), str) else {}


def check_isolation(rows: Sequence[ComparisonRow], *, isolate: bool) -> None:
    """Find out whether rows' environments can be had, before anything runs.

    Raises:
        UsageError: requirements without isolation, or beside an interpreter; or one that cannot be read.
    """
    for row in rows:
        for text in row.requirements:
            _read(text)
        if row.requirements and row.python is not None:
            raise UsageError(f"expected python or requirements for row {row.name!r}, got both; leave one out")
        if row.requirements and not isolate:
            raise UsageError(f"row {row.name!r} has requirements of its own, which need an environment; add --isolate")
