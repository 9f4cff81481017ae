"""Which backends there are, each with its status; imports no plugin and no torch.

A broken plugin is a row with its reason and cure, never an exception, so that one cannot harm
another or the listing.
"""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stvg_core._internal.plain_text import one_line
from stvg_core.host.registry import found as statuses
from stvg_core.host.registry.file_plugins import inspect_file, plugin_files
from stvg_core.host.registry.found import FoundBackend
from stvg_core.host.registry.manifest import (
    MANIFEST_FILE,
    find_package,
    read_family_options,
    read_manifest,
    read_presets,
)
from stvg_core.host.registry.metadata import InstalledDistribution, InstalledEntry, InstalledPlugins, find_installed
from stvg_core.host.registry.requirements import requirement_states
from stvg_core.host.registry.selection import BACKEND_GROUP, read_selection, selection_warnings, tell_once
from stvg_core.plugin import model_reference

_LONGEST_REASON = 300


def find_backends() -> tuple[FoundBackend, ...]:
    """Return every backend of every installed distribution and of every plugin file, by name.

    An unknown name in STVG_LOAD_PLUGINS or STVG_DISABLE_PLUGINS is logged as a warning, once a process.
    """
    backends, warnings = find_backends_and_warnings()
    for warning in warnings:
        tell_once(warning)
    return backends


def find_backends_and_warnings() -> tuple[tuple[FoundBackend, ...], tuple[str, ...]]:
    """Return what `find_backends` does, and its warnings instead of logging them."""
    selection = read_selection()
    installed = find_installed()
    rows = [_inspect(entry, installed) for entry in installed.entries if entry.point.group == BACKEND_GROUP]
    rows += [_with_versions(inspect_file(path), installed.versions) for path in plugin_files()]
    known: list[tuple[str, str | None]] = [(row.distribution, row.name) for row in rows]
    known += [(entry.distribution.name, None) for entry in installed.entries]
    # The user named a file to be used, so that the list of what loads by itself does not keep it out.
    deny_alone = replace(selection, allowed=None)
    selected = []
    for row in rows:
        refusal = (deny_alone if row.is_file else selection).refusal(row.distribution, row.name)
        if refusal is not None and row.status != statuses.SHADOWED:
            row = replace(row, status=statuses.DISABLED, reason=refusal[0], fix=refusal[1])  # noqa: PLW2901
        selected.append(row)
    backends = [_as_duplicate(row, selected) for row in selected]
    ordered = tuple(sorted(backends, key=lambda row: (row.name, row.distribution, row.status == statuses.SHADOWED)))
    return ordered, selection_warnings(selection, known)


def _inspect(entry: InstalledEntry, installed: InstalledPlugins) -> FoundBackend:
    distribution = entry.distribution
    found = FoundBackend(
        entry.point.name,
        distribution.name,
        distribution.version,
        statuses.OK,
        "",
        "",
        None,
        (),
        entry.point,
        metadata_path=distribution.metadata_path,
        requirements=distribution.requirements,
    )
    if distribution.hidden_by is not None:
        return _as_shadowed(found, distribution.hidden_by, installed.entries)
    if entry.problem:
        return replace(found, status=statuses.BROKEN, reason=entry.problem, fix=_reinstall(found))
    try:
        manifest, package = read_manifest(find_package(entry.point.module.partition(".")[0]))
    except (ImportError, OSError, ValueError, AttributeError) as error:
        reason = f"{MANIFEST_FILE} cannot be read: {one_line(str(error), _LONGEST_REASON)}"
        fix = f"ask the authors of {found.distribution} to ship {MANIFEST_FILE} in its package (hatchling does)"
        return replace(found, status=statuses.MISSING_MANIFEST, reason=reason, fix=fix)
    found = replace(
        found,
        display_name=one_line(manifest.display_name),
        hook_api=manifest.hook_api,
        architectures=manifest.architectures,
        presets=read_presets(manifest.presets),
        family_options=read_family_options(manifest.family_options),
        package_path=package,
    )
    if manifest.name != found.name:
        reason = f"its manifest says {manifest.name!r}, its entry point {found.name!r}"
        return replace(found, status=statuses.BROKEN, reason=reason, fix=_reinstall(found))
    return _with_versions(found, installed.versions)


def _with_versions(found: FoundBackend, versions: Mapping[str, str]) -> FoundBackend:
    """Return a row with a readable manifest after the handshake of hook API and requirements."""
    if found.status != statuses.OK or found.hook_api is None:
        return found
    if not model_reference.MIN_HOOK_API <= found.hook_api <= model_reference.HOOK_API:
        spoken = (
            f"{model_reference.HOOK_API}"
            if model_reference.MIN_HOOK_API == model_reference.HOOK_API
            else f"{model_reference.MIN_HOOK_API} to {model_reference.HOOK_API}"
        )
        reason = f"written for hook API {found.hook_api}, this core has {spoken}"
        outdated = "stvg-core" if found.hook_api > model_reference.HOOK_API else found.distribution
        fix = (
            f"port {found.distribution} to hook API {model_reference.HOOK_API}"
            if found.is_file
            else (f"pip install --upgrade {outdated}")
        )
        return replace(found, status=statuses.INCOMPATIBLE_API, reason=reason, fix=fix)
    unmet = [state for state in requirement_states(found.requirements, versions) if not state.met]
    if unmet:
        reason = f"needs {', '.join(map(str, unmet))}"
        wanted = " ".join(shlex.quote(state.text) for state in unmet) if found.is_file else found.distribution
        return replace(
            found,
            status=statuses.UNMET_REQUIREMENTS,
            reason=one_line(reason, _LONGEST_REASON),
            fix=f"pip install --upgrade {wanted}",
        )
    return found


def _as_shadowed(
    found: FoundBackend, winner: InstalledDistribution, everyone: Sequence[InstalledEntry]
) -> FoundBackend:
    here, there = _place(found.metadata_path), _place(winner.metadata_path)
    reason = (
        f"{winner.name} {winner.version or 'without a version'} at {there} comes first on Python's path and hides "
        f"version {found.version or 'unknown'} at {here}"
    )
    offered = any(
        (entry.point.group, entry.point.name) == (BACKEND_GROUP, found.name)
        and entry.distribution.metadata_path == winner.metadata_path
        for entry in everyone
    )
    if not offered:
        reason = f"{reason}; what comes first offers no backend {found.name!r}"
        fix = f"delete {there}, which is stale, or take its folder off Python's path"
    elif _is_older(winner.version, found.version):
        fix = f"delete {there}, which is the older one, or take its folder off Python's path"
    else:
        fix = f"harmless as it is; delete {here} to be rid of it"
    # Only for the error of one who asks for its architecture: what is hidden is never used.
    architectures: tuple[str, ...] = ()
    if winner.metadata_path is not None and found.metadata_path is not None:
        with suppress(OSError, ValueError):
            package = found.metadata_path.parent / found.entry_point.value.partition(":")[0].partition(".")[0]
            architectures = read_manifest((package,))[0].architectures
    return replace(
        found,
        status=statuses.SHADOWED,
        reason=one_line(reason, 4 * _LONGEST_REASON),
        fix=one_line(fix, 2 * _LONGEST_REASON),
        architectures=architectures,
    )


def _is_older(version: str, other: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(other)
    except InvalidVersion:
        return False


def _as_duplicate(backend: FoundBackend, everyone: list[FoundBackend]) -> FoundBackend:
    # Only what could be used competes: a backend that is not usable anyway takes no other's name.
    claimants = [other for other in everyone if other.name == backend.name and other.status == statuses.OK]
    if backend.status != statuses.OK or len(claimants) < 2:  # noqa: PLR2004  # two make a quarrel
        return backend
    owners = sorted(other.distribution for other in claimants)
    choices = " or ".join(sorted(f"--backend {shlex.quote(other.selector)}" for other in claimants))
    return replace(
        backend,
        status=statuses.DUPLICATE,
        reason=f"{' and '.join(owners)} both claim the name {backend.name!r}",
        fix=f"choose with {choices}, or pip uninstall one of: {', '.join(owners)}",
    )


def _reinstall(found: FoundBackend) -> str:
    reinstall = f"pip install --force-reinstall {shlex.quote(found.distribution)}"
    place = found.metadata_path
    return reinstall if place is None else f"{reinstall}, or delete {_place(place)}"


def _place(path: Path | None) -> str:
    return "an unknown place" if path is None else one_line(shlex.quote(str(path)))
