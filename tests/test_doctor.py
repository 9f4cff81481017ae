"""`stvg doctor`: every rule on facts of its own, and every look at a machine that is not well."""
# ruff: noqa: E501  # a table of cases reads best with a case per line

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

from stvg_core import doctor
from stvg_core.doctor.document import (
    Device,
    DoctorDocument,
    Facts,
    Folder,
    Hub,
    Library,
    Machine,
    NamedModel,
    Plugin,
    Requirement,
    Torch,
    Video,
)
from stvg_core.doctor.installed import look_at_extensions, look_at_models, look_at_requirements, look_at_versions
from stvg_core.doctor.libraries import look_at_libraries, read_answer
from stvg_core.doctor.machine import (
    hub_cache,
    look_at_environment,
    look_at_folder,
    look_at_hub,
    memory_bytes,
    nvidia_driver,
    usable_processors,
)
from stvg_core.doctor.probe import is_supported
from stvg_core.doctor.problems import find_problems
from stvg_core.registry.metadata import find_installed
from tests.test_cli import Run, stvg

__all__ = ["stvg"]

DOCS = Path(__file__).parents[1] / "docs"
GIGA, GIBI = 10**9, 2**30
GPU = Device(
    index=0,
    name="NVIDIA H200",
    compute_capability="9.0",
    memory_total_bytes=140 * GIBI,
    memory_free_bytes=139 * GIBI,
    bfloat16=True,
    supported=True,
)
BACKEND = Plugin(
    name="qwen2-vl",
    distribution="stvg-qwen2-vl",
    version="1.0",
    status="ok",
    reason="",
    fix="",
    architectures=("Qwen2VLForConditionalGeneration",),
)
MODEL = NamedModel(
    name="tiny:qwen2-vl",
    distribution="stvg-tiny",
    status="ok",
    reason="",
    architecture="Qwen2VLForConditionalGeneration",
    folder="/models/tiny",
)
CACHE = Folder(purpose="hub cache", path="/cache", exists=True, writable=True, reason="", free_bytes=900 * GIGA)
HERE = CACHE.model_copy(update={"purpose": "current folder", "path": "/here"})
HEALTHY = Facts(
    versions={"torch": "2.9.0+cu126", "flash-attn": None},
    unmet=(),
    machine=Machine(
        python="3.11.7",
        executable="/usr/bin/python",
        platform="Linux",
        processors=16,
        usable_processors=8,
        memory_total_bytes=64 * GIBI,
        memory_available_bytes=60 * GIBI,
        nvidia_driver="550.54.15",
    ),
    torch=Torch(status="ok", version="2.9.0+cu126", cuda_build="12.6", threads=8, devices=(GPU,)),
    torchvision=Library(status="ok", version="0.24.0+cu126"),
    video=Video(status="ok", version="18.0", decoders={"h264": True, "hevc": True}, encoder="libx264"),
    folders=(CACHE, HERE),
    hub=Hub(offline=False, offline_by="", token=True),
    environment={"OMP_NUM_THREADS": None, "CUDA_VISIBLE_DEVICES": None, "HF_TOKEN": "set"},
    backends=(BACKEND,),
    extensions=(),
    models=(MODEL,),
    plugin_warnings=(),
    checked=False,
)


def changed(part: str, **values: object) -> Facts:
    """Return healthy facts but for some fields of a part."""
    return HEALTHY.model_copy(update={part: getattr(HEALTHY, part).model_copy(update=values)})


def with_(**values: object) -> Facts:
    return HEALTHY.model_copy(update=values)


def with_device(**values: object) -> Facts:
    return changed("torch", devices=(GPU.model_copy(update=values),))


def without_gpu(**values: object) -> Facts:
    return changed("torch", **{"devices": (), **values})


def with_threads(value: str) -> Facts:
    return with_(environment={"OMP_NUM_THREADS": value})


def with_backend(**values: object) -> Facts:
    ill = BACKEND.model_copy(update={"name": "ill", "distribution": "stvg-ill", "architectures": (), **values})
    return with_(backends=(BACKEND, ill))


def with_folder(folder: Folder, **values: object) -> Facts:
    return with_(folders=(folder.model_copy(update=values),))


NEEDS = Requirement(text="transformers>=5.17,<6", installed="4.37.2", wanted_by=("stvg-huggingface", "stvg-qwen2-vl"))
LACKS = Requirement(text="av>=18", installed="", wanted_by=("stvg-core",))
OTHER_TORCH = Requirement(text="torch==2.8.0", installed="2.9.0", wanted_by=("torchvision",))

# Facts; severity; what the message holds and docs/doctor.md as well; what else it holds; what the cure holds.
CASES: list[tuple[Facts, str, str, str, str]] = [
    (with_(unmet=(NEEDS,)), "error", "needs", "stvg-huggingface, stvg-qwen2-vl needs transformers>=5.17,<6, 4.37.2 is installed", "pip install 'transformers>=5.17,<6'"),
    (with_(unmet=(LACKS,)), "error", "needs", "it is not installed", "pip install 'av>=18'"),
    (with_(unmet=(OTHER_TORCH,)), "error", "needs", "torchvision needs torch==2.8.0", "--force-reinstall torch torchvision"),
    (without_gpu(status="missing"), "error", "torch is not installed", "", "pip install torch"),
    (without_gpu(status="broken", reason="OSError: libcudart"), "error", "torch cannot be imported", "libcudart", "--force-reinstall torch"),
    (without_gpu(cuda_build=None), "warning", "is a build without CUDA", "550.54.15", "--force-reinstall torch"),
    (without_gpu(cuda_error="driver too old"), "warning", "finds no usable GPU", "driver too old", "nvidia-smi"),
    (without_gpu(), "warning", "finds no usable GPU", "CUDA 12.6", "nvidia-smi"),
    (without_gpu().model_copy(update={"environment": {"CUDA_VISIBLE_DEVICES": "-1"}}), "note", "hides every GPU", "'-1'", "unset CUDA_VISIBLE_DEVICES"),
    (without_gpu().model_copy(update={"environment": {"CUDA_VISIBLE_DEVICES": ""}}), "note", "hides every GPU", "", "unset"),
    (with_device(supported=False), "error", "has no code for", "NVIDIA H200 (compute capability 9.0)", "pip install --upgrade torch"),
    (with_device(memory_free_bytes=35 * GIBI), "note", "GiB are free on", "35.0 of 140.0 GiB are free on cuda:0", "nvidia-smi"),
    (with_device(bfloat16=False), "note", "does not compute in bfloat16", "", "--dtype float16"),
    (with_(torchvision=Library(status="broken", reason="nms does not exist")), "error", "torchvision cannot be imported", "nms", "torch torchvision"),
    (with_(torchvision=Library(status="ok", version="0.24.0+cpu")), "warning", "torchvision the build", "'cu126', torchvision the build 'cpu'", "torch torchvision"),
    (with_(video=Video(status="missing")), "error", "PyAV is not installed", "", "pip install --only-binary av av"),
    (with_(video=Video(status="broken", reason="no libav")), "error", "PyAV cannot be imported", "no libav", "--force-reinstall"),
    (changed("video", decoders={"h264": False}), "error", "PyAV has no decoder for", "h264", "--force-reinstall"),
    (changed("video", decoders={"h264": True, "av1": False}), "warning", "PyAV has no decoder for", "av1", "--force-reinstall"),
    (changed("video", encoder=None), "error", "PyAV has no H.264 encoder", "libx264", "--force-reinstall"),
    (with_backend(status="broken", reason="it raises", fix="mend it"), "error", "is broken", "ill of stvg-ill is broken: it raises", "mend it"),
    (with_backend(status="incompatible-api", reason="api 9", fix="x"), "error", "is incompatible-api", "", "x"),
    (with_backend(status="unmet-deps", reason="needs x", fix="x"), "error", "is unmet-deps", "needs x", "x"),
    (with_backend(status="disabled", reason="STVG_DISABLE_PLUGINS names it", fix="take it out"), "note", "is disabled", "STVG_DISABLE_PLUGINS", "take it out"),
    (with_(backends=(), models=()), "error", "no backend can be used", "", "pip install stvg-qwen2-vl"),
    (with_(plugin_warnings=("STVG_LOAD_PLUGINS names 'x', which is no plugin here; did you mean y?",)), "warning", "which is no plugin here", "STVG_LOAD_PLUGINS", "did you mean y?"),
    (with_(models=(MODEL.model_copy(update={"status": "broken", "reason": "no weights"}),)), "error", "cannot be used", "no weights", "--force-reinstall stvg-tiny"),
    (with_(models=(MODEL.model_copy(update={"architecture": "InternVLForConditionalGeneration"}),)), "warning", "no usable backend opens", "InternVL", "pip install stvg-internvl"),
    (with_(models=(MODEL.model_copy(update={"architecture": "Other"}),)), "warning", "no usable backend opens", "Other", "stvg plugins"),
    (with_threads("16"), "warning", "asks for more threads", "16 asks for more threads than the 8", "export OMP_NUM_THREADS=8"),
    (with_threads("9,2"), "warning", "asks for more threads", "9 asks", "export OMP_NUM_THREADS=8"),
    (with_threads("1"), "note", "processors idle on the CPU", "7 of 8", "export OMP_NUM_THREADS=8"),
    (with_threads("many"), "warning", "is no number of threads", "'many'", "export OMP_NUM_THREADS=8"),
    (with_threads("0"), "warning", "is no number of threads", "'0'", "export OMP_NUM_THREADS=8"),
    (changed("torch", threads=64), "warning", "processors are usable", "64 threads, 8", "export OMP_NUM_THREADS=8"),
    (changed("machine", memory_available_bytes=GIBI), "warning", "GiB of memory are available", "1.0", "free -h"),
    (with_folder(CACHE, writable=False, reason="a file"), "warning", "cannot be written to", "hub cache", "export HF_HOME"),
    (with_folder(HERE, writable=False, reason="a file"), "warning", "cannot be written to", "current folder", "--out"),
    (with_folder(CACHE, free_bytes=GIGA // 2), "warning", "GB are free for", "0.50 GB", "export HF_HOME"),
    (with_folder(HERE, free_bytes=GIGA // 2), "warning", "GB are free for", "/here", "--out"),
    (with_folder(CACHE, free_bytes=9 * GIGA), "note", "a checkpoint of 7 billion parameters", "9.0 GB", "export HF_HOME"),
    (with_(hub=Hub(offline=True, offline_by="TRANSFORMERS_OFFLINE", token=False)), "note", "switches the hub off", "", "unset TRANSFORMERS_OFFLINE"),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "severity", "phrase", "part", "cure"), CASES, ids=lambda value: str(value)[:30])
def test_a_problem_is_told_once_with_its_cure(facts: Facts, severity: str, phrase: str, part: str, cure: str) -> None:
    (problem,) = find_problems(facts)
    assert problem.severity == severity
    assert phrase in problem.message
    assert part in problem.message
    assert cure in problem.cure
    assert phrase in (DOCS / "doctor.md").read_text(encoding="utf-8"), "docs/doctor.md has no row for it"


def test_nothing_is_wrong_with_what_is_well() -> None:
    assert find_problems(HEALTHY) == ()
    nowhere_a_gpu = without_gpu(cuda_build=None).model_copy(
        update={"machine": HEALTHY.machine.model_copy(update={"nvidia_driver": ""})}
    )
    assert find_problems(nowhere_a_gpu) == (), "a machine without a GPU is well"
    assert find_problems(with_(torchvision=Library(status="missing"))) == ()
    assert find_problems(with_threads("8")) == ()
    assert find_problems(with_backend(status="shadowed", reason="older copy", fix="x")) == ()


def test_a_requirement_is_not_told_twice() -> None:
    facts = with_backend(status="unmet-deps", reason="needs transformers", distribution="stvg-qwen2-vl")
    assert len(find_problems(facts.model_copy(update={"unmet": (NEEDS,)}))) == 1


@given(st.permutations([case[0] for case in CASES[:8]] + [CASES[8][0], CASES[-1][0]]))
def test_the_gravest_come_first(facts: list[Facts]) -> None:
    merged = facts[0]
    for one in facts[1:]:
        merged = merged.model_copy(update={name: getattr(one, name) for name in Facts.model_fields if getattr(one, name) != getattr(HEALTHY, name)})  # fmt: skip
    order = [["error", "warning", "note"].index(problem.severity) for problem in find_problems(merged)]
    assert order == sorted(order)


# Libraries that are not well, in a process of their own.
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
        get_device_properties = staticmethod(lambda index: Properties)
        mem_get_info = staticmethod(lambda index: (5, 16 * 2**30))
        get_arch_list = staticmethod(lambda: ["sm_80", "sm_90"])
"""
OLD_DRIVER = FAKE_CUDA.replace("lambda: 1)", "lambda: 0)").replace(
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
    ("source", "status", "reason"),
    [
        ("raise ImportError('libcudart.so.12: cannot open')", "broken", "ImportError: libcudart.so.12: cannot open"),
        ("import a_part_of_it_that_is_gone", "broken", "a_part_of_it_that_is_gone"),
        ("raise SystemExit(0)", "broken", "SystemExit: 0"),
        ("import os; os.abort()", "broken", "its import ended the interpreter (signal 6)"),
        ("import os; os._exit(3)", "broken", "its import ended the interpreter (exit code 3)"),
        ("raise RuntimeError('\\x1b[31m' + 'x' * 10_000)", "broken", "RuntimeError: [31mxxx"),
        ("print('{\"library\": \"av\", \"status\": \"ok\"}', flush=True); raise OSError('late')", "broken", "OSError: late"),
        ("class zeros:\n    __init__ = lambda self, n: None\n    def numpy(self): raise RuntimeError('Numpy is not available')", "broken", "Numpy is not available"),
    ],
)  # fmt: skip
def test_a_torch_that_is_ill_harms_nobody(source: str, status: str, reason: str, fake: Callable[..., None]) -> None:
    fake(torch=source)
    found = look_at_libraries()
    assert (found.torch.status, found.video.status) == (status, "broken")
    assert reason in found.torch.reason
    assert found.torch.reason.isprintable()
    assert len(found.torch.reason) < 400


def test_a_library_that_hangs_is_ended(fake: Callable[..., None]) -> None:
    fake(torch="while True: pass")
    found = look_at_libraries(timeout_seconds=8.0)
    assert (found.torch.status, found.torch.reason) == ("broken", "its import did not end within 8 seconds")
    assert (found.video.status, found.torchvision.status) == ("broken", "unknown")


def test_nothing_at_all_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site-packages" not in path])
    found = look_at_libraries()
    assert {found.torch.status, found.torchvision.status, found.video.status} == {"missing"}


def test_devices_are_told(fake: Callable[..., None]) -> None:
    fake()
    found = look_at_libraries().torch
    assert (found.status, found.version, found.cuda_build, found.threads) == ("ok", "2.9.0+cu126", "12.6", 3)
    (device,) = found.devices
    assert device == Device(
        index=0,
        name="Old card",
        compute_capability="7.5",
        memory_total_bytes=16 * GIBI,
        memory_free_bytes=5,
        bfloat16=False,
        supported=False,
    )


@pytest.mark.parametrize(
    ("source", "told"), [(OLD_DRIVER, "driver too old"), (FAILING_CUDA, "ZeroDivisionError: division by zero")]
)
def test_what_keeps_cuda_from_starting_is_told(source: str, told: str, fake: Callable[..., None]) -> None:
    fake(torch=source)
    found = look_at_libraries().torch
    assert (found.status, found.cuda_error, found.devices) == ("ok", told, ())


def test_the_installed_libraries_are_told_as_they_are() -> None:
    import av
    import torch

    found = look_at_libraries()
    assert (found.torch.status, found.torch.version) == ("ok", torch.__version__)
    assert found.torch.cuda_build == torch.version.cuda
    assert len(found.torch.devices) == torch.cuda.device_count()
    assert found.video.version == av.__version__
    # The tests' own videos are written with it.
    assert found.video.decoders["h264"]
    assert found.video.encoder in av.codecs_available


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "3", '{"library": 3}', "\x00", '{"library": "torch"'])
def test_an_answer_that_is_none_is_unknown(text: str) -> None:
    assert read_answer(text, "it ended").torch == Torch()


@given(st.text() | st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text()).map(json.dumps))
def test_no_answer_stops_the_doctor(text: str) -> None:
    read_answer(text, "it ended")
    nonsense = json.dumps({"library": "torch", "status": "ok", "devices": text})
    assert read_answer(nonsense, "it ended").torch.status == "broken"


@pytest.mark.parametrize(
    ("major", "minor", "built_for", "works"),
    [
        (8, 0, ["sm_80"], True),
        (8, 9, ["sm_80"], True),
        (8, 0, ["sm_86"], False),
        (9, 0, ["sm_86"], False),
        (9, 0, ["sm_90a"], False),
        (12, 0, ["sm_90", "compute_90"], True),
        (7, 5, ["compute_80", "sm_80"], False),
        (12, 0, ["sm_120"], True),
        (7, 5, [], True),
    ],
)
def test_code_for_a_device(major: int, minor: int, built_for: list[str], works: bool) -> None:
    assert is_supported(major, minor, built_for) is works


# The machine.
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
def install(folder: Path, name: str, *, points: str = "", needs: str = "", version: str = "1.5") -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}", "utf-8")
    if points:
        (info / "entry_points.txt").write_text(points, encoding="utf-8")


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


# The command.
def test_the_document_and_the_exit_code(stvg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for facts, code in (
        (HEALTHY, 0),
        (changed("machine", memory_available_bytes=1), 0),
        (without_gpu(status="missing"), 1),
    ):
        problems = find_problems(facts)
        document = DoctorDocument(healthy=code == 0, problems=problems, facts=facts)
        monkeypatch.setattr(doctor, "look_around", lambda *, check, facts=facts: facts)
        ran = stvg("doctor", "--json")
        assert (ran.code, ran.error) == (code, "")
        assert DoctorDocument.model_validate_json(ran.out) == document
        assert json.loads(ran.out)["schema_version"] == 1
        shown = stvg("doctor")
        assert shown.code == code
        for problem in problems:
            assert problem.message.split()[0] in shown.out
        assert ("nothing to mend" in shown.out) is (problems == ())


def test_nothing_foreign_steers_the_terminal(stvg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b]0;title\x07[red]\x9b31m\u202e\nline"
    ill = BACKEND.model_copy(update={"name": evil, "status": "broken", "reason": evil, "fix": evil})
    facts = with_(backends=(ill,), versions={evil: evil}, environment={evil: evil}, plugin_warnings=(evil,))
    monkeypatch.setattr(doctor, "look_around", lambda *, check: facts)
    for arguments in (("doctor",), ("doctor", "--json")):
        ran = stvg(*arguments)
        assert ran.code == 1
        assert all(character.isprintable() or character == "\n" for character in ran.out)
    assert "[red]" in stvg("doctor").out, "square brackets are no markup"


def test_the_doctor_works_without_torch_and_imports_none(tmp_path: Path) -> None:
    """In a process where every heavy library is a bomb."""
    for name in ("torch", "torchvision", "av", "transformers", "numpy", "cv2", "scipy"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a bomb')", encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "stvg_core", "doctor", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (1, "")
    document = DoctorDocument.model_validate_json(ran.stdout)
    assert document.facts.torch.reason == "ImportError: a bomb"
    messages = [problem.message for problem in document.problems]
    assert any(message.startswith("torch cannot be imported") for message in messages)
    assert any(message.startswith("PyAV cannot be imported") for message in messages)
    assert document.facts.versions["torch"] == importlib.metadata.version("torch")


def test_check_imports_every_backend_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stvg_core.doctor.installed import look_at_backends

    install(tmp_path, "stvg-bomb", points="[stvg.backends]\nbomb = stvg_bomb.hooks:Backend\n")
    (tmp_path / "stvg_bomb").mkdir()
    (tmp_path / "stvg_bomb" / "__init__.py").write_text("import os\nos.abort()\n", encoding="utf-8")
    manifest = 'name = "bomb"\ndisplay_name = "A bomb"\nhook_api = 1\narchitectures = ["Bomb"]\n'
    (tmp_path / "stvg_bomb" / "stvg-backend.toml").write_text(manifest, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("STVG_LOAD_PLUGINS", "stvg-bomb")
    rows: dict[bool, dict[str, Any]] = {
        check: {row.name: row for row in look_at_backends(check)[0]} for check in (False, True)
    }
    assert rows[False]["bomb"].status == "ok"
    assert rows[True]["bomb"].status == "broken"
    assert "ended the interpreter" in rows[True]["bomb"].reason
    assert rows[True]["qwen2-vl"].status == "disabled"
