"""Tests share helpers through tests/support and fixtures through conftest.py; no test imports another."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / "tests", ROOT / "benchmarks", *sorted(ROOT.glob("stvg_plugins/*/tests"))]


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of every module that a file imports, and of every name that it imports from one."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def forbidden(name: str) -> bool:
    parts = name.split(".")
    return "conftest" in parts or ("tests" in parts[:-1] and "support" not in parts)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_only_helpers_are_imported(folder: Path) -> None:
    files = list(folder.rglob("*.py"))
    assert files
    wrong = [f"{path.relative_to(ROOT)}: {name}" for path in files for name in imported(path) if forbidden(name)]
    assert wrong == []


def test_what_is_forbidden() -> None:
    assert forbidden("tests.conftest.session")
    assert forbidden("tests.cli.test_ground.stvg")
    assert forbidden("stvg_plugins.qwen2_vl.tests.conftest.SIZE")
    assert not forbidden("tests.support.command_line.MODEL")
    assert not forbidden("stvg_plugins.qwen2_vl.tests.support.SIZE")
    assert not forbidden("pytest.fixture")
