"""`stvg conformance`: prove a backend on a tiny random model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stvg_core.cli.terminal import one_line, progress

if TYPE_CHECKING:
    from stvg_core.devtools.testing.report import CheckResult, ConformanceReport


def conformance(
    backend: Annotated[str, typer.Argument(help="a backend, or BACKEND/MODEL for another of its models")],
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="folder of a real checkpoint, in place of the tiny random model")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1")] = "cpu",
    dtype: Annotated[str, typer.Option("--dtype", help="float32, bfloat16, float16")] = "float32",
    frame_size: Annotated[
        int | None, typer.Option("--frame-size", help="side of the frames in pixels, for a real checkpoint")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="one check by its name; repeatable")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
) -> None:
    """Check that a backend fulfils the contract of the method; exit code 1 if a check fails."""
    from stvg_core.devtools.testing.runner import run_conformance
    from stvg_core.plugin.model_reference import LoadOptions

    with progress(f"stvg conformance {backend}") as on_check:
        report = run_conformance(
            backend,
            checkpoint=checkpoint,
            options=LoadOptions(device=device, dtype=dtype),
            frame_size_pixels=frame_size,
            only=only or (),
            on_check=on_check,
        )
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        for line in table(report):
            typer.echo(line)
    if not report.passed:
        raise typer.Exit(1)


def table(report: "ConformanceReport") -> list[str]:
    """Return a report as lines: one per check, the failures, the total."""
    width = max((len(check.name) for check in report.checks), default=0)
    lines = [
        f"{report.subject}: {report.distribution} {report.version}, hook API {report.hook_api}, "
        f"{report.checkpoint} weights, {report.dtype} on {report.device}"
    ]
    for check in report.checks:
        lines.append(f"{check.outcome:8}  {check.name.ljust(width)}  {_numbers(check)}".rstrip())
        if check.message:
            lines.append(f"{'':10}{one_line(check.message)}")
        if check.outcome in {"failed", "advisory"}:
            lines.append(f"{'':10}expected: {check.statement}; {check.page}")
    counts = {
        outcome: sum(check.outcome == outcome for check in report.checks)
        for outcome in ("passed", "failed", "advisory", "skipped")
    }
    lines.append(", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count))
    return lines


def _numbers(check: "CheckResult") -> str:
    return ", ".join(f"{one.name} {one.value:.2g}" for one in check.measurements)
