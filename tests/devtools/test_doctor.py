"""`stvg doctor`: a broken environment harms nobody, and every problem has its cure."""
# ruff: noqa: E501  # a table of cases reads best with a case per line

import copy
import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.devtools import doctor
from tests.support.command_line import Run

DOCS = Path(__file__).parents[2] / "docs"
HEALTHY: dict[str, Any] = {
    "versions": {"torch": "2.9.0+cu126", "flash-attn": None},
    "unmet": [],
    "machine": {"python": "3.11.7", "executable": "/bin/python", "platform": "Linux", "processors": 8, "nvidia_driver": "550.54"},
    "torch": {
        "status": "ok",
        "reason": "",
        "version": "2.9.0+cu126",
        "cuda_build": "12.6",
        "cuda_error": "",
        "threads": 8,
        "devices": [{"index": 0, "name": "NVIDIA H200", "compute_capability": "9.0", "memory_total_bytes": 140 * 2**30, "memory_free_bytes": 139 * 2**30, "bfloat16": True}],
    },
    "torchvision": {"status": "ok", "reason": "", "version": "0.24.0+cu126"},
    "video": {"status": "ok", "reason": "", "version": "18.0", "decoders": {"h264": True, "av1": True}, "encoder": "libx264"},
    "folders": [
        {"purpose": "hub cache", "path": "/cache", "writable": True, "reason": "", "free_bytes": 900 * 10**9},
        {"purpose": "current folder", "path": "/here", "writable": True, "reason": "", "free_bytes": 900 * 10**9},
    ],
    "environment": {"HF_TOKEN": "set"},
    "backends": [{"name": "qwen2-vl", "distribution": "stvg-qwen2-vl", "version": "1.0", "status": "ok", "reason": "", "fix": "", "architectures": ["A"]}],
    "plugin_warnings": [],
    "checked": False,
}  # fmt: skip
NO_GPU = {"devices": []}


def changed(path: str, **values: object) -> dict[str, Any]:
    """Return healthy facts but for some values of the part that a dotted path names."""
    facts = copy.deepcopy(HEALTHY)
    part: Any = facts
    for step in filter(None, path.split(".")):
        part = part[int(step) if step.isdigit() else step]
    part.update(values)
    return facts


def with_backend(**values: object) -> dict[str, Any]:
    broken = HEALTHY["backends"][0] | {"name": "other", "distribution": "stvg-other"} | values
    return HEALTHY | {"backends": [*HEALTHY["backends"], broken]}


def unmet(text: str, installed: str, *wanted_by: str) -> dict[str, Any]:
    return HEALTHY | {"unmet": [{"text": text, "installed": installed, "wanted_by": list(wanted_by)}]}


# Facts; severity; what the message holds and docs/doctor.md as well; what else it holds; what the cure holds.
CASES: list[tuple[dict[str, Any], str, str, str, str]] = [
    (unmet("transformers>=5", "4.37.2", "stvg-a", "stvg-b"), "error", "needs", "stvg-a, stvg-b needs transformers>=5, 4.37.2 is installed", "pip install 'transformers>=5'"),
    (unmet("av>=18", "", "stvg-core"), "error", "needs", "it is not installed", "pip install 'av>=18'"),
    (unmet("torch==2.8.0", "2.9.0", "torchvision"), "error", "needs", "torchvision needs torch==2.8.0", "--force-reinstall torch torchvision"),
    (changed("torch", status="missing", **NO_GPU), "error", "torch is not installed", "", "pip install torch"),
    (changed("torch", status="broken", reason="OSError: libcudart"), "error", "torch cannot be imported", "libcudart", "--force-reinstall torch"),
    (changed("torch", cuda_build=None, **NO_GPU), "warning", "is a build without CUDA", "550.54", "--force-reinstall torch"),
    (changed("torch", cuda_error="driver too old", **NO_GPU), "warning", "finds no usable GPU", "driver too old", "nvidia-smi"),
    (changed("torch", **NO_GPU) | {"environment": {"CUDA_VISIBLE_DEVICES": "-1"}}, "warning", "finds no usable GPU", "CUDA_VISIBLE_DEVICES is '-1'", "nvidia-smi"),
    (changed("torchvision", status="broken", reason="nms does not exist"), "error", "torchvision cannot be imported", "nms", "torch torchvision"),
    (changed("torchvision", version="0.24.0+cpu"), "warning", "torchvision the build", "'cu126', torchvision the build 'cpu'", "torch torchvision"),
    (changed("video", status="missing"), "error", "PyAV is not installed", "", "pip install"),
    (changed("video", status="broken", reason="no libav"), "error", "PyAV cannot be imported", "no libav", "--force-reinstall"),
    (changed("video.decoders", h264=False), "error", "PyAV has no decoder for", "h264", "--force-reinstall"),
    (changed("video.decoders", av1=False), "warning", "PyAV has no decoder for", "av1", "--force-reinstall"),
    (changed("video", encoder=None), "error", "PyAV has no H.264 encoder", "libx264", "--force-reinstall"),
    (with_backend(status="broken", reason="it raises", fix="fix it"), "error", "is broken", "other of stvg-other is broken: it raises", "fix it"),
    (with_backend(status="incompatible-api", reason="api 9", fix="x"), "error", "is incompatible-api", "", "x"),
    (with_backend(status="unmet-deps", reason="needs x", fix="x"), "error", "is unmet-deps", "needs x", "x"),
    (with_backend(status="disabled", reason="STVG_DISABLE_PLUGINS names it", fix="take it out"), "note", "is disabled", "STVG_DISABLE_PLUGINS", "take it out"),
    (HEALTHY | {"backends": []}, "error", "no backend can be used", "", "pip install stvg-qwen2-vl"),
    (HEALTHY | {"plugin_warnings": ["STVG_LOAD_PLUGINS names 'x', which is no plugin here; did you mean y?"]}, "warning", "which is no plugin here", "STVG_LOAD_PLUGINS", "did you mean y?"),
    (changed("folders.0", writable=False, reason="a file"), "warning", "cannot be written to", "hub cache", "export HF_HOME"),
    (changed("folders.1", writable=False, reason="a file"), "warning", "cannot be written to", "current folder", "--out"),
    (changed("folders.0", free_bytes=5 * 10**8), "warning", "GB are free for", "0.50 GB", "export HF_HOME"),
    (changed("environment", HF_HUB_OFFLINE="", TRANSFORMERS_OFFLINE="yes"), "note", "switches the hub off", "", "unset TRANSFORMERS_OFFLINE"),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "severity", "phrase", "part", "cure"), CASES, ids=lambda value: str(value)[-30:])
def test_a_problem_is_reported_once_with_its_cure(
    facts: dict[str, Any], severity: str, phrase: str, part: str, cure: str
) -> None:
    (problem,) = doctor.find_problems(facts)
    assert problem.severity == severity
    assert phrase in problem.message
    assert part in problem.message
    assert cure in problem.cure
    assert phrase in (DOCS / "doctor.md").read_text(encoding="utf-8"), "docs/doctor.md has no row for it"


def test_a_healthy_environment_has_no_problems() -> None:
    assert doctor.find_problems(HEALTHY) == []
    without_gpu = changed("torch", cuda_build=None, **NO_GPU)
    without_gpu["machine"]["nvidia_driver"] = ""
    assert doctor.find_problems(without_gpu) == [], "no GPU is no problem"
    assert doctor.find_problems(changed("torchvision", status="missing")) == []
    assert doctor.find_problems(changed("environment", HF_HUB_OFFLINE="0", TRANSFORMERS_OFFLINE="1")) == []
    assert doctor.find_problems(with_backend(status="shadowed", reason="older copy", fix="x")) == []


def test_errors_come_first_and_a_requirement_is_reported_once() -> None:
    facts = with_backend(status="unmet-deps", reason="needs transformers", distribution="stvg-qwen2-vl")
    facts |= {"unmet": unmet("transformers>=5", "4", "stvg-qwen2-vl")["unmet"]}
    facts |= {"environment": {"HF_HUB_OFFLINE": "1"}, "video": HEALTHY["video"] | {"encoder": None}}
    assert [problem.severity for problem in doctor.find_problems(facts)] == ["error", "error", "note"]


def test_the_installed_environment(stvg: Run) -> None:
    import av
    import torch

    ran = stvg("doctor", "--json")
    assert (ran.code, ran.error) == (0, "")
    document = json.loads(ran.out)
    assert (document["schema_version"], document["healthy"]) == (1, True)
    facts = document["facts"]
    assert facts.keys() == HEALTHY.keys()
    assert facts["torch"].keys() == HEALTHY["torch"].keys()
    assert (facts["torch"]["version"], facts["video"]["version"]) == (torch.__version__, av.__version__)
    # The tests' own videos are written with it.
    assert facts["video"]["decoders"]["h264"]
    for name in ("torch", "transformers", "stvg-core", "stvg-tiny", "numpy"):
        assert facts["versions"][name] == importlib.metadata.version(name)
    shown = stvg("doctor").out
    assert torch.__version__ in shown
    assert "qwen2-vl" in shown


def test_nothing_foreign_steers_the_terminal(stvg: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    evil = "\x1b]0;title\x07[red]\x9b31m\u202e\nline"
    facts = with_backend(name=evil, status="broken", reason=evil, fix=evil)
    facts |= {"versions": {evil: evil}, "environment": {evil: evil}}
    problems = [vars(problem) for problem in doctor.find_problems(facts)]
    document = {"schema_version": 1, "healthy": False, "problems": problems, "facts": facts}
    monkeypatch.setattr(doctor, "examine", lambda *, check: document)
    for arguments in (("doctor",), ("doctor", "--json")):
        ran = stvg(*arguments)
        assert ran.code == 1
        assert all(character.isprintable() or character == "\n" for character in ran.out)
    assert "[red]" in stvg("doctor").out, "square brackets are no markup"


def test_the_doctor_works_without_torch_and_imports_none(tmp_path: Path) -> None:
    """In a process where every heavy library raises at import."""
    for name in ("torch", "torchvision", "av", "transformers", "numpy", "cv2", "scipy"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a bomb')", encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "stvg_core", "doctor", "--json"]
    environment = {**os.environ, "PYTHONPATH": path}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (1, "")
    document = json.loads(ran.stdout)
    assert document["facts"]["torch"]["reason"] == "ImportError: a bomb"
    messages = [problem["message"] for problem in document["problems"]]
    assert any(message.startswith("torch cannot be imported") for message in messages)
    assert any(message.startswith("PyAV cannot be imported") for message in messages)


FAKE_CUDA = """
    __version__ = "2.9.0+cu126"
    class version: cuda = "12.6"
    def get_num_threads(): return 3
    class zeros:
        def __init__(self, *shape): pass
        def numpy(self): return 0
    class Properties:
        name, major, minor, total_memory = "Old card", 7, 5, 16 * 2**30
    class cuda:
        device_count = staticmethod(lambda: 1)
        is_available = staticmethod(lambda: True)
        init = staticmethod(lambda: None)
        get_device_properties = staticmethod(lambda index: Properties)
        mem_get_info = staticmethod(lambda index: (5, 16 * 2**30))
"""
OLD_DRIVER = FAKE_CUDA.replace(
    "is_available = staticmethod(lambda: True)",
    "is_available = staticmethod(lambda: bool(__import__('warnings').warn('driver too old')))",
)
FAILING_CUDA = FAKE_CUDA.replace("staticmethod(lambda index: Properties)", "staticmethod(lambda index: 1 / 0)")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put modules in front of the installed ones, for child processes."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def write(**modules: str) -> None:
        quick = {"av": "raise ImportError('none')", "torchvision": "", "torch": FAKE_CUDA}
        for name, source in (quick | modules).items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")

    return write


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ImportError('libcudart.so.12: cannot open')", "ImportError: libcudart.so.12: cannot open"),
        ("import a_part_of_it_that_is_gone", "a_part_of_it_that_is_gone"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import os; os.abort()", "its import ended the interpreter (signal 6)"),
        ("import os; os._exit(3)", "its import ended the interpreter (exit code 3)"),
        ("raise RuntimeError('\\x1b[31m' + 'x' * 10_000)", "RuntimeError: [31mxxx"),
        ("print('{\"status\": \"ok\"}', flush=True); raise OSError('late')", "OSError: late"),
        ("class zeros:\n    __init__ = lambda self, n: None\n    def numpy(self): raise RuntimeError('Numpy is not available')", "Numpy is not available"),
    ],
)  # fmt: skip
def test_a_broken_torch_harms_nobody(source: str, reason: str, fake: Callable[..., None]) -> None:
    fake(torch=source)
    states = doctor.import_libraries()
    assert (states["torch"]["status"], states["av"]["status"]) == ("broken", "broken")
    assert reason in states["torch"]["reason"]
    assert states["torch"]["reason"].isprintable()
    assert len(states["torch"]["reason"]) < 400


def test_an_import_that_hangs_is_ended(fake: Callable[..., None]) -> None:
    fake(torch="while True: pass", torchvision="import torch")
    states = doctor.import_libraries(timeout_seconds=4.0)
    assert states["torch"] == {"status": "broken", "reason": "its import did not end within 4 seconds", "version": ""}
    assert (states["av"]["reason"], states["torchvision"]["status"]) == ("ImportError: none", "broken")


def test_nothing_at_all_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("torch", "torchvision", "av"):
        source = f"raise ModuleNotFoundError(name={name!r})"
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert {state["status"] for state in doctor.import_libraries().values()} == {"missing"}


def test_devices(fake: Callable[..., None]) -> None:
    fake()
    torch = doctor.import_libraries()["torch"]
    assert (torch["status"], torch["cuda_build"], torch["threads"]) == ("ok", "12.6", 3)
    assert torch["devices"] == [
        {
            "index": 0,
            "name": "Old card",
            "compute_capability": "7.5",
            "memory_total_bytes": 16 * 2**30,
            "memory_free_bytes": 5,
            "bfloat16": False,
        }
    ]


@pytest.mark.parametrize(
    ("source", "error"), [(OLD_DRIVER, "driver too old"), (FAILING_CUDA, "ZeroDivisionError: division by zero")]
)
def test_what_keeps_cuda_from_starting_is_reported(source: str, error: str, fake: Callable[..., None]) -> None:
    fake(torch=source)
    torch = doctor.import_libraries()["torch"]
    assert (torch["status"], torch["cuda_error"], torch["devices"]) == ("ok", error, [])


def test_the_cache_is_where_huggingface_hub_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments: list[dict[str, str]] = [
        {},
        {"HF_HOME": "/data/hf"},
        {"HF_HUB_CACHE": "/data/cache", "HF_HOME": "/data/hf"},
        {"HUGGINGFACE_HUB_CACHE": "/data/old"},
        {"XDG_CACHE_HOME": "/data/xdg"},
        {"HF_HOME": "~/mine"},
    ]
    code = """
        import importlib, json, os, sys
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGG", "XDG"))}
        folders = []
        for environment in json.loads(sys.argv[1]):
            os.environ.clear()
            os.environ.update(clean | environment)
            import huggingface_hub.constants as constants
            importlib.reload(constants)
            folders.append(constants.HF_HUB_CACHE)
        print(json.dumps(folders))
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    command = [sys.executable, "-c", textwrap.dedent(code), json.dumps(environments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [str(doctor.hub_cache(each)) for each in environments] == json.loads(ran.stdout)


def test_folders(tmp_path: Path) -> None:
    new = doctor.describe_folder("hub cache", tmp_path / "not" / "yet")
    assert (new["writable"], new["reason"]) == (True, "")
    assert new["free_bytes"] is not None
    assert not (tmp_path / "not").exists(), "the doctor creates nothing"
    (tmp_path / "file").touch()
    below = doctor.describe_folder("hub cache", tmp_path / "file" / "folder")
    assert not below["writable"]
    assert "is a file" in below["reason"]


secrets = st.text(st.characters(categories=["L", "N"]), min_size=8)


@given(secrets, st.sampled_from(["HF_TOKEN", "STVG_API_KEY", "STVG_MY_SECRET"]))
def test_no_secret_is_shown(secret: str, name: str) -> None:
    secret = f"hush{secret}"
    endpoint = f"https://me:{secret}@mirror/path"
    shown = doctor.describe_environment({name: secret, "HF_ENDPOINT": endpoint, "OTHER": secret})
    assert shown == {name: "set", "HF_ENDPOINT": "https://***@mirror/path"}


def install(folder: Path, name: str, *, points: str = "", needs: str = "") -> None:
    info = folder / f"{name.replace('-', '_')}-1.5.dist-info"
    info.mkdir(parents=True)
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n{requires}", encoding="utf-8")
    if points:
        (info / "entry_points.txt").write_text(points, encoding="utf-8")


def test_unmet_requirements_name_who_declares_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = "[stvg.extensions]\n{0} = {0}:X\n"
    install(tmp_path, "first", points=points.format("first"), needs="numpy<1")
    install(tmp_path, "second", points=points.format("second"), needs="numpy<1")
    install(tmp_path, "stranger", needs="numpy<0.5")
    install(tmp_path, "torchvision", needs="torch==0.1")
    monkeypatch.syspath_prepend(str(tmp_path))
    numpy, torch = (importlib.metadata.version(name) for name in ("numpy", "torch"))
    installed = doctor.find_installed()
    assert doctor.unmet_requirements(installed) == [
        {"text": "numpy<1", "installed": numpy, "wanted_by": ["first", "second"]},
        {"text": "torch==0.1", "installed": torch, "wanted_by": ["torchvision"]},
    ]


def test_check_imports_every_backend_in_a_child_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "stvg-bomb", points="[stvg.backends]\nbomb = stvg_bomb.hooks:Backend\n")
    (tmp_path / "stvg_bomb").mkdir()
    (tmp_path / "stvg_bomb" / "__init__.py").write_text("import os\nos.abort()\n", encoding="utf-8")
    manifest = 'name = "bomb"\ndisplay_name = "A bomb"\nhook_api = 1\narchitectures = ["Bomb"]\n'
    (tmp_path / "stvg_bomb" / "stvg-backend.toml").write_text(manifest, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("STVG_LOAD_PLUGINS", "stvg-bomb")
    monkeypatch.setattr(doctor, "import_libraries", lambda: {"torch": HEALTHY["torch"], "torchvision": HEALTHY["torchvision"], "av": HEALTHY["video"]})  # fmt: skip
    rows = {
        check: {row["name"]: row for row in doctor.examine(check=check)["facts"]["backends"]} for check in (False, True)
    }
    assert rows[False]["bomb"]["status"] == "ok"
    assert rows[True]["bomb"]["status"] == "broken"
    assert "ended the interpreter" in rows[True]["bomb"]["reason"]
    assert rows[True]["qwen2-vl"]["status"] == "disabled"
