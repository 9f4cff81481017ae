"""`python -m stvg_tiny.long_plot RESULT.json ... --out FILE.png`: long videos in one picture.

Draws what `stvg-tiny evaluate-long --json` wrote: quality against length, and time and memory against length. Needs
matplotlib: pip install "stvg-tiny[curves]".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from stvg_tiny.errors import RecipeError, TinyError

_FIGURE_INCHES: Final = (12.0, 3.8)
_DOTS_PER_INCH: Final = 110
_COLORS: Final = {"whole video": "#888888", "windows": "#1f77b4", "the event's scene": "#d68910"}
_MARKERS: Final = {"tiny:qwen2-vl": "o", "tiny:llava-next": "s", "tiny:internvl": "^"}


def draw(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw results.

    Args:
        entries: one for each model, length and surroundings, as `stvg-tiny evaluate-long --json` writes them.
        path: the picture.

    Raises:
        RecipeError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RecipeError('plots need matplotlib; pip install "stvg-tiny[curves]"') from error
    figure = Figure(figsize=_FIGURE_INCHES, layout="constrained")
    quality, seconds, memory = figure.subplots(1, 3)
    for model in dict.fromkeys(entry["model"] for entry in entries if "rows" in entry):
        own = sorted((one for one in entries if one["model"] == model and "rows" in one), key=lambda one: one["times"])
        for name, color in _COLORS.items():
            points = [(one["times"], row) for one in own for row in one["rows"] if row["name"] == name]
            quality.errorbar(
                [times for times, _ in points],
                [row["m_vIoU"] for _, row in points],
                yerr=[row["standard_error"] for _, row in points],
                color=color,
                marker=_MARKERS.get(model, "x"),
                label=f"{name}, {model}",
                capsize=2,
            )
    costs = sorted((entry for entry in entries if "window_count" in entry), key=lambda entry: entry["times"])
    for name in ("whole video", "windows"):
        times = [entry["times"] for entry in costs]
        style = {"color": _COLORS[name], "marker": "o", "label": name}
        seconds.plot(times, [entry[name]["processor_seconds"] for entry in costs], **style)
        for key, dashes in (("tensors_mib", "-"), ("pictures_mib", ":")):
            label = f"{name}, {key.removesuffix('_mib')}"
            memory.plot(times, [entry[name][key] for entry in costs], dashes, **(style | {"label": label}))
    for axes, title in (
        (quality, "m_vIoU (bars: standard error)"),
        (seconds, "processor seconds"),
        (memory, "peak allocated MiB"),
    ):
        axes.set(title=title, xlabel="length, in trained lengths", xscale="log", ylim=(0, None))
        axes.set_xticks([1, 4, 16, 64], labels=["1", "4", "16", "64"])
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6)
    seconds.set(yscale="log", ylim=(None, None))
    figure.savefig(path, dpi=_DOTS_PER_INCH)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stvg_tiny.long_plot", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="files that stvg-tiny evaluate-long --json wrote")
    parser.add_argument("--out", type=Path, required=True, help="the picture, PNG")
    options = parser.parse_args(arguments)
    try:
        draw([entry for path in options.results for entry in json.loads(path.read_text(encoding="utf-8"))], options.out)
    except (TinyError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
