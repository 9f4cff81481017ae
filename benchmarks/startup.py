"""How long `stvg --help` and `stvg plugins` take, with more and more backends installed.

    python -m benchmarks.startup [--runs 10]

Writes fake backends (metadata, package, manifest, a usual set of requirements; importing one would
explode) into a temporary folder on PYTHONPATH and times whole processes. Prints a Markdown table: the
fastest of all runs and the least processor time, which other work on the machine disturbs least. What is
installed for real is listed too and counts on top.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.fake_distributions import write_distribution

COUNTS = (0, 3, 20)
COMMANDS = (("--help",), ("plugins",), ("plugins", "--json"))
REQUIRES = ("stvg-core>=0.1.0.dev0,<0.2", "jaxtyping>=0.3", "numpy>=2", "torch>=2.6")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    lines = ["| command | fake backends | fastest, ms | processor, ms |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as root:
        for count in COUNTS:
            folder = Path(root) / str(count)
            folder.mkdir()
            for number in range(count):
                write_distribution(folder, f"fake-{number}", requires=REQUIRES)
            for command in COMMANDS:
                wall, processor = time_process(
                    [sys.executable, "-m", "stvg_core", *command], os.environ | {"PYTHONPATH": str(folder)}, runs
                )
                lines.append(f"| `stvg {' '.join(command)}` | {count} | {1000 * wall:.0f} | {1000 * processor:.0f} |")
    wall, processor = time_process([sys.executable, "-c", "pass"], dict(os.environ), runs)
    lines.append(f"| `python -c pass` | | {1000 * wall:.0f} | {1000 * processor:.0f} |")
    sys.stdout.write("\n".join(lines) + "\n")


def time_process(command: list[str], environment: dict[str, str], runs: int) -> tuple[float, float]:
    """Return the least wall seconds and the least processor seconds of a command that must succeed."""
    walls, processors = [], []
    for _ in range(runs):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - start)
        processors.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(walls), min(processors)


if __name__ == "__main__":
    main()
