"""The tutorial runs as it stands, and the reference names what there is."""

import ast
import importlib
import os
import re
import site
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from stvg_core.devtools.scaffold import FAMILIES, BackendNames, render_backend
from stvg_core.devtools.testing.suite import CHECKS
from stvg_core.plugin.adapter import MLLMAdapter, TokenDecoder

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "write_an_adapter.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "adapter_reference.md").read_text(encoding="utf-8")
SHOWN_ONLY = "<!-- shown only"
BLOCK = re.compile(r"^(<!-- shown only.*-->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    runs: bool


def blocks() -> list[Block]:
    return [Block(kind, text, runs=not marker) for marker, kind, text in BLOCK.findall(TUTORIAL)]


def public_names() -> dict[str, list[str]]:
    table = REFERENCE.partition("## Where to import from")[2]
    rows = re.findall(r"^\| `([\w.]+)` \| (.+) \|$", table, re.MULTILINE)
    return {module: re.findall(r"`(\w+)`", names) for module, names in rows}


def test_every_block_is_run_or_says_that_it_is_not() -> None:
    found = blocks()
    assert {block.language for block in found} == {"console", "python"}
    assert TUTORIAL.count("```") == 2 * len(found)
    assert TUTORIAL.count(SHOWN_ONLY) == sum(not block.runs for block in found) == 1


def test_the_reference_tells_every_member_and_real_checks() -> None:
    members = [name for each in (MLLMAdapter, TokenDecoder) for name in vars(each) if not name.startswith("_")]
    told = re.findall(r"^### `(\w+)", REFERENCE, re.MULTILINE)
    assert sorted(told) == sorted(members)
    named = {
        name for line in re.findall(r"^- Checks: (.*)$", REFERENCE, re.MULTILINE) for name in line.split("`")[1::2]
    }
    assert named <= {check.name for check in CHECKS}
    assert len(named) > 12


@pytest.mark.parametrize(("module", "names"), public_names().items())
def test_public_names_import_from_where_they_are_told_to_be(module: str, names: list[str]) -> None:
    assert names
    home = importlib.import_module(module)
    assert [name for name in names if not hasattr(home, name)] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_generated_imports_public_names_alone(family: str) -> None:
    public = {(module, name) for module, names in public_names().items() for name in names}
    for path, content in render_backend(BackendNames("my-model"), family).items():
        if not path.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("stvg_core", "stvg_huggingface")):
                used = {(node.module, alias.name) for alias in node.names}
                assert used <= public, (path, used - public)


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of an environment of its own, which sees what is installed here; pip works offline."""
    venv.create(folder, with_pip=False, symlinks=True)
    (own,) = folder.glob("lib/python*/site-packages")
    # addsitedir, so that editable installs of this environment count as well.
    here = [place for place in site.getsitepackages() if Path(place).is_dir()]
    (own / "here.pth").write_text("".join(f"import site; site.addsitedir({place!r})\n" for place in here))
    programs = folder / "bin"
    for name, module in (("stvg", "stvg_core"), ("pip", "pip")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{programs}/python" -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    pip = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1"}
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return variables | pip | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="pip cannot build offline without it")
    variables = environment(tmp_path / "environment")
    desk = tmp_path / "desk"
    desk.mkdir()
    for block in blocks():
        if not block.runs:
            continue
        program = ["bash", "-euo", "pipefail", "-c"] if block.language == "console" else ["python", "-c"]
        done = subprocess.run(
            [*program, block.text], cwd=desk, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert {path.name for path in (desk / "result").iterdir()} == {
        *("tube.json", "overlay.mp4", "contact_sheet.png", "report.html", "video.mp4")
    }
    assert (
        sys.prefix
        not in subprocess.run(
            ["pip", "show", "--files", "stvg-my-model"], env=variables, capture_output=True, text=True, check=True
        ).stdout
    )
