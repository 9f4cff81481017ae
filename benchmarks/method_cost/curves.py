"""`python -m benchmarks.method_cost.curves`: what a query costs as clips grow, and as queries share a clip.

Writes `curves.json`, and plots of it where matplotlib is installed.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.method_cost.measure import Sides, device_name, encode_sides, open_model, timed
from benchmarks.method_cost.memory import peak_extra_bytes
from benchmarks.method_cost.operations import count_operations
from benchmarks.method_cost.report import BenchmarkRequest
from stvg_core.host.session import Session
from stvg_core.method.pipeline import Pipeline
from stvg_core.method.stages import Stopwatch
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.values import SubQueries

_GIGA: Final = 1e9
_MEBI: Final = 2**20
_COLOURS: Final = ("red", "green", "blue", "white", "black", "grey", "brown", "yellow")


@dataclass(frozen=True)
class Point:
    """What one size costs.

    Attributes:
        side: "method", "method without prompts", "plain".
        frame_count: frames of the clip.
        visual_tokens: tokens of the clip.
        query_count: queries about it.
        seconds: the fastest run's.
        operations: of one run.
        peak_extra_bytes: memory above weights and visual tokens.
    """

    side: str
    frame_count: int
    visual_tokens: int
    query_count: int
    seconds: float
    operations: int
    peak_extra_bytes: int


def query(number: int) -> SubQueries:
    """Return one of many different queries.

    >>> query(0).attribute, query(8).attribute
    ('the person in red 0', 'the person in red 1')
    """
    who = f"the person in {_COLOURS[number % len(_COLOURS)]} {number // len(_COLOURS)}"
    action = f"{who} walks to the car and opens the door"
    return SubQueries(text=f"{action}.", attribute=who, action=action, decomposer="given")


def measured(side: str, sides: Sides, run: Callable[[Stopwatch], object], queries: int, repeats: int) -> Point | None:
    """Return what a run costs, or None where memory is too small for it."""
    device = sides.clip.visual_tokens.device
    recording = side != "plain"

    def often() -> None:
        for _ in range(sides.warm_up_runs + 1 if recording else 1):
            run(Stopwatch())

    try:
        if sides.adapter.replays is not None:
            sides.adapter.replays.forget()
        # Recordings are memory that stays; they are made while memory is looked at, and so before the time is.
        extra = peak_extra_bytes(often, device)
        seconds = min(timed(lambda: run(Stopwatch()), device)[0] for _ in range(repeats))
        with sides.adapter.unrecorded():
            operations, _ = count_operations(run)
    except torch.OutOfMemoryError:
        return None
    frames, tokens = sides.clip.layout.frame_count, sides.clip.layout.cell_count
    return Point(side, frames, tokens, queries, seconds, operations, extra)


def curves(arguments: argparse.Namespace, tell: Callable[[str], object]) -> Iterator[dict[str, Any]]:
    """Yield all points so far as JSON holds them, after every point."""
    options = LoadOptions(arguments.device, recompute=arguments.recompute, cuda_graphs=arguments.cuda_graphs)
    session = open_model(arguments.model, options)
    points: list[Point] = []
    request = BenchmarkRequest(arguments.model, options)
    for sides, side, run, queries in _everything(arguments, session, request):
        replays = sides.adapter.replays
        if replays is not None:
            # The second pass of a kind instead of a later one: nothing but less warming up.
            replays.record_at = 2
        point = measured(side, sides, run, queries, arguments.repeats)
        frame_count = sides.clip.layout.frame_count
        if point is None:
            tell(f"{side}: {frame_count} frames need more memory than there is")
            continue
        points.append(point)
        tell(
            f"{side}: {frame_count} frames, {queries} queries: {point.seconds:.3f} s, "
            f"{point.operations / _GIGA:.0f} GFLOP, {point.peak_extra_bytes / _MEBI:.0f} MiB"
        )
        yield {
            "model": arguments.model,
            "device": device_name(sides.clip.visual_tokens.device),
            "dtype": str(sides.clip.visual_tokens.dtype).removeprefix("torch."),
            "recompute": arguments.recompute,
            "cuda_graphs": arguments.cuda_graphs,
            "points": [asdict(one) for one in points],
        }


def _everything(
    arguments: argparse.Namespace, session: Session, request: BenchmarkRequest
) -> Iterator[tuple[Sides, str, Callable[[Stopwatch], object], int]]:
    """Yield what is measured: a clip, the side's name, a run, and how many queries it answers."""

    def asking(sides: Sides, count: int) -> Callable[[Stopwatch], object]:
        queries = tuple(query(number) for number in range(count))
        return lambda watch: Pipeline(session, sides.settings, watch=watch).compute_maps(sides.views, queries)

    for frame_count in arguments.frames:
        sides = encode_sides(session, replace(request, frame_count=frame_count))
        yield sides, "method", sides.method, 1
        if frame_count <= arguments.plain_up_to:
            yield sides, "plain", sides.plain, 1
    sides = encode_sides(session, request)
    prompt = sides.settings.prompt.model_copy(update={"steps": 0})
    without = replace(sides, settings=sides.settings.model_copy(update={"prompt": prompt}))
    for count in arguments.queries:
        yield sides, "method", asking(sides, count), count
        yield without, "method without prompts", asking(without, count), count


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw time and memory against frames, and time against queries.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    points = [Point(**point) for point in found["points"]]
    markers = {"method": "o-", "plain": "s--", "method without prompts": "^-"}
    for side, marker in markers.items():
        by_frames = sorted(
            {
                (one.frame_count, one.seconds, one.peak_extra_bytes / _MEBI)
                for one in points
                if one.side == side and one.query_count == 1 and side != "method without prompts"
            }
        )
        by_queries = sorted(
            {
                (one.query_count, one.seconds / one.query_count)
                for one in points
                if one.side == side and one.frame_count == BenchmarkRequest("").frame_count and side != "plain"
            }
        )
        if by_frames:
            axes[0].plot([one[0] for one in by_frames], [one[1] for one in by_frames], marker, label=side)
            axes[1].plot([one[0] for one in by_frames], [one[2] for one in by_frames], marker, label=side)
        if by_queries:
            axes[2].plot([one[0] for one in by_queries], [one[1] for one in by_queries], marker, label=side)
    for axis, across, up in zip(
        axes,
        ("frames", "frames", "queries about one clip"),
        ("seconds a query", "extra MiB", "seconds a query"),
        strict=True,
    ):
        axis.set(xlabel=across, ylabel=up, xscale="log", yscale="log")
        axis.grid(visible=True, which="major", alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False)
    figure.suptitle(f"{Path(found['model']).name}, {found['dtype']}, {found['device']}", fontsize=10)
    figure.savefig(path, dpi=110)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, write, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.method_cost.curves", description=__doc__)
    parser.add_argument("--model", default="qwen2-vl", help="a family's middle size, a published size, or any model")
    parser.add_argument("--frames", type=int, nargs="*", default=[8, 16, 32, 64, 128, 256])
    parser.add_argument("--queries", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--plain-up-to", type=int, default=32, help="frames up to which the plain procedure runs, too")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--recompute", default="auto")
    parser.add_argument("--cuda-graphs", default="auto")
    parser.add_argument("--out", type=Path, default=Path("curves"))
    arguments = parser.parse_args(words)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for found in curves(arguments, lambda line: sys.stderr.write(f"{line}\n")):
        (arguments.out / "curves.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        try:
            plot(found, arguments.out / "curves.png")
        except ImportError:
            continue
    return 0


if __name__ == "__main__":
    sys.exit(main())
