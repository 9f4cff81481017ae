"""The kit itself: isolation, outcomes, reports, the command, the page."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from stvg_core.cli import main
from stvg_core.devtools.testing import ConformanceReport, ConformanceSubject, runner
from stvg_core.devtools.testing.check import Check, Findings, NotApplicable, check
from stvg_core.devtools.testing.context import ConformanceContext
from stvg_core.devtools.testing.report import schema_text
from stvg_core.devtools.testing.runner import build_report, open_context, run_check, run_conformance, select_checks
from stvg_core.devtools.testing.suite import CHECKS
from stvg_core.errors import PluginError, UsageError
from stvg_core.plugin.hookspecs import hookimpl
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_huggingface.hooks import HuggingFaceBackend
from tests.support.conformance.planted_table import PAGE, with_table
from tests.support.conformance.planting import OpenContext

SCHEMA = PAGE.parent / "schema" / "conformance-1.schema.json"


@dataclass(frozen=True)
class WithGaps:
    """A subject with other known gaps."""

    healthy: Any
    known_gaps: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.healthy, name)


def checked(*, advisory: bool = False, fail: str = "") -> Check:
    @check("loss", "a check for this test", advisory=advisory)
    def function(context: ConformanceContext, findings: Findings) -> None:
        findings.expect(not fail, fail)

    return function


def with_gaps(context: ConformanceContext, **gaps: str) -> ConformanceContext:
    subject: Any = WithGaps(context.subject, gaps)
    return replace(context, subject=subject)


def test_known_gaps_are_strict(context_of: OpenContext) -> None:
    gapped = with_gaps(context_of("internvl"), loss="not written yet")
    skipped = run_check(checked(fail="wrong"), gapped)
    assert (skipped.outcome, skipped.message) == ("skipped", "known gap: not written yet (wrong)")
    passing = run_check(checked(), gapped)
    assert passing.outcome == "failed"
    assert "passes: take it off known_gaps" in passing.message


def test_a_gap_that_names_no_check(context_of: OpenContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    subject = with_gaps(context_of("internvl"), los="typing error").subject
    monkeypatch.setattr(runner, "open_subject", lambda name: subject)
    with pytest.raises(PluginError, match="known gaps of subject 'internvl' to name checks, got los"):
        open_context("internvl", tmp_path)


def test_an_advisory_check_fails_no_report(context_of: OpenContext) -> None:
    context = context_of("internvl")
    result = run_check(checked(advisory=True, fail="wrong"), context)
    assert (result.outcome, result.message) == ("advisory", "wrong")
    assert build_report(context, [result]).passed
    assert run_check(checked(advisory=True), context).outcome == "passed"
    assert not build_report(context, [run_check(checked(fail="wrong"), context)]).passed


def test_an_exception_is_a_failure_with_the_authors_line(context_of: OpenContext) -> None:
    @check("loss", "a check for this test")
    def raising(context: ConformanceContext, findings: Findings) -> None:
        authors_code()

    context = context_of("internvl")
    here = EntryPoint("internvl", f"{__name__}:Backend", "stvg.backends")
    result = run_check(raising, replace(context, found=replace(context.found, entry_point=here)))
    assert result.outcome == "failed"
    assert result.message.startswith("ZeroDivisionError: division by zero (conformance/test_kit.py:")
    assert result.message.endswith("in authors_code)")


def authors_code() -> float:
    return 1 / 0


def test_what_does_not_apply_is_skipped(context_of: OpenContext) -> None:
    @check("loss", "a check for this test")
    def elsewhere(context: ConformanceContext, findings: Findings) -> None:
        raise NotApplicable("no frames here")

    result = run_check(elsewhere, context_of("internvl"))
    assert (result.outcome, result.message) == ("skipped", "no frames here")
    (memory,) = select_checks(["memory"])
    assert run_check(memory, replace(context_of("internvl"), tiny=False)).outcome == "skipped"


class DoesNotLoad(HuggingFaceBackend):
    @hookimpl
    def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> Any:
        raise PluginError("expected weights, got none")


def test_where_no_session_opens_one_check_fails_and_the_rest_is_skipped(context_of: OpenContext) -> None:
    context = context_of("internvl")
    family: Any = context.make_plugin()
    closed = replace(context, make_plugin=lambda: DoesNotLoad(family.family))
    outcomes = {name: run_check(*select_checks([name]), closed) for name in ("hooks", "loss", "memory")}
    assert outcomes["hooks"].outcome == "failed"
    assert "expected weights, got none" in outcomes["hooks"].message
    assert outcomes["loss"].outcome == outcomes["memory"].outcome == "skipped"


def test_the_worst_number_is_kept_and_what_is_no_number_fails() -> None:
    findings = Findings()
    for value in (1.0, 3.0, 2.0):
        findings.at_most("difference", value, 2.5, "too far")
        findings.at_least("share", value, 0.5, "too little")
    assert [(one.name, one.value) for one in findings.measurements] == [("difference", 3.0), ("share", 1.0)]
    assert findings.failures == ["too far (difference 3, expected at most 2.5)"]
    for measured in (findings.at_most, findings.at_least):
        measured("broken", float("nan"), 1.0, "no number")
    assert len(findings.failures) == 3


def test_only_known_checks_and_subjects(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a check of discovery, .*, got 'memori'"):
        select_checks(["memori"])
    with pytest.raises(UsageError, match=r"expected a conformance subject .*, got 'qwen3'"):
        run_conformance("qwen3")
    with pytest.raises(UsageError, match="expected --checkpoint to be a folder"):
        open_context("internvl", tmp_path, checkpoint=tmp_path / "none")
    assert [one.name for one in select_checks(["memory", "hooks"])] == ["hooks", "memory"]


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["stvg", "conformance", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_command_prints_one_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(monkeypatch, "internvl", "--only", "loss", "--only", "zero-prompt", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert printed.pop("passed") is True
    report = ConformanceReport.model_validate(printed)
    assert [one.name for one in report.checks] == ["loss", "zero-prompt"]
    assert (report.subject, report.distribution, report.checkpoint) == ("internvl", "stvg-internvl", "random")
    assert {"python", "torch", "transformers", "stvg-core"} <= report.versions.keys()
    assert all(one.kept for result in report.checks for one in result.measurements)


def test_command_fails_with_what_is_wrong(
    context_of: OpenContext, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = with_gaps(context_of("internvl"), loss="thought to be missing").subject
    monkeypatch.setattr(runner, "open_subject", lambda name: subject)
    assert run_command(monkeypatch, "internvl", "--only", "loss", "--only", "hooks") == 1
    printed = capsys.readouterr().out
    assert "failed    loss" in printed
    assert "docs/conformance.md#loss" in printed
    assert printed.endswith("1 passed, 1 failed\n")
    assert run_command(monkeypatch, "internvl", "--only", "nothing") == 2


def test_a_real_checkpoint(context_of: OpenContext, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    context_of("internvl").subject.save_checkpoint(folder)
    context = open_context("internvl", tmp_path, checkpoint=folder, frame_size_pixels=32)
    assert context.checkpoint == folder
    assert [settings.frame_size_pixels for settings in context.ways] == [32]
    assert context.clip(2).encoded.layout.shape == (2, 4, 4)
    report = run_conformance("internvl", checkpoint=folder, frame_size_pixels=32, only=["answer-logits", "memory"])
    assert report.checkpoint == str(folder)
    assert [one.outcome for one in report.checks] == ["passed", "skipped"]
    assert {one.bound for one in report.checks[0].measurements} == {1e-2}


def test_subjects_fulfil_their_protocol(context_of: OpenContext) -> None:
    assert isinstance(context_of("internvl").subject, ConformanceSubject)


def test_page_explains_every_check_and_lists_every_bug() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for one in CHECKS:
        _, found, section = page.partition(f"\n### {one.name}\n")
        assert found, f"docs/conformance.md lacks a section for {one.name}"
        told = " ".join(section.split("\n##")[0].split())
        assert f"**{one.statement[0].upper()}{one.statement[1:]}.**" in told
    assert page == with_table(page), "planted bugs have changed: python -m tests.support.conformance.planted_table"


def test_schema_is_the_models() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), (
        "the models have changed: write stvg_core.devtools.testing.report.schema_text() to docs/schema"
    )
