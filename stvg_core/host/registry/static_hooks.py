"""Which hooks a backend implements, read from its source text; nothing of it is imported.

Follows the plugin's class and the bases that its modules import by name. What is decided at run
time cannot be seen here: `stvg plugins show NAME --check` imports the plugin and tells those.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stvg_core.host.registry.found import FoundBackend
from stvg_core.host.registry.manifest import find_package

_PREFIX = "stvg_"
_DEEPEST = 8
_SOURCE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class StaticHooks:
    """What the source tells.

    Attributes:
        names: methods whose names are those of hooks, sorted.
        complete: whether every class that it derives from could be read.
    """

    names: tuple[str, ...]
    complete: bool


def read_static_hooks(found: FoundBackend) -> StaticHooks:
    """Return the hooks that the source of a backend names; none where it cannot be read."""
    target = found.entry_point.value.partition(":")
    if found.is_file and found.package_path is not None:
        names, complete = _methods(found.package_path, target[2].strip(), 0)
    else:
        names, complete = _methods_of(target[0].strip(), target[2].strip(), 0)
    return StaticHooks(tuple(sorted(names)), complete)


def _methods_of(module: str, name: str, depth: int) -> tuple[set[str], bool]:
    path = _source_of(module)
    return (set(), False) if path is None else _methods(path, name, depth)


def _methods(path: Path, name: str, depth: int) -> tuple[set[str], bool]:
    """Return the hooks of a class of a file and of its bases, and whether all of them could be read."""
    tree = _parse(path)
    if tree is None or depth > _DEEPEST:
        return set(), False
    for node in _module_level(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            functions = ast.FunctionDef | ast.AsyncFunctionDef
            names = {each.name for each in node.body if isinstance(each, functions) and each.name.startswith(_PREFIX)}
            complete = True
            for base in node.bases:
                if isinstance(base, ast.Name) and base.id in {"object", "ABC"}:
                    continue
                inherited, known = _methods(path, base.id, depth + 1) if isinstance(base, ast.Name) else (set(), False)
                names |= inherited
                complete = complete and known
            return names, complete
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            for imported in node.names:
                if (imported.asname or imported.name) == name:
                    return _methods_of(node.module, imported.name, depth + 1)
    return set(), False


def _module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those under `if TYPE_CHECKING:` included: lazy names are imported there."""
    for node in tree.body:
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from node.body


def _source_of(module: str) -> Path | None:
    package, _, rest = module.partition(".")
    try:
        locations = find_package(package)
    except (ImportError, OSError, ValueError, AttributeError):
        return None
    parts = rest.split(".") if rest else []
    for location in locations:
        file = location.joinpath(*parts)
        for candidate in (file.with_name(f"{file.name}.py"), file / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes()) if path.stat().st_size <= _SOURCE_BYTES else None
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
