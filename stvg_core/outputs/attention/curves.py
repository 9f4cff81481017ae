"""Curves of `stvg attend` as PNG: attention over the frames, attention by token.

Needs matplotlib: pip install 'stvg-core[plots]'. The numbers are in attention.json with and without it.
"""

from pathlib import Path
from typing import Any, Final

from stvg_core.method.question_maps import QuestionAttentionMaps
from stvg_core.outputs.attention.arrays import shown_token
from stvg_core.outputs.report.text import clean_text

INSTALL: Final = "pip install 'stvg-core[plots]'"
_INCHES: Final = 8.0
_DOTS_PER_INCH: Final = 120
_LONGEST_TITLE: Final = 90
_LONGEST_LABEL: Final = 24
_PERCENT: Final = 100.0
_KIND_COLORS: Final = {"word": "C0", "punctuation": "C1", "role": "C2", "thinking": "C7"}


def draw_curves(reading: QuestionAttentionMaps, folder: Path) -> tuple[str, ...]:
    """Write frame_curve.png and token_curve.png, and return their names.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    drawers = {"frame_curve.png": _frames, "token_curve.png": _tokens}
    with mpl.rc_context({"text.parse_math": False}):
        for name, draw in drawers.items():
            figure = pyplot.figure(figsize=(_INCHES, _height(reading, name)), layout="constrained")
            draw(reading, figure)
            figure.suptitle(clean_text(reading.question, _LONGEST_TITLE), fontsize="medium")
            figure.savefig(folder / name, dpi=_DOTS_PER_INCH)
            pyplot.close(figure)
    return tuple(drawers)


def _height(reading: QuestionAttentionMaps, name: str) -> float:
    return 4.5 if name == "frame_curve.png" else max(3.0, 1.2 + 0.22 * len(reading.tokens))


def _frames(reading: QuestionAttentionMaps, figure: Any) -> None:  # noqa: ANN401  # matplotlib's
    upper, lower = figure.subplots(2, sharex=True)
    upper.plot(reading.frames.seconds, _PERCENT * reading.frame_shares, marker="o", markersize=3)
    upper.set_ylabel("share of attention, percent")
    lower.plot(reading.frames.seconds, reading.frame_peaks, marker="o", markersize=3, color="C1")
    lower.set_ylabel("peak, relative" if reading.mode == "relative" else "peak, share")
    lower.set_xlabel("seconds")
    for axes in (upper, lower):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)


def _tokens(reading: QuestionAttentionMaps, figure: Any) -> None:  # noqa: ANN401  # matplotlib's
    bars, grid = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))
    places = range(len(reading.tokens))
    colors = [_KIND_COLORS[token.kind] for token in reading.tokens]
    bars.barh(places, _PERCENT * reading.token_shares, color=colors)
    labels = [
        f"{'* ' if place in reading.chosen else ''}{clean_text(shown_token(token), _LONGEST_LABEL)}"
        for place, token in enumerate(reading.tokens)
    ]
    bars.set_yticks(places, labels, fontsize="x-small")
    bars.set_xlabel("share of attention on the video, percent")
    shown = grid.imshow(_PERCENT * reading.token_frame_shares, aspect="auto", cmap="inferno", interpolation="nearest")
    grid.set_xlabel("sampled frame (* in the maps)")
    # The picture's axis runs down, and the bars share it: the first token stands above.
    figure.colorbar(shown, ax=grid, label="percent of the token's attention")
