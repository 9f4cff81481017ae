"""`stvg bench`: what the method costs beside the plain procedure, on this device."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stvg_core.cli.opening import CudaGraphsOption, DeviceOption, DtypeOption, RecomputeOption
from stvg_core.cli.plugin_files import PluginFileOption
from stvg_core.cli.terminal import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stvg_core.devtools.benchmark import BenchmarkReport, Cost

_GIGA, _MEBI = 1e9, 2.0**20


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
    from stvg_core.devtools.benchmark import BenchmarkRequest, open_benchmark
    from stvg_core.plugin.model_reference import LoadOptions

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
    return asdict(report) | {
        "ratios": report.ratios(),
        "method_share_of_matmul_rate": report.rate_share(),
        "method_stage_shares_of_matmul_rate": report.stage_rate_shares(),
        "method_bound_seconds": report.bound_seconds(),
    }


def table(report: "BenchmarkReport") -> list[str]:
    """Return what a person wants to know of a report, a line each."""
    method, plain = report.method, report.plain

    def line(name: str, cost: "Callable[[Cost], float]", decimals: int = 1) -> str:
        return _line(name, cost(method), None if plain is None else cost(plain), decimals)

    def stages(costs: "Callable[[Cost], Mapping[str, float]]", unit: float, decimals: int = 1) -> list[str]:
        others = {} if plain is None else costs(plain)
        return [
            _line(f"  {stage}", cost / unit, None if plain is None else others.get(stage, 0.0) / unit, decimals)
            for stage, cost in costs(method).items()
        ]

    lines = [
        f"{report.model}, {report.frame_count} frames, {report.visual_tokens} visual tokens, {report.dtype}, "
        f"{report.device} ({report.matmul_rate / _GIGA:.0f} GFLOP/s in matrix products)",
        f"{'':16}{'method':>12}{'plain':>12}{'ratio':>8}",
        line("seconds", lambda cost: cost.best_seconds, decimals=3),
        line("  first run", lambda cost: cost.first_seconds, decimals=3),
        *stages(lambda cost: cost.stage_seconds, 1.0, decimals=3),
        line("GFLOP", lambda cost: cost.operations / _GIGA),
        *stages(lambda cost: cost.stage_operations, _GIGA),
        line("extra MiB", lambda cost: cost.peak_extra_bytes / _MEBI),
        line("allocated MiB", lambda cost: cost.peak_allocated_bytes / _MEBI),
        *stages(lambda cost: cost.stage_allocated_bytes, _MEBI),
    ]
    by_stage = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in report.stage_rate_shares().items())
    lines.append(
        f"method runs at {100 * report.rate_share():.0f} % of the matrix products' rate ({by_stage}); at that rate it "
        f"would take {report.bound_seconds():.3f} seconds"
    )
    if report.largest_difference is None:
        lines.append("the plain procedure needs more memory than the device has")
    else:
        lines.append(f"largest difference of maps {report.largest_difference:.1e} of the largest value")
    return lines


def _line(name: str, method: float, plain: float | None, decimals: int = 1) -> str:
    if plain is None:
        return f"{name:16}{method:12.{decimals}f}{'-':>12}{'-':>8}"
    ratio = f"{plain / method:8.2f}" if method else f"{'-':>8}"
    return f"{name:16}{method:12.{decimals}f}{plain:12.{decimals}f}{ratio}"
