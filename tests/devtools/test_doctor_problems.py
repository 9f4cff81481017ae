"""Every rule of `stvg doctor`, on facts of its own."""
# ruff: noqa: E501  # a table of cases reads best with a case per line

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.devtools.doctor.document import (
    Facts,
    Hub,
    Library,
    Requirement,
    Video,
)
from stvg_core.devtools.doctor.problems import find_problems
from tests.support.doctor_facts import (
    CACHE,
    DOCS,
    GIBI,
    GIGA,
    HEALTHY,
    HERE,
    MODEL,
    changed,
    with_,
    with_backend,
    with_device,
    with_folder,
    with_threads,
    without_gpu,
)

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
