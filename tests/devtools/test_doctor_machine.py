"""`stvg doctor` and a machine that is not well; what is installed there."""
# ruff: noqa: E501  # a table of cases reads best with a case per line

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.devtools.doctor.document import (
    Requirement,
)
from stvg_core.devtools.doctor.installed import (
    look_at_extensions,
    look_at_models,
    look_at_requirements,
    look_at_versions,
)
from stvg_core.devtools.doctor.machine import (
    hub_cache,
    look_at_environment,
    look_at_folder,
    look_at_hub,
    memory_bytes,
    nvidia_driver,
    usable_processors,
)
from stvg_core.host.registry.metadata import find_installed
from tests.support.doctor_facts import install


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 4),
        ({"cpu.max": "nonsense"}, 4),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu.max": "900000 100000\n"}, 4),
        ({}, 4),
    ],
)
def test_processors_within_a_container_s_quota(
    files: dict[str, str], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert usable_processors(tmp_path) == count


def test_memory_within_a_container_s_limit(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n", encoding="utf-8")
    assert memory_bytes(tmp_path, meminfo) == (1_024_000, 614_400)
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert memory_bytes(tmp_path, meminfo) == (1_024_000, 614_400)
    (tmp_path / "memory.max").write_text("500000\n", encoding="utf-8")
    assert memory_bytes(tmp_path, meminfo) == (500_000, 500_000)
    assert memory_bytes(tmp_path / "none", tmp_path / "none") == (None, None)


def test_the_driver_s_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "version"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_driver(file) == ""
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\nGCC version: 12.2\n")
    assert nvidia_driver(file) == "550.54.15"
    file.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\n")
    assert nvidia_driver(file) == "570.86.10"
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 535.1\n")
    program.chmod(0o755)
    assert nvidia_driver(tmp_path / "none") == "535.1"


ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"HF_HOME": "/data/hf"},
    {"HF_HUB_CACHE": "/data/cache", "HF_HOME": "/data/hf"},
    {"HUGGINGFACE_HUB_CACHE": "/data/old"},
    {"XDG_CACHE_HOME": "/data/xdg"},
    {"HF_HOME": "~/mine"},
    {"HF_HUB_OFFLINE": "1"},
    {"HF_HUB_OFFLINE": "yes"},
    {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"},
    {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "TRUE"},
    {"HF_HUB_OFFLINE": "perhaps"},
]


def test_cache_and_offline_are_what_huggingface_hub_says(tmp_path: Path) -> None:
    code = """
        import importlib, json, os, sys
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGG", "XDG", "TRANS"))}
        told = []
        for environment in json.loads(sys.argv[1]):
            os.environ.clear()
            os.environ.update(clean | environment)
            import huggingface_hub.constants as constants
            importlib.reload(constants)
            told.append([constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE])
        print(json.dumps(told))
    """
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(code), json.dumps(ENVIRONMENTS)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    ours = [[str(hub_cache(each, tmp_path)), look_at_hub(each).offline] for each in ENVIRONMENTS]
    assert ours == json.loads(ran.stdout)


def test_folders(tmp_path: Path) -> None:
    fine = look_at_folder("hub cache", tmp_path / "not" / "yet")
    assert (fine.exists, fine.writable, fine.reason) == (False, True, "")
    assert fine.free_bytes is not None
    assert not (tmp_path / "not").exists(), "the doctor makes nothing"
    (tmp_path / "file").touch()
    below = look_at_folder("hub cache", tmp_path / "file" / "folder")
    assert (below.writable, below.exists) == (False, False)
    assert "is a file" in below.reason


secrets = st.text(st.characters(categories=["L", "N"]), min_size=8)


@given(secrets, st.sampled_from(["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "STVG_API_KEY", "STVG_MY_SECRET"]))
def test_no_secret_is_shown(secret: str, name: str) -> None:
    secret = f"hush{secret}"
    told = look_at_environment({name: secret, "HF_ENDPOINT": f"https://me:{secret}@mirror/path", "OTHER": secret})
    assert secret not in str(told)
    assert told[name] == "set"
    assert told["HF_ENDPOINT"] == "https://***@mirror/path"
    assert secret not in str(look_at_hub({name: secret}))


# What is installed.
def test_versions_are_those_of_the_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "their-watcher", points="[stvg.extensions]\nwatcher = their:Watcher\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    told = look_at_versions(find_installed())
    for name in ("torch", "transformers", "stvg-core", "stvg-tiny", "numpy"):
        assert told[name] == importlib.metadata.version(name)
    assert told["their-watcher"] == "1.5"
    assert "flash-attn" in told


def test_unmet_requirements_name_who_wants_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = "[stvg.extensions]\n{0} = {0}:X\n"
    install(tmp_path, "first", points=points.format("first"), needs="numpy<1")
    install(tmp_path, "second", points=points.format("second"), needs="numpy<1")
    install(tmp_path, "stranger", needs="numpy<0.5")
    install(tmp_path, "torchvision", needs="torch==0.1", version="0.2")
    monkeypatch.syspath_prepend(str(tmp_path))
    numpy, torch = (importlib.metadata.version(name) for name in ("numpy", "torch"))
    assert look_at_requirements(find_installed()) == (
        Requirement(text="numpy<1", installed=numpy, wanted_by=("first", "second")),
        Requirement(text="torch==0.1", installed=torch, wanted_by=("torchvision",)),
    )


def test_extensions_are_listed_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "their-watcher", points="[stvg.extensions]\nwatcher = their_watcher:Watcher\n")
    (tmp_path / "their_watcher.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    (row,) = [row for row in look_at_extensions() if row.name == "watcher"]
    assert (row.distribution, row.version, row.status) == ("their-watcher", "1.5", "ok")
    monkeypatch.setenv("STVG_DISABLE_PLUGINS", "their-watcher")
    (row,) = [row for row in look_at_extensions() if row.name == "watcher"]
    assert row.status == "disabled"
    assert "STVG_DISABLE_PLUGINS" in row.reason


def test_a_named_model_without_its_weights_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "their-models", points="[stvg.models]\nempty = their_models:folder\ngone = their_models:gone\n")
    (tmp_path / "their_models.py").write_text(
        "from pathlib import Path\n\ndef folder():\n    return Path(__file__).parent / 'checkpoint'\n", encoding="utf-8"
    )
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text('{"architectures": ["Theirs"]}', encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = {row.name: row for row in look_at_models()}
    assert (rows["empty"].status, rows["empty"].architecture) == ("broken", "Theirs")
    assert "safetensors" in rows["empty"].reason
    assert (rows["gone"].status, rows["tiny:qwen2-vl"].status) == ("broken", "ok")
    (tmp_path / "checkpoint" / "model.safetensors").touch()
    assert {row.name: row.status for row in look_at_models()}["empty"] == "ok"
