"""The examples: a script that runs every family by the model's name alone; distributions that are not installed."""

import atexit
import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from stvg_core.devtools.testing.suite import CHECKS
from stvg_huggingface.testing import TINY_FAMILIES, save_tiny_model
from tests.support.command_line import Run
from tests.support.runs import write_demo_data

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "stvg_plugins" / "tiny" / "stvg_tiny" / "demo_clips" / "easy.mp4"


@pytest.mark.parametrize("family", [*TINY_FAMILIES, "tiny:qwen2-vl"])
def test_ground_clip(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(save_tiny_model(family, tmp_path / family, layers=2)) if family in TINY_FAMILIES else family
    monkeypatch.setattr(sys, "argv", ["ground_clip.py", str(CLIP), "The red circle moves left.", model])
    runpy.run_path(str(ROOT / "examples" / "ground_clip.py"), run_name="__main__")
    when, where = capsys.readouterr().out.splitlines()
    start, end = (float(part.removesuffix(" s")) for part in when.split(" to "))
    assert 0 <= start < end
    assert where.startswith("first box [")


EXTENSION = ROOT / "examples" / "hook_timer_extension"
BACKEND = ROOT / "examples" / "llava_onevision_backend"


def run_its_tests(example: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run an example's own tests where it is not installed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(example), str(example)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder) for folder in (*path, example))}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=example)


def write_metadata(example: Path, folder: Path) -> None:
    """Write what pip would of an example's pyproject.toml, so that its entry points are found from the folder on."""
    project = tomllib.loads((example / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    head = ("Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}")
    required = (f"Requires-Dist: {one}" for one in project["dependencies"])
    (info / "METADATA").write_text("\n".join((*head, *required, "")), encoding="utf-8")
    points = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(points), encoding="utf-8")


def test_the_example_extension_passes_its_own_tests() -> None:
    ran = run_its_tests(EXTENSION)
    assert ran.returncode == 0, ran.stdout
    assert "3 passed" in ran.stdout


def test_the_example_backend_passes_the_conformance_kit_and_its_own_tests(tmp_path: Path) -> None:
    """A fourth family, written against the documentation: conformance is one of its test classes."""
    write_metadata(BACKEND, tmp_path)
    ran = run_its_tests(BACKEND, tmp_path)
    assert ran.returncode == 0, ran.stdout
    told = re.search(r"(\d+) passed", ran.stdout)
    assert told is not None, ran.stdout
    assert int(told.group(1)) >= len(CHECKS) + 10, ran.stdout


def test_the_example_extension_is_used_where_it_is_named_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stvg: Run
) -> None:
    """Found by the metadata that pip would write from its pyproject.toml."""
    write_metadata(EXTENSION, tmp_path)
    for folder in (tmp_path, EXTENSION):
        monkeypatch.syspath_prepend(str(folder))
    told: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", told.append)
    arguments = ("ground", CLIP, "The red circle moves left.", "--model", "tiny:qwen2-vl", "--set", "prompt.steps=1")
    arguments += ("--set", "augment.enabled=true")
    plain = json.loads(stvg(*arguments, "--json").out)
    assert (plain["settings"]["extensions"], told) == ([], [])
    ran = stvg(*arguments, "--extension", "hook-timer", "--json")
    timed = json.loads(ran.out)
    (report,) = told
    # A step each for both branches and the reversed view; three readings.
    counts = {line.split(" calls")[0] for line in report.__self__.lines()}  # type: ignore[attr-defined]
    assert counts == {"stvg_capture_attention: 3", "stvg_regularize_logits: 3"}
    assert plain["tube"] == timed["tube"]
    assert timed["settings"]["extensions"] == [
        {
            "name": "hook-timer",
            "distribution": "stvg-hook-timer",
            "version": "0.1.0",
            "hooks": ["stvg_capture_attention", "stvg_regularize_logits"],
        }
    ]
    assert timed["versions"]["stvg-hook-timer"] == "0.1.0"
    jsonschema.validate(timed, json.loads((ROOT / "docs" / "schema" / "grounding-1.schema.json").read_text()))
    assert "by hook-timer of stvg-hook-timer 0.1.0" in stvg(*arguments, "--extension", "hook-timer").out
    unknown = stvg(*arguments, "--extension", "hook-tamer")
    assert (unknown.code, unknown.out) == (2, "")
    assert "did you mean hook-timer?" in unknown.error


@pytest.mark.slow
def test_compare_models(tmp_path: Path) -> None:
    data = write_demo_data(tmp_path / "data", clips=1, queries=2)
    ran = subprocess.run(
        [
            *(sys.executable, ROOT / "examples" / "compare_models.py", "--root", data, "--out", tmp_path / "out"),
            *("--model", "tiny:qwen2-vl", "--model", "tiny:internvl", "--model", "tiny:none"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, third, last = ran.stdout.splitlines()
    assert re.match(r"tiny:qwen2-vl: m_vIoU \d\.\d{3} \[", first)
    assert re.match(r"tiny:internvl: m_vIoU \d\.\d{3} \[", second)
    assert third.startswith("tiny:none: unknown model 'tiny:none'")
    out = tmp_path / "out"
    assert last == f"written to {out / 'comparison.md'}, to look at: {out / 'index.html'}"
