"""What a benchmark is asked for and tells; distributions offer theirs in group `stvg.benchmarks`.

A benchmark runs the method and the plain procedure that it replaces in one process, on the same
model and inputs. This module knows no model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from stvg_core.errors import PluginError, UsageError
from stvg_core.host.loading import open_plugin, plugin_names
from stvg_core.plugin.model_reference import LoadOptions

BENCHMARK_GROUP = "stvg.benchmarks"


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


@runtime_checkable
class Benchmark(Protocol):
    """Measures one kind of backend."""

    def measure(self, request: BenchmarkRequest) -> BenchmarkReport:
        """Run both sides and return what they cost."""
        ...


def open_benchmark() -> Benchmark:
    """Return the benchmark that an installed distribution offers.

    Raises:
        PluginError: none does, or it cannot be imported.
    """
    names = plugin_names(BENCHMARK_GROUP)
    if not names:
        raise PluginError("no installed distribution offers a benchmark; pip install stvg-huggingface")
    # mypy takes a Protocol for abstract here; isinstance does not.
    return open_plugin(BENCHMARK_GROUP, "benchmark", Benchmark, names[0])  # type: ignore[type-abstract]
