"""`python -m benchmarks.method_cost.floors`: has the method become more expensive?

Compares counted operations and counted memory with the plain procedure's, at the middle size on the
CPU, and fails where a ratio is below its floor in floors.json. Nothing here is timed: the figures
are the same on every machine and under every load.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.method_cost.measure import CountedCost, count_cost, open_sides
from benchmarks.method_cost.report import BenchmarkRequest
from stvg_core.method.stages import Stopwatch
from stvg_core.plugin.model_reference import LoadOptions

FLOORS: Final = Path(__file__).with_name("floors.json")

Ratios = Mapping[str, float]


def measured(model: str, levels: tuple[str, ...], frame_count: int = 20) -> dict[str, Ratios]:
    """Return how many times more the plain procedure costs, by level of recomputation.

    Args:
        model: a family's middle size, or whatever --model takes.
        levels: of `LoadOptions.recompute`.
        frame_count: frames of the clip.
    """
    plain: CountedCost | None = None
    ratios: dict[str, Ratios] = {}
    for level in levels:
        sides = open_sides(BenchmarkRequest(model, LoadOptions("cpu", recompute=level), frame_count))
        sides.method(Stopwatch())
        plain = plain or count_cost(sides, "plain")
        method = count_cost(sides, "method")
        ratios[level] = {
            "operations": plain.operations / method.operations,
            "peak_allocated_memory": plain.peak_allocated_bytes / method.peak_allocated_bytes,
        }
    return ratios


def below(found: Ratios, floors: Ratios) -> list[str]:
    """Return the ratios that are below their floor, a line each.

    >>> below({"operations": 2.0}, {"operations": 2.5})
    ['operations: 2.00 times less than the plain procedure, expected at least 2.50']
    """
    return [
        f"{name}: {found[name]:.2f} times less than the plain procedure, expected at least {floor:.2f}"
        for name, floor in floors.items()
        if found[name] < floor
    ]


def main() -> int:
    """Measure everything that has a floor; return the exit code."""
    fallen = 0
    for model, by_level in json.loads(FLOORS.read_text(encoding="utf-8")).items():
        for level, found in measured(model, tuple(by_level)).items():
            told = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found.items())
            sys.stdout.write(f"{model}, recompute {level}: {told}\n")
            for line in below(found, by_level[level]):
                sys.stderr.write(f"error: {model}, recompute {level}: {line}\n")
                fallen += 1
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
