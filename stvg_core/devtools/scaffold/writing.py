"""From names to files: templates of the standard library, filled in and written together or not at all."""

import importlib.metadata
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Final

from stvg_core._internal.plain_text import one_line
from stvg_core.devtools.scaffold.naming import BackendNames
from stvg_core.errors import OutputError, UsageError
from stvg_core.outputs.report.staging import staged_files
from stvg_core.plugin.model_reference import HOOK_API

MARKER: Final = "FILL IN:"
"""Stands where an author has to decide something; the lines below it say what for, and which check looks at it."""

_PACKAGE: Final = "PACKAGE"
_COMMON: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".github/workflows/ci.yml": "common/ci.yml",
        ".gitignore": "common/gitignore",
        "LICENSE": "common/LICENSE",
        "pyproject.toml": "common/pyproject.toml",
        "PACKAGE/__init__.py": "common/package.py",
        "PACKAGE/py.typed": "common/py.typed",
        "PACKAGE/stvg-backend.toml": "common/stvg-backend.toml",
        "tests/test_conformance.py": "common/test_conformance.py",
        "tests/test_smoke.py": "common/test_smoke.py",
    }
)
_OWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "huggingface": ("family", "tiny_model", "conformance"),
        "custom": (
            "network",
            "tokenizer",
            "loading",
            "pixels",
            "prompts",
            "adapter",
            "backend",
            "tiny_model",
            "conformance",
        ),
    }
)
FAMILIES: Final = tuple(_OWN)
"""What a backend is built on: transformers through stvg-huggingface, or nothing but the core and torch."""

_EXAMPLE: Final = "LlavaForConditionalGeneration"
_TUPLE_CHARACTERS: Final = 80
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_REQUIRED: Final = MappingProxyType(
    {
        "huggingface": ("jaxtyping>=0.3", "numpy>=2", "torch>=2.6", "transformers>=5.17,<6"),
        "custom": ("jaxtyping>=0.3", "numpy>=2", "safetensors>=0.4", "torch>=2.6"),
    }
)


def render_backend(names: BackendNames, family: str) -> dict[str, str]:
    """Return a new backend's files: path within its folder to content.

    Args:
        names: of the backend.
        family: one of FAMILIES.

    Raises:
        UsageError: there is no such family.
    """
    if family not in FAMILIES:
        raise UsageError(f"expected --family of {', '.join(FAMILIES)}, got {one_line(family)!r}")
    templates = dict(_COMMON) | {f"PACKAGE/{module}.py": f"{family}/{module}.py" for module in _OWN[family]}
    templates["README.md"] = f"{family}/README.md"
    values = _values(names, family)
    return {
        target.replace(_PACKAGE, names.package): _template(source).substitute(values)
        for target, source in sorted(templates.items())
    }


def write_backend(names: BackendNames, family: str, folder: Path) -> tuple[str, ...]:
    """Write a new backend and return its files' paths within the folder; all of them appear at once, or none.

    Args:
        names: of the backend.
        family: one of FAMILIES.
        folder: must not exist; its missing parents are made.

    Raises:
        UsageError: there is no such family.
        OutputError: something stands at the folder's place already, or it cannot be written.
    """
    rendered = render_backend(names, family)
    if os.path.lexists(folder):
        raise OutputError(f"expected nothing at {folder}, something is there and stays; choose another with --out")
    with staged_files(folder) as stage:
        for name, content in rendered.items():
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8", newline="\n")
    return tuple(rendered)


def _template(source: str) -> Template:
    # The suffix keeps linters, type checkers and test collectors of this package away from them.
    return Template(
        files("stvg_core.devtools.scaffold").joinpath(f"templates/{source}.template").read_text(encoding="utf-8")
    )


def _values(names: BackendNames, family: str) -> dict[str, str]:
    example = _EXAMPLE if family == "huggingface" else f"{names.class_name}ForConditionalGeneration"
    architectures = list(dict.fromkeys(name for name in (names.architecture, example) if name is not None))
    if family == "custom":
        architectures = architectures[:1]
    quoted = [f'"{architecture}"' for architecture in architectures]
    own = {"huggingface": ("stvg-core", "stvg-huggingface"), "custom": ("stvg-core",)}[family]
    required = [f"{distribution}{_range(distribution)}" for distribution in own] + list(_REQUIRED[family])
    return {
        "name": names.name,
        "distribution": names.distribution,
        "package": names.package,
        "class_name": names.class_name,
        "family": family,
        "backend_module": "family" if family == "huggingface" else "backend",
        "architecture": architectures[0],
        "architectures": ", ".join(quoted),
        "architecture_tuple": _tuple_body(quoted),
        "hook_api": str(HOOK_API),
        "requirements": "\n".join(f'    "{line}",' for line in sorted(required, key=_requirement_order)),
        "marker": MARKER,
    }


def _tuple_body(quoted: Sequence[str]) -> str:
    """Return what stands between a tuple's parentheses, on one line where that fits."""
    if len(quoted) == 1:
        return f"{quoted[0]},"
    line = ", ".join(quoted)
    return line if len(line) <= _TUPLE_CHARACTERS else "".join(f"\n        {one}," for one in quoted) + "\n    "


def _requirement_order(line: str) -> tuple[bool, str]:
    return not line.startswith("stvg-"), line


def _range(distribution: str) -> str:
    """Return the range of versions that what is generated was made for: this minor version."""
    try:
        found = _VERSION.match(importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        found = _VERSION.match(importlib.metadata.version("stvg-core"))
    major, minor = (int(part) for part in found.groups()) if found else (0, 1)
    return f">={major}.{minor}.0.dev0,<{major}.{minor + 1}"
