"""`stvg bench`: what the method costs beside the plain procedure, on this device."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stvg_core.cli.ground import CudaGraphsOption, DeviceOption, DtypeOption, RecomputeOption
from stvg_core.cli.plugin_files import PluginFileOption
from stvg_core.cli.terminal import progress

if TYPE_CHECKING:
    from stvg_core.benchmark import BenchmarkReport

_GIGA, _MEBI = 1e9, 2**20


def bench(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="a family (llava-next-video, qwen2-vl, qwen2.5-vl, internvl) of middle size, a published size "
            "(qwen2-vl-7b, ...) with random weights, or any model",
        ),
    ] = "llava-next-video",
    frames: Annotated[int, typer.Option("--frames", help="frames of the clip")] = 20,
    repeats: Annotated[int, typer.Option("--repeats", help="timed runs of each side")] = 3,
    preset: Annotated[str, typer.Option("--preset", help="paper or released")] = "released",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    recompute: RecomputeOption = "auto",
    cuda_graphs: CudaGraphsOption = "auto",
    plugin: PluginFileOption = None,
) -> None:
    """Measure time, operations and memory of the method beside the plain procedure."""
    from stvg_core.benchmark import BenchmarkRequest, open_benchmark
    from stvg_core.identity import LoadOptions

    request = BenchmarkRequest(
        model, LoadOptions(device, dtype, recompute=recompute, cuda_graphs=cuda_graphs), frames, repeats, preset
    )
    with progress(f"stvg bench {model}") as on_stage:
        on_stage("running both sides")
        report = open_benchmark().measure(request)
    if as_json:
        typer.echo(json.dumps(document(report)))
        return
    for line in table(report):
        typer.echo(line)


def document(report: "BenchmarkReport") -> dict[str, Any]:
    """Return a report as JSON holds it, with its ratios."""
    return asdict(report) | {"ratios": report.ratios(), "method_share_of_matmul_rate": report.rate_share()}


def table(report: "BenchmarkReport") -> list[str]:
    """Return what a person wants to know of a report, a line each."""
    ratios = report.ratios()
    lines = [
        f"{report.model}, {report.frame_count} frames, {report.visual_tokens} visual tokens, {report.dtype}, "
        f"{report.device} ({report.matmul_rate / _GIGA:.0f} GFLOP/s in matrix products)",
        f"{'':14}{'method':>12}{'plain':>12}{'ratio':>8}",
        f"{'seconds':14}{report.method.best_seconds:12.2f}{report.plain.best_seconds:12.2f}{ratios['time']:8.2f}",
    ]
    for stage, seconds in report.method.stage_seconds.items():
        plain = report.plain.stage_seconds.get(stage, 0.0)
        lines.append(f"{'  ' + stage:14}{seconds:12.2f}{plain:12.2f}{plain / max(seconds, 1e-9):8.2f}")
    lines += [
        f"{'GFLOP':14}{report.method.operations / _GIGA:12.1f}{report.plain.operations / _GIGA:12.1f}"
        f"{ratios['operations']:8.2f}",
        f"{'extra MiB':14}{report.method.peak_extra_bytes / _MEBI:12.1f}{report.plain.peak_extra_bytes / _MEBI:12.1f}"
        f"{ratios['peak_extra_memory']:8.2f}",
        f"{'allocated MiB':14}{report.method.peak_allocated_bytes / _MEBI:12.1f}"
        f"{report.plain.peak_allocated_bytes / _MEBI:12.1f}{ratios['peak_allocated_memory']:8.2f}",
        f"method runs at {100 * report.rate_share():.0f} % of the matrix products' rate; "
        f"largest difference of maps {report.largest_difference:.1e} of the largest value",
    ]
    return lines
