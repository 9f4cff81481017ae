"""What is measured and what it cost, as values, a JSON document and a table."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from stvg_core.errors import UsageError
from stvg_core.plugin.model_reference import LoadOptions

_GIGA, _MEBI = 1e9, 2.0**20


@dataclass(frozen=True)
class BenchmarkRequest:
    """What to measure.

    Attributes:
        model: a family's middle size, a published size with random weights, or whatever --model takes.
        options: device and dtype.
        frame_count: frames of the clip.
        repeats: timed runs of each side; the order alternates.
        preset: settings of the method.
    """

    model: str
    options: LoadOptions = field(default_factory=LoadOptions)
    frame_count: int = 20
    repeats: int = 3
    preset: str = "released"

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("frame_count", "repeats"):
            if getattr(self, name) < 1:
                raise UsageError(f"expected {name} of at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Cost:
    """What one side costs.

    Attributes:
        seconds: of each timed run, after warming up.
        first_seconds: of the very first run, with whatever a model does once.
        stage_seconds: of the fastest run, by stage.
        operations: floating-point operations of one run, counted.
        stage_operations: the same by stage.
        peak_extra_bytes: memory above what stood before the run, as the device's allocator or the operating system
            holds it, with everything that is kept for the next run.
        peak_allocated_bytes: the same as torch counts its allocations: on a CPU the same on every run.
        stage_allocated_bytes: the same by stage, above what stood when the stage began.
    """

    seconds: tuple[float, ...]
    first_seconds: float
    stage_seconds: Mapping[str, float]
    operations: int
    stage_operations: Mapping[str, int]
    peak_extra_bytes: int
    peak_allocated_bytes: int
    stage_allocated_bytes: Mapping[str, int]

    @property
    def best_seconds(self) -> float:
        """The fastest run's."""
        return min(self.seconds)


@dataclass(frozen=True)
class BenchmarkReport:
    """Both sides, and what the device can do.

    Attributes:
        model: as it was asked for.
        device: what it ran on, in words.
        dtype: of the weights.
        frame_count: frames of the clip.
        visual_tokens: tokens of the clip.
        method: the method as it ships.
        plain: the plain procedure, or None where the device's memory was too small for it.
        matmul_rate: operations per second of a large matrix product on the device, measured.
        largest_difference: of both sides' maps, as a share of the largest value; None without the plain procedure.
    """

    model: str
    device: str
    dtype: str
    frame_count: int
    visual_tokens: int
    method: Cost
    plain: Cost | None
    matmul_rate: float
    largest_difference: float | None

    def ratios(self) -> dict[str, float]:
        """Return how many times more the plain procedure costs; nothing where it did not run."""
        if self.plain is None:
            return {}
        return {
            "time": self.plain.best_seconds / self.method.best_seconds,
            "operations": self.plain.operations / self.method.operations,
            "peak_extra_memory": self.plain.peak_extra_bytes / max(self.method.peak_extra_bytes, 1),
            "peak_allocated_memory": self.plain.peak_allocated_bytes / max(self.method.peak_allocated_bytes, 1),
        }

    def rate_share(self) -> float:
        """Return the method's operations per second as a share of the device's matrix products."""
        return self.bound_seconds() / self.method.best_seconds

    def stage_rate_shares(self) -> dict[str, float]:
        """Return the same for each stage of the method; what is no matrix product takes its time as well."""
        return {
            stage: operations / self.method.stage_seconds[stage] / self.matmul_rate
            for stage, operations in self.method.stage_operations.items()
            if self.method.stage_seconds.get(stage)
        }

    def bound_seconds(self) -> float:
        """Return how long the method's operations take at the rate of the device's matrix products."""
        return self.method.operations / self.matmul_rate


def document(report: BenchmarkReport) -> dict[str, Any]:
    """Return a report as JSON holds it, with its ratios."""
    return asdict(report) | {
        "ratios": report.ratios(),
        "method_share_of_matmul_rate": report.rate_share(),
        "method_stage_shares_of_matmul_rate": report.stage_rate_shares(),
        "method_bound_seconds": report.bound_seconds(),
    }


def table(report: BenchmarkReport) -> list[str]:
    """Return what a person wants to know of a report, a line each."""
    method, plain = report.method, report.plain

    def line(name: str, cost: Callable[[Cost], float], decimals: int = 1) -> str:
        return _line(name, cost(method), None if plain is None else cost(plain), decimals)

    def stages(costs: Callable[[Cost], Mapping[str, float]], unit: float, decimals: int = 1) -> list[str]:
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
