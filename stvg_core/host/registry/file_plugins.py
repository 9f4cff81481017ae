"""Backends in a single file: named by `--plugin FILE` or STVG_PLUGIN_FILES, told from a literal in it.

The file holds its manifest as a module-level literal, read by parsing; nothing of it runs before
a session opens. What runs then are the very bytes whose digest the listing and the result tell.
"""

import ast
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import PluginError
from stvg_core.host.registry.found import BROKEN, FILE_VERSION, MISSING_MANIFEST, OK, FoundBackend
from stvg_core.host.registry.manifest import (
    BackendManifest,
    check_manifest,
    check_texts,
    checked_by,
    read_family_options,
    read_presets,
)
from stvg_core.host.registry.selection import BACKEND_GROUP

FILES_VARIABLE = "STVG_PLUGIN_FILES"
LITERAL_NAME = "STVG_BACKEND"
_FILE_BYTES = 4 * 1024 * 1024
_LONGEST_REASON = 200
_CURE = f"give it a module-level {LITERAL_NAME} = {{...}} as docs/plugins.md shows"


def _check_class_name(value: object) -> None:
    if not isinstance(value, str) or not value.isidentifier():
        raise ValueError(f"expected the name of a class, got {one_line(repr(value), _LONGEST_REASON)}")


@dataclass(frozen=True, kw_only=True)
class FileManifest(BackendManifest):
    """What the literal holds.

    Attributes:
        plugin: name of the class in the file whose object has the hooks.
        requires: what it needs, in the words of Requires-Dist.
    """

    plugin: str = checked_by(_check_class_name)
    requires: tuple[str, ...] = checked_by(check_texts, default=())


def plugin_files(environment: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Return the files that the environment names, each once, in order."""
    environment = os.environ if environment is None else environment
    names = environment.get(FILES_VARIABLE, "").split(os.pathsep)
    return tuple(dict.fromkeys(Path(name).expanduser().absolute() for name in names if name.strip()))


@contextmanager
def files_added(files: tuple[Path, ...]) -> Iterator[None]:
    """Add files to the environment while inside, so that this process and its children find them.

    Raises:
        PluginError: a file's path cannot be told in the variable.
    """
    before = os.environ.get(FILES_VARIABLE)
    known = dict.fromkeys((*plugin_files(), *(file.expanduser().absolute() for file in files)))
    for file in known:
        if os.pathsep in str(file):
            raise PluginError(f"expected a plugin file without {os.pathsep!r} in its path, got {file}; move it")
    os.environ[FILES_VARIABLE] = os.pathsep.join(map(str, known))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(FILES_VARIABLE, None)
        else:
            os.environ[FILES_VARIABLE] = before


def inspect_file(path: Path) -> FoundBackend:
    """Return the backend of a file, from its text alone; a file that is none is a row with its reason."""
    name, file_name = one_line(path.stem), one_line(path.name)
    found = FoundBackend(
        name, file_name, FILE_VERSION, OK, "", "", None, (), EntryPoint(name, "", BACKEND_GROUP), package_path=path
    )
    try:
        source = _read(path)
    except (OSError, ValueError) as error:
        reason = f"the file cannot be read: {one_line(str(error), _LONGEST_REASON)}"
        return replace(found, status=BROKEN, reason=reason, fix=f"check {FILES_VARIABLE} and --plugin")
    found = replace(found, version=f"{FILE_VERSION}{hashlib.sha256(source).hexdigest()}")
    try:
        tree = ast.parse(source, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = f"the file is not Python: {one_line(str(error), _LONGEST_REASON)}"
        return replace(found, status=BROKEN, reason=reason, fix=f"fix {file_name}")
    try:
        manifest = check_manifest(FileManifest, _literal(tree))
    except ValueError as error:
        reason = f"its {LITERAL_NAME} cannot be read: {one_line(str(error), _LONGEST_REASON)}"
        return replace(found, status=MISSING_MANIFEST, reason=reason, fix=_CURE)
    return replace(
        found,
        name=manifest.name,
        display_name=one_line(manifest.display_name),
        hook_api=manifest.hook_api,
        architectures=manifest.architectures,
        requirements=manifest.requires,
        presets=read_presets(manifest.presets),
        family_options=read_family_options(manifest.family_options),
        entry_point=EntryPoint(manifest.name, f"{path.stem}:{manifest.plugin}", BACKEND_GROUP),
    )


def import_file(found: FoundBackend) -> ModuleType:
    """Run a single-file backend and return its module.

    Raises:
        PluginError: the file is no longer the one that was listed.
        BaseException: whatever the file raises.
    """
    path = found.package_path
    source = _read(path) if path is not None else b""
    digest = hashlib.sha256(source).hexdigest()
    if found.version != f"{FILE_VERSION}{digest}":
        raise PluginError(f"expected {path} as it was listed, got other bytes; run again")
    name = f"stvg_file_plugin_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    # Dataclasses and pickle look a class's module up there.
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102  # the user named this file to be run
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file")
    if path.stat().st_size > _FILE_BYTES:
        raise ValueError(f"{path} is larger than {_FILE_BYTES} bytes")
    return path.read_bytes()


def _literal(tree: ast.Module) -> object:
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == LITERAL_NAME
    ]
    if len(values) != 1 or values[0] is None:
        raise ValueError(f"expected one assignment at module level, found {len(values)}")
    try:
        return ast.literal_eval(values[0])
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("expected a literal: text, numbers and lists alone") from error
