"""What a training run learned, and when: its log, read and drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from tiny_recipe.errors import RecipeError
from tiny_recipe.questions import YES_NO_KINDS

_DENSE: Final = ("visual_color", "visual_shape", "visual_action", "middle_shape", "middle_action", "place")
_ATTENTION: Final = ("reading", "looking", "following")
_WINDOW_STEPS: Final = 25
_FIGURE_INCHES: Final = (11.0, 8.0)
_DOTS_PER_INCH: Final = 110


@dataclass(frozen=True)
class TrainingLog:
    """A run's log.

    Attributes:
        steps: One entry per optimiser step.
        looks: The looks at the development accuracy, each with its step.
    """

    steps: Sequence[Mapping[str, Any]]
    looks: Sequence[Mapping[str, Any]]

    def stages(self) -> dict[str, int]:
        """Return how many steps each stage took, in their order."""
        counts: dict[str, int] = {}
        for entry in self.steps:
            counts[entry["stage"]] = counts.get(entry["stage"], 0) + 1
        return counts


def read_log(path: Path) -> TrainingLog:
    """Read the log of a run.

    Raises:
        RecipeError: There is none, or it is not the log of a run.
    """
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        log = TrainingLog(
            [entry for entry in entries if "losses" in entry], [entry for entry in entries if "accuracy" in entry]
        )
        log.stages()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"expected the log of a training run in {path}, got {type(error).__name__}: {error}"
        ) from error
    if not log.steps:
        raise RecipeError(f"expected the log of a training run in {path}, it has no step")
    return log


def windowed(log: TrainingLog, name: str) -> tuple[Float64[np.ndarray, " window"], Float64[np.ndarray, " window"]]:
    """Return the means of a loss over windows of steps, and the last step of each; windows without it are left out."""
    places, means = [], []
    for first in range(0, len(log.steps), _WINDOW_STEPS):
        window = log.steps[first : first + _WINDOW_STEPS]
        values = [entry["losses"][name] for entry in window if name in entry["losses"]]
        if values:
            places.append(float(window[-1]["step"]))
            means.append(float(np.mean(values)))
    return np.array(places, dtype=np.float64), np.array(means, dtype=np.float64)


def draw(log: TrainingLog, title: str, target: Path) -> None:
    """Draw losses, accuracy and pointing over the steps, with the stages' borders.

    Raises:
        RecipeError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RecipeError("curves need matplotlib; pip install matplotlib") from error
    figure = Figure(figsize=_FIGURE_INCHES, layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    losses = (
        (panels[0, 0], "loss of the answers, nats per token", YES_NO_KINDS),
        (panels[0, 1], "loss of the attention, nats", _ATTENTION),
        (panels[1, 0], "loss of the dense labels, nats per token", _DENSE),
    )
    for panel, label, names in losses:
        for name in names:
            places, means = windowed(log, name)
            if len(places):
                panel.plot(places, means, label=name)
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0.0)
    looks = panels[1, 1]
    steps = [look["step"] for look in log.looks]
    for number, kind in enumerate(YES_NO_KINDS):
        looks.plot(steps, [look["accuracy"].get(kind, np.nan) for look in log.looks], f"C{number}-", label=kind)
        looks.plot(steps, [look["pointing"].get(kind, np.nan) for look in log.looks], f"C{number}:")
    looks.set_ylabel("share, hard development scenes")
    looks.set_title("yes/no accuracy (lines), pointing (dots)", fontsize=9)
    looks.set_ylim(0.0, 1.0)
    for panel in panels.flat:
        start = 0
        for name, count in log.stages().items():
            panel.axvline(start, color="0.8", linewidth=0.8)
            panel.text(
                start, 0.99, f" {name}", transform=panel.get_xaxis_transform(), va="top", fontsize=8, color="0.4"
            )
            start += count
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=7)
        panel.set_xlabel("step")
    figure.suptitle(title)
    # Without the date and version, equal runs give equal files.
    figure.savefig(target, dpi=_DOTS_PER_INCH, metadata={"Software": None})
