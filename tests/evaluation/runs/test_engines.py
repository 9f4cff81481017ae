"""Engines are opened by name from the entry-point group `stvg.engines`, the core's own among them."""

from pathlib import Path

import pytest

from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import PluginError, UsageError
from stvg_core.evaluation.runs import engine as engines
from stvg_core.evaluation.runs.engine import EngineChoice, EngineOpener, engine_names, find_engine
from stvg_core.evaluation.runs.evaluation import LocalEngine, ModelChoice, evaluate
from stvg_core.metrics import find_protocol
from tests.support.fake_distributions import write_distribution
from tests.support.runs import write_dataset

ENGINE = """
from contextlib import contextmanager

from stvg_core.evaluation.runs.engine import OpenedEngine
from tests.support.runs import CONFIGURATION, MadeUpEngine


class Engine:
    @contextmanager
    def open(self, options, choice, video_root, sessions=None):
        assert (choice.spec.model, (video_root / "video0.mp4").is_file()) == ("any", True)
        environment = {"engine": {"name": options.name, "workers": options.workers, "nodes": 1}}
        yield OpenedEngine(MadeUpEngine(), CONFIGURATION, environment, lambda: ("one node was slow",))
"""


def install(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, hooks: str) -> None:
    points = f"[stvg.engines]\n{name} = stvg_{name}.hooks:Engine\n"
    write_distribution(folder, name, manifest=None, code="", hooks=hooks, entry_points=points)
    monkeypatch.syspath_prepend(folder)


def test_the_local_engine_is_registered_like_any_other() -> None:
    assert "local" in engine_names()
    assert isinstance(find_engine("local"), LocalEngine)
    assert isinstance(LocalEngine(), EngineOpener)


def test_a_distribution_adds_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "cloud", monkeypatch, ENGINE)
    dataset = write_dataset(tmp_path / "data")
    summary = evaluate(
        dataset, tmp_path / "run", ModelChoice(RunSpec("any")), find_protocol("stcat"), engine=EngineChoice("cloud", 3)
    )
    assert summary["samples"]["pending"] == 0
    assert summary["sessions"][0]["engine"] == {"name": "cloud", "workers": 3, "nodes": 1}
    assert summary["warnings"] == ["one node was slow"]


def test_an_engine_of_the_wrong_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "other", monkeypatch, "class Engine: ...\n")
    with pytest.raises(PluginError, match=r"to return a EngineOpener, got Engine"):
        find_engine("other")


def test_an_engine_that_is_not_installed_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = [found for found in engines.find_entries(engines.GROUP) if found[0].point.name == "local"]
    monkeypatch.setattr(engines, "find_entries", lambda group: tuple(local))
    with pytest.raises(UsageError, match=r"^expected --engine .*local.*, got 'ray'; pip install stvg-ray$"):
        evaluate(
            write_dataset(tmp_path / "data"),
            tmp_path / "run",
            ModelChoice(RunSpec("any")),
            find_protocol("stcat"),
            engine=EngineChoice("ray", 2),
        )
    assert not (tmp_path / "run").exists()


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^expected --engine .*local.*, got 'clud'$"):
        find_engine("clud")
