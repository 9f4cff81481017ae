"""Runs the checks one by one, each in isolation, and writes the report."""

import importlib.metadata
import platform
import re
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from stvg_core.devtools.testing.check import Check, Findings, NotApplicable
from stvg_core.devtools.testing.context import ConformanceContext
from stvg_core.devtools.testing.report import CheckResult, ConformanceReport, Outcome
from stvg_core.devtools.testing.subject import backend_of, open_subject
from stvg_core.devtools.testing.suite import CHECKS
from stvg_core.errors import PluginError, UsageError
from stvg_core.host.loading import load_backend
from stvg_core.host.registry import FoundBackend, backend_named, find_backends
from stvg_core.plugin.model_reference import HOOK_API, LoadOptions

_MOST_FAILURES = 3


def run_conformance(
    name: str,
    *,
    checkpoint: Path | None = None,
    options: LoadOptions | None = None,
    frame_size_pixels: int | None = None,
    only: Sequence[str] = (),
    on_check: Callable[[str], None] | None = None,
) -> ConformanceReport:
    """Prove a backend, and return what was found.

    Args:
        name: of a subject: the backend's, or BACKEND/MODEL.
        checkpoint: a real checkpoint's folder; None: the subject's own tiny random model.
        options: device and dtype; None: float32 on the CPU.
        frame_size_pixels: side of the frames; None: as the subject's settings say.
        only: names of the checks to run; none: all.
        on_check: called with each check's name before it runs.

    Raises:
        UsageError: there is no such subject or check.
        PluginError: the backend or its subject cannot be used at all.
    """
    chosen = select_checks(only)
    with tempfile.TemporaryDirectory() as scratch:
        context = open_context(
            name, Path(scratch), checkpoint=checkpoint, options=options, frame_size_pixels=frame_size_pixels
        )
        results = []
        for one in chosen:
            if on_check is not None:
                on_check(one.name)
            results.append(run_check(one, context))
        return build_report(context, results)


def select_checks(only: Sequence[str]) -> tuple[Check, ...]:
    """Return the named checks in the suite's order; all of them where none is named.

    Raises:
        UsageError: a name is unknown.
    """
    names = [check.name for check in CHECKS]
    for wanted in only:
        if wanted not in names:
            raise UsageError(f"expected a check of {', '.join(names)}, got {wanted!r}")
    return tuple(check for check in CHECKS if not only or check.name in only)


def open_context(
    name: str,
    scratch: Path,
    *,
    checkpoint: Path | None = None,
    options: LoadOptions | None = None,
    frame_size_pixels: int | None = None,
) -> ConformanceContext:
    """Return the context of a subject; its tiny model is written unless a checkpoint is given.

    Args:
        name: of a subject.
        scratch: an empty folder for the tiny model.
        checkpoint: a real checkpoint's folder.
        options: device and dtype; None: float32 on the CPU.
        frame_size_pixels: side of the frames; None: as the subject's settings say.

    Raises:
        UsageError: there is no such subject, or the checkpoint is no folder.
        PluginError: the backend or its subject cannot be used, or a known gap names no check.
    """
    if checkpoint is not None and not checkpoint.is_dir():
        raise UsageError(f"expected --checkpoint to be a folder, got {checkpoint}")
    subject = open_subject(name)
    unknown = sorted(set(subject.known_gaps) - {check.name for check in CHECKS})
    if unknown:
        raise PluginError(f"expected known gaps of subject {name!r} to name checks, got {', '.join(unknown)}")
    found = backend_named(backend_of(name), find_backends())
    if checkpoint is None:
        subject.save_checkpoint(scratch)
    return ConformanceContext(
        name=name,
        found=found,
        make_plugin=partial(load_backend, found),
        subject=subject,
        checkpoint=checkpoint or scratch,
        options=options or LoadOptions(device="cpu", dtype="float32"),
        tiny=checkpoint is None,
        frame_size_pixels=frame_size_pixels,
    )


def run_check(check: Check, context: ConformanceContext) -> CheckResult:
    """Run one check; whatever it raises is its failure, told with the author's line."""
    start = time.perf_counter()
    findings = Findings()
    outcome, message = _outcome(check, context, findings)
    gap = context.subject.known_gaps.get(check.name)
    if gap is not None and outcome == "failed":
        outcome, message = "skipped", f"known gap: {gap} ({message})"
    elif gap is not None and outcome == "passed":
        outcome, message = "failed", f"declared as a known gap ({gap}) and passes: take it off known_gaps"
    elif outcome == "failed" and check.advisory:
        outcome = "advisory"
    return CheckResult(
        name=check.name,
        outcome=outcome,
        statement=check.statement,
        message=message,
        measurements=tuple(findings.measurements),
        page=check.page,
        seconds=round(time.perf_counter() - start, 3),
    )


def build_report(context: ConformanceContext, results: Sequence[CheckResult]) -> ConformanceReport:
    """Return the report of checks that have run."""
    return ConformanceReport(
        subject=context.name,
        backend=context.found.name,
        distribution=context.found.distribution,
        version=context.found.version,
        hook_api=HOOK_API,
        checkpoint="random" if context.tiny else str(context.checkpoint),
        device=context.options.device,
        dtype=context.options.dtype,
        versions=_versions(context.found.distribution),
        checks=tuple(results),
    )


def _outcome(check: Check, context: ConformanceContext, findings: Findings) -> tuple[Outcome, str]:
    if check.needs_tiny and not context.tiny:
        return "skipped", "makes sense on the tiny random model alone"
    if check.needs_session and (closed := _closed(context)):
        return "skipped", closed
    try:
        check.function(context, findings)
    except NotApplicable as reason:
        return "skipped", str(reason)
    except Exception as error:  # noqa: BLE001 - a backend is foreign code: whatever it raises is its failure
        findings.failures.append(author_line(error, context.found))
    if not findings.failures:
        return "passed", ""
    more = len(findings.failures) - _MOST_FAILURES
    told = "; ".join(findings.failures[:_MOST_FAILURES]) + (f"; and {more} more" if more > 0 else "")
    return "failed", told


def _closed(context: ConformanceContext) -> str:
    try:
        _ = context.session
    except Exception as error:  # noqa: BLE001 - told by the check `hooks`
        return f"no session opens: {author_line(error, context.found)}"
    return ""


def author_line(error: BaseException, found: FoundBackend) -> str:
    """Return an error in one line, with the last line of the author's that it came through.

    The author's is the backend's own package; an error that never was there (a subject's, say) is
    told with its last line outside this package and outside installed libraries.
    """
    package = found.entry_point.module.split(".")[0]
    frames = list(reversed(list(traceback.walk_tb(error.__traceback__))))
    mine = [one for one in frames if _package(one[0]) == package]
    others = [one for one in frames if _package(one[0]) != "stvg_core" and "site-packages" not in _file(one[0])]
    told = f"{type(error).__name__}: {' '.join(str(error).split())}"
    for frame, line in (mine or others)[:1]:
        return f"{told} ({'/'.join(Path(_file(frame)).parts[-2:])}:{line} in {frame.f_code.co_name})"
    return told


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).split(".")[0]


def _file(frame: FrameType) -> str:
    return frame.f_code.co_filename


def _versions(distribution: str) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    try:
        required = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        required = []
    names = {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in required if "extra ==" not in line}
    for name in sorted({*names, "stvg-core", "torch"}):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
