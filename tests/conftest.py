"""Shapes and types of every annotated function are checked while the tests run."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping

# Tests never reach for the hub: what they load they have written themselves.
os.environ["HF_HUB_OFFLINE"] = "1"

PACKAGES = ["stvg_core", *(folder.name for folder in Path(__file__).parents[1].glob("stvg_plugins/*/stvg_*"))]
jaxtyping.install_import_hook(PACKAGES, "beartype.beartype")

import hypothesis  # the hook must come before what it watches

# A slow machine is no failure; where a change is judged, every run draws the same examples.
hypothesis.settings.register_profile("stvg", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("stvg")

import numpy as np
import pytest

from stvg_core.cli import main
from stvg_core.devtools.demos import DemoCase, find_demos
from stvg_core.host.session import Session, open_backend
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.values import Frames, VideoInfo
from tests.support.command_line import Ran, Run
from tests.support.scripted import ScriptedAdapter, ScriptedBackend, found_backend


@pytest.fixture
def adapter() -> ScriptedAdapter:
    return ScriptedAdapter()


@pytest.fixture
def session(adapter: ScriptedAdapter) -> Session:
    return open_backend(ScriptedBackend(adapter), found_backend(), ModelReference("scripted"), LoadOptions())


@pytest.fixture
def frames() -> Frames:
    """Ten sampled frames of a 100-frame clip of 80x40 pixels."""
    info = VideoInfo("clip.mp4", 80, 40, 10.0, 10.0, np.arange(100) / 10)
    return Frames(info, np.arange(10) * 11, np.zeros((10, 40, 80, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder at the head of Python's path; what a test imports from it goes with it."""
    home = tmp_path / "first"
    home.mkdir()
    monkeypatch.syspath_prepend(str(home))
    for variable in ("STVG_LOAD_PLUGINS", "STVG_DISABLE_PLUGINS", "STVG_PLUGIN_FILES"):
        monkeypatch.delenv(variable, raising=False)
    before = set(sys.modules)
    yield home
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def stvg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, run in this process."""

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["stvg", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Ran(int(exit_.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def easy() -> DemoCase:
    """The shipped demo that the tiny model grounds well."""
    return next(case for case in find_demos() if case.name == "easy")
