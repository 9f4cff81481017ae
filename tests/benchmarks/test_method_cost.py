"""The cost of the method beside the plain procedure, end to end on a tiny model, and its measuring of memory."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.method_cost.__main__ import main
from benchmarks.method_cost.measure import encode_sides
from benchmarks.method_cost.memory import peak_extra_bytes
from benchmarks.method_cost.report import BenchmarkRequest
from stvg_core.errors import UsageError
from stvg_core.method.stages import Stopwatch
from stvg_core.plugin.model_reference import LoadOptions
from stvg_huggingface.testing import save_tiny_model
from stvg_huggingface.testing.sessions import random_session

MEBIBYTE = 2**20


def test_peak_memory_is_that_of_the_work_and_not_of_what_stood_before() -> None:
    held = torch.ones(64 * MEBIBYTE // 4)

    def work() -> None:
        torch.ones(32 * MEBIBYTE // 4).sum()
        largest = torch.ones(96 * MEBIBYTE // 4)
        # Memory is sampled: on a loaded machine a peak of a moment would be missed.
        for _ in range(40):
            largest.sum()

    measured = peak_extra_bytes(work, torch.device("cpu")) / MEBIBYTE
    assert 90 < measured < 135
    assert held.numel() > 0


@pytest.mark.slow
def test_the_command_prints_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny_model("llava-next-video", tmp_path / "llava", layers=2)
    arguments = ["method_cost", "--model", str(folder), "--frames", "4", "--repeats", "2", "--device", "cpu"]
    for extra in (["--json"], []):
        monkeypatch.setattr(sys, "argv", [*arguments, *extra])
        assert main() == 0
        out = capsys.readouterr().out
        if extra:
            report = json.loads(out)
            assert report["visual_tokens"] == 4 * 3 * 3
            assert report["largest_difference"] < 1e-3
            assert len(report["method"]["seconds"]) == len(report["plain"]["seconds"]) == 2
            assert report["ratios"]["operations"] > 1.5, "fewer operations than the plain procedure, or why bother"
            assert report["matmul_rate"] > 0
        else:
            assert "ratio" in out


def test_the_plain_procedure_asks_what_the_familys_preset_asks() -> None:
    session = random_session("qwen2-vl", LoadOptions("cpu"), device=torch.device("cpu"), dtype=torch.float32, layers=2)
    sides = encode_sides(session, BenchmarkRequest("qwen2-vl", frame_count=2))
    assert sides.settings.temporal.inference_question == "sentence"
    assert sides.reversed_clip is None
    for own, plain in zip(sides.method(Stopwatch()), sides.plain(Stopwatch()), strict=True):
        assert abs(own.values - plain.values).max() < 1e-3 * plain.values.max()


def test_requests_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="repeats of at least 1"):
        BenchmarkRequest("llava-next-video", repeats=0)
