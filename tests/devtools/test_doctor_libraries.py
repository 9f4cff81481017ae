"""`stvg doctor` and libraries that are not well, in a process of their own."""
# ruff: noqa: E501  # a table of cases reads best with a case per line

import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.devtools.doctor.document import (
    Device,
    Torch,
)
from stvg_core.devtools.doctor.libraries import look_at_libraries, read_answer
from stvg_core.devtools.doctor.probe import is_supported
from tests.support.doctor_facts import (
    GIBI,
)

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
