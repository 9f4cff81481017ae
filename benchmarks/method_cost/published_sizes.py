"""What the method costs on published sizes with random weights, beside the plain procedure; needs a large CUDA device.

    python -m benchmarks.method_cost.published_sizes --out published

First all times, with nothing else in between; `times.json` is there when they are done. Then
operations and memory; `published.json` holds both, and Markdown tables are printed. Levels of recomputation share
the plain procedure's figures. One process: models are opened one after another.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.method_cost.measure import (
    Sides,
    Timing,
    complete_cost,
    count_cost,
    device_name,
    encode_sides,
    largest_difference,
    matmul_rate,
    open_model,
    time_sides,
)
from benchmarks.method_cost.report import BenchmarkReport, BenchmarkRequest, Cost, document, table
from stvg_core.plugin.model_reference import LoadOptions
from stvg_huggingface.testing.sessions import reopened

MODELS = ("llava-next-video-7b", "qwen2-vl-7b", "internvl3-8b")
LEVELS = ("none", "mlp", "layer")


def main() -> None:
    """Measure everything, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--levels", nargs="+", default=LEVELS)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--without-plain", nargs="*", default=(), help="models whose plain procedure is left out")
    parser.add_argument("--one-level", nargs="*", default=(), help="models that run at the first level alone")
    parser.add_argument("--count-plain", nargs="*", default=MODELS, help="models whose plain operations are counted")
    parser.add_argument("--out", type=Path, default=Path("published"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    timings: dict[tuple[str, str], tuple[Timing, Timing | None]] = {}
    for model in arguments.models:
        for level, sides in at_levels(model, arguments):
            plain = timings.get((model, arguments.levels[0]), (None, None))[1]
            names = ["method"]
            if level == arguments.levels[0] and model not in arguments.without_plain:
                names.append("plain")
            found = time_sides(sides, arguments.repeats, names)
            timings[model, level] = found["method"], found.get("plain", plain)
            say(f"{model} {level} { ({name: one.seconds for name, one in found.items()}) }")
    write(
        arguments.out / "times.json",
        {f"{model} {level}": [one and told(one) for one in both] for (model, level), both in timings.items()},
    )
    reports = []
    for model in arguments.models:
        plain_cost: Cost | None = None
        for level, sides in at_levels(model, arguments):
            method, plain = timings[model, level]
            if plain is not None and plain_cost is None:
                plain_cost = complete_cost(plain, count_cost(sides, "plain", count=model in arguments.count_plain))
            report = reported(model, sides, arguments.frames, complete_cost(method, count_cost(sides, "method")))
            difference = largest_difference(method, plain)
            report = BenchmarkReport(**vars(report) | {"plain": plain_cost, "largest_difference": difference})
            reports.append({"recompute": level} | document(report))
            write(arguments.out / "published.json", reports)
            sys.stdout.write("\n".join([f"recompute {level}", *table(report), "", ""]))
            sys.stdout.flush()


def at_levels(model: str, arguments: argparse.Namespace) -> Iterator[tuple[str, Sides]]:
    """Yield a model's sides at every level of recomputation; the model is made once, and dropped at the end."""
    first = open_model(model, LoadOptions(arguments.device, recompute=arguments.levels[0]))
    for level in arguments.levels[:1] if model in arguments.one_level else arguments.levels:
        options = LoadOptions(arguments.device, recompute=level)
        session = reopened(first, options)
        yield level, encode_sides(session, BenchmarkRequest(model, options, arguments.frames))
        del session
        clean()
    del first
    clean()


def reported(model: str, sides: Sides, frames: int, method: Cost) -> BenchmarkReport:
    """Return a report without the plain procedure."""
    tokens = sides.clip.visual_tokens
    return BenchmarkReport(
        model=model,
        device=device_name(tokens.device),
        dtype=str(tokens.dtype).removeprefix("torch."),
        frame_count=frames,
        visual_tokens=sides.clip.layout.cell_count,
        method=method,
        plain=None,
        matmul_rate=matmul_rate(tokens.device, tokens.dtype),
        largest_difference=None,
    )


def told(timing: Timing) -> dict[str, Any]:
    """Return a timing as JSON holds it."""
    return {
        "seconds": timing.seconds,
        "first_seconds": timing.first_seconds,
        "stage_seconds": dict(timing.stage_seconds),
    }


def clean() -> None:
    """Give memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def write(path: Path, found: object) -> None:
    """Write JSON; the file is whole or not there."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def say(line: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


if __name__ == "__main__":
    main()
