"""What installed distributions offer in our entry-point groups, read from their metadata alone.

Imports no plugin. Metadata is foreign: whatever is wrong with it becomes the `problem` of an
entry, and no distribution can keep another from being read. Where a name is installed several
times, the first copy on the path is the one that Python uses; the others are told apart here.
"""

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email.parser import HeaderParser
from functools import cache
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

from stvg_core._internal.plain_text import one_line

GROUP_PREFIX = "stvg."
CORE = "stvg-core"
_ENTRY_POINTS_BYTES = 1024 * 1024
_METADATA_BYTES = 16 * 1024 * 1024
_LONGEST_TEXT = 300
_DISTRIBUTION_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_ENTRY_VALUE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*\s*:\s*[^\W\d]\w*(\.[^\W\d]\w*)*")
_METADATA_FOLDER = re.compile(r"(?P<name>[^-]+)(-(?P<version>\d[^-]*)(-.*)?)?\.(dist-info|egg-info)")


@dataclass(frozen=True)
class InstalledDistribution:
    """One installed copy of a distribution that offers something of ours.

    Attributes:
        name: as its metadata says; of its metadata folder where they do not.
        version: "" where unknown.
        metadata_path: folder or file of its metadata, where it is on disk.
        requirements: its Requires-Dist lines.
        problem: what is wrong with its metadata; empty when nothing.
        hidden_by: the copy earlier on the path that Python uses in its place.
    """

    name: str
    version: str
    metadata_path: Path | None = None
    requirements: tuple[str, ...] = ()
    problem: str = ""
    hidden_by: "InstalledDistribution | None" = None

    @property
    def folder(self) -> Path | None:
        """The folder on Python's path that holds this copy."""
        return None if self.metadata_path is None else self.metadata_path.parent


@dataclass(frozen=True)
class InstalledEntry:
    """One entry point of ours.

    Attributes:
        problem: what is wrong with it; empty when nothing.
    """

    point: EntryPoint
    distribution: InstalledDistribution
    problem: str = ""


@dataclass(frozen=True)
class InstalledPlugins:
    """Every entry point of ours on this machine, and the version of every distribution.

    Attributes:
        entries: in the order of Python's path.
        versions: normalized name to the version that Python uses; "" where only the metadata file knows.
    """

    entries: tuple[InstalledEntry, ...]
    versions: dict[str, str] = field(hash=False)


def normalized(name: str) -> str:
    """Return a distribution's name as package indexes compare it (PEP 503).

    >>> normalized("STVG_Qwen2.VL")
    'stvg-qwen2-vl'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def find_installed() -> InstalledPlugins:
    """Return what every installed distribution offers in our groups; imports none of them."""
    entries: list[InstalledEntry] = []
    versions: dict[str, str] = {}
    first: dict[str, Distribution] = {}
    seen: set[tuple[Path, str]] = set()
    resolved = cache(Path.resolve)  # a folder holds hundreds of distributions
    for distribution in importlib.metadata.distributions():
        path = _metadata_path(distribution)
        if path is not None:
            place = (resolved(path.parent), path.name)
            if place in seen:
                continue  # the same folder stands on the path twice
            seen.add(place)
        name, version = _name_and_version(distribution, path)
        key = normalized(name)
        earlier = first.setdefault(key, distribution) if key else distribution
        versions.setdefault(key, version)
        text, problem = _entry_points_text(distribution, path)
        ours = key.startswith(GROUP_PREFIX[:-1]) if problem else f"[{GROUP_PREFIX}" in text
        if not ours:
            continue
        copy = _describe(distribution, name, version, problem)
        if earlier is not distribution:
            copy = replace(copy, hidden_by=_describe(earlier, name, versions[key], ""))
        entries += _read_entries(text, copy) if not problem else [_unreadable(copy)]
    return InstalledPlugins(tuple(entries), versions)


def _metadata_path(distribution: Distribution) -> Path | None:
    # Not public, and the only way to tell two copies in different folders apart by their place.
    path = getattr(distribution, "_path", None)
    return path if isinstance(path, Path) else None


def _name_and_version(distribution: Distribution, path: Path | None) -> tuple[str, str]:
    """Return both from the name of the metadata folder, at no cost; from the metadata where it has none."""
    match = _METADATA_FOLDER.fullmatch(path.name) if path is not None else None
    if match is not None:
        return match["name"], match["version"] or ""
    try:
        return str(distribution.metadata["Name"] or ""), str(distribution.metadata["Version"] or "")
    except (OSError, ValueError, KeyError):
        return "", ""


def _entry_points_text(distribution: Distribution, path: Path | None) -> tuple[str, str]:
    """Return the file's text, and what is wrong with it."""
    try:
        if path is None:
            return distribution.read_text("entry_points.txt") or "", ""
        # Of hundreds of distributions most have none: one look at the disk must do.
        with (path / "entry_points.txt").open("rb") as stream:
            content = stream.read(_ENTRY_POINTS_BYTES + 1)
        if len(content) > _ENTRY_POINTS_BYTES:
            return "", f"its entry_points.txt is larger than {_ENTRY_POINTS_BYTES} bytes"
        return content.decode(), ""
    except (FileNotFoundError, NotADirectoryError):
        return "", ""
    except (OSError, ValueError) as error:
        return "", f"its entry_points.txt cannot be read: {one_line(str(error), _LONGEST_TEXT)}"


def _describe(distribution: Distribution, name: str, version: str, problem: str) -> InstalledDistribution:
    path = _metadata_path(distribution)
    fallback = one_line(name, _LONGEST_TEXT) or "a distribution without a name"
    try:
        if path is not None and _metadata_file_size(path) > _METADATA_BYTES:
            return InstalledDistribution(fallback, version, path, (), problem or "its metadata file is too large")
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        if not text and path is not None and path.is_file():
            text = distribution.read_text("") or ""
    except (OSError, ValueError) as error:
        reason = f"its metadata cannot be read: {one_line(str(error), _LONGEST_TEXT)}"
        return InstalledDistribution(fallback, version, path, (), problem or reason)
    # The long description below the headers need not be parsed.
    headers = HeaderParser().parsestr(re.split(r"\r?\n\r?\n", text, maxsplit=1)[0])
    told_name, told_version = str(headers.get("Name") or "").strip(), str(headers.get("Version") or "").strip()
    if not problem and not _DISTRIBUTION_NAME.fullmatch(told_name):
        problem = (
            "its metadata has no name" if not told_name else "its metadata has a name that no distribution can have"
        )
    if not problem and path is not None and path.name.startswith("~"):
        problem = "an interrupted pip left it behind"
    return InstalledDistribution(
        told_name if _DISTRIBUTION_NAME.fullmatch(told_name) else fallback,
        one_line(told_version or version, _LONGEST_TEXT),
        path,
        tuple(str(line) for line in headers.get_all("Requires-Dist") or ()),
        problem,
    )


def _metadata_file_size(path: Path) -> int:
    files = (path / "METADATA", path / "PKG-INFO", path)
    return max((file.stat().st_size for file in files if file.is_file()), default=0)


def _read_entries(text: str, distribution: InstalledDistribution) -> list[InstalledEntry]:
    return [_read_entry(group, line, distribution) for group, line in dict.fromkeys(_lines_of_ours(text))]


def _lines_of_ours(text: str) -> Iterator[tuple[str, str]]:
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif line and not line.startswith(("#", ";")) and group.startswith(GROUP_PREFIX):
            yield group, line


def _read_entry(group: str, line: str, distribution: InstalledDistribution) -> InstalledEntry:
    name, _, value = (part.strip() for part in line.partition("="))
    name = one_line(name, _LONGEST_TEXT) or "an entry without a name"
    problem = distribution.problem
    # Extras behind the value ("module:name [extra]") are of an old form that means nothing to us.
    target = value.partition("[")[0].strip()
    if not problem and not _ENTRY_VALUE.fullmatch(target):
        problem = f"expected module:name as its entry point, got {one_line(value, _LONGEST_TEXT)!r}"
    return InstalledEntry(EntryPoint(name, target, group), distribution, problem)


def _unreadable(distribution: InstalledDistribution) -> InstalledEntry:
    name = normalized(distribution.name).removeprefix("stvg-") or distribution.name
    return InstalledEntry(EntryPoint(name, "", f"{GROUP_PREFIX}backends"), distribution, distribution.problem)
