"""Plots of a comparison: quality against cost, quality by row, quality by row and query type.

Needs matplotlib: pip install 'stvg-core[plots]'. A model has one colour in all of them (of Okabe and Ito's, which
colour-blind readers can tell apart), and no colour says what no position, sign or hatch says as well.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, cycle, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from stvg_core.evaluation.comparison.document import ComparisonDocument
from stvg_core.evaluation.comparison.intervals import Estimate

_PERCENT: Final = 100.0
_METRIC: Final = "m_vIoU"
_INCHES: Final = 4.6
_LETTER_INCHES: Final = 0.075
_ROW_INCHES: Final = 0.27
_FRAME_INCHES: Final = 1.1
_LEAST_INCHES: Final = 2.2
_DOTS_PER_INCH: Final = 150
_LONGEST_NAME: Final = 60
_COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
_SIGNS: Final = "osD^vPXphH<>*d"
_HATCHES: Final = ("", "////", "....", "xxxx")
_WIDE_RANGE: Final = 8.0
"""From this ratio of the dearest to the cheapest row on costs are drawn by their logarithm."""
_MOST_PLOTTED: Final = 40
"""Of more rows only tables are drawn."""
_STYLE: Final[Any] = {
    # Text stays text: files can be searched and read aloud, and are the same every time.
    "svg.fonttype": "none",
    "svg.hashsalt": "stvg",
    "text.parse_math": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "errorbar.capsize": 2.5,
    "font.size": 9.0,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
}
Matplotlib = Any
"""Figures and axes of matplotlib, which need not be installed."""


@dataclass(frozen=True)
class _Row:
    """A row as plots take it: m_vIoU in all and by query type; rows of one group have one colour and stand together."""

    name: str
    group: str
    estimate: Estimate
    seconds: float | None = None
    by_type: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def short_name(self) -> str:
        """A name of bearable length; both ends stay, for rows of one model differ at the end.

        >>> _Row("a" * 50 + "b" * 50, "", Estimate(mean=0.0, low=0.0, high=0.0)).short_name
        'aaaaaaaaaaaaaaaaaaaaaaaaaaaaa...bbbbbbbbbbbbbbbbbbbbbbbbbbbb'
        """
        half = (_LONGEST_NAME - 3) // 2
        return self.name if len(self.name) <= _LONGEST_NAME else f"{self.name[: half + 1]}...{self.name[-half:]}"


_Draw = Callable[[list[_Row], str, Matplotlib, Matplotlib], None]


def draw_plots(document: ComparisonDocument, folder: Path) -> tuple[Path, ...]:
    """Write every plot that the document has numbers for, as PNG and SVG.

    Returns:
        The files; none where nothing was scored.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    label = f"{_METRIC}, percent, with {_PERCENT * document.bootstrap['confidence']:g} % interval"
    written: list[Path] = []
    with mpl.rc_context(_STYLE):
        for name, title, rows, draw in _plots(document):
            if not rows:
                continue
            figure, axes = pyplot.subplots(layout="constrained")
            draw(rows, label, figure, axes)
            for ending, metadata in (("png", {}), ("svg", {"Date": None})):
                target = folder / f"{name}.{ending}"
                figure.savefig(target, dpi=_DOTS_PER_INCH, metadata={"Title": title, **metadata})
                written.append(target)
            pyplot.close(figure)
    return tuple(written)


def plot_names(document: ComparisonDocument) -> tuple[str, ...]:
    """Return the names of the files that `draw_plots` may write, without their endings."""
    return tuple(name for name, *_ in _plots(document))


def _plots(document: ComparisonDocument) -> Iterator[tuple[str, str, list[_Row], _Draw]]:
    rows = [
        _Row(
            row.name,
            row.model,
            row.score[_METRIC],
            row.cost.seconds_per_sample,
            {kind: estimates[_METRIC] for kind, estimates in (row.by_type_estimates or {}).items()},
        )
        for row in document.rows
        if row.score is not None
    ]
    rows = rows if len(rows) <= _MOST_PLOTTED else []
    timed, typed = [row for row in rows if row.seconds is not None], [row for row in rows if len(row.by_type) > 1]
    yield "quality_and_cost", "Quality against cost", timed, _quality_and_cost
    yield "rows", "Quality by row", rows, _rows
    yield "query_types", "Quality by row and query type", typed, _query_types
    models = list(dict.fromkeys(part.model for part in document.tables))
    for part in document.tables:
        ending = f"_{models.index(part.model) + 1}" if len(models) > 1 else ""
        shown = [
            _Row(row.name, "" if row.control_of is None else "control", row.score[_METRIC])
            for row in part.rows
            if row.score is not None
        ]
        yield f"table_{part.name}{ending}", f"{part.model}: {part.title}", shown, _rows


def _quality_and_cost(rows: list[_Row], label: str, figure: Matplotlib, axes: Matplotlib) -> None:
    figure.set_size_inches(_INCHES + 0.5 + _names_inches(rows), max(3.4, 0.6 + 0.19 * len(rows)))
    colors, of_group = _colors(rows), Counter[str]()
    for row in rows:
        (mean,), reach = _percents([row.estimate])
        axes.errorbar(
            row.seconds,
            mean,
            yerr=reach,
            fmt=_SIGNS[of_group[row.group] % len(_SIGNS)],
            color=colors[row.group],
            markersize=5.5,
            elinewidth=0.8,
            alpha=0.85,
            label=row.short_name,
        )
        of_group[row.group] += 1
    seconds = [row.seconds or 0.0 for row in rows]
    if min(seconds) > 0 and max(seconds) / min(seconds) > _WIDE_RANGE:
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, 1.08 * max(seconds))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds a sample (median)")
    axes.set_ylabel(label)
    figure.legend(loc="outside right upper")


def _rows(rows: list[_Row], label: str, figure: Matplotlib, axes: Matplotlib) -> None:
    places, colors = _places(rows), _colors(rows)
    means = _bars(axes, places, [row.estimate for row in rows], 0.72, [colors[row.group] for row in rows])
    across, beside = ("axes fraction", "data"), "offset points"
    for place, mean in zip(places, means, strict=True):
        text = f"{mean:.1f}"
        axes.annotate(text, (1.0, place), (4, 0), xycoords=across, textcoords=beside, va="center", fontsize=8)
    _name_rows(rows, places, label, figure, axes)


def _query_types(rows: list[_Row], label: str, figure: Matplotlib, axes: Matplotlib) -> None:
    types = list(dict.fromkeys(kind for row in rows for kind in row.by_type))
    places, height = _places(rows), 0.78 / len(types)
    for number, kind in enumerate(types):
        shift = (number - (len(types) - 1) / 2) * height
        own = {place + shift: row.by_type[kind] for place, row in zip(places, rows, strict=True) if kind in row.by_type}
        color, hatch = _COLORS[number % len(_COLORS)], _HATCHES[number % len(_HATCHES)]
        _bars(axes, list(own), list(own.values()), height, color, hatch=hatch, label=kind)
    _name_rows(rows, places, label, figure, axes, row_inches=_ROW_INCHES * max(1.0, 0.7 * len(types)))
    figure.legend(loc="outside lower center", ncols=4)


def _bars(
    axes: Matplotlib,
    places: Sequence[float],
    estimates: Sequence[Estimate],
    height: float,
    color: str | Sequence[str],
    **style: str,
) -> Float64[np.ndarray, " row"]:
    """Draw a bar for each mean, and its interval over it; return the means in percent."""
    means, reach = _percents(estimates)
    axes.barh(places, means, height=height, color=color, edgecolor="white", linewidth=0.4, alpha=0.75, **style)
    axes.errorbar(means, places, xerr=reach, fmt="none", ecolor="black", elinewidth=1.0)
    return means


def _percents(
    estimates: Sequence[Estimate],
) -> tuple[Float64[np.ndarray, " row"], Float64[np.ndarray, "2 row"]]:
    """Return means, and how far the intervals reach below and above them, in percent."""
    means, lows, highs = _PERCENT * np.array([[one.mean, one.low, one.high] for one in estimates]).T
    return means, np.maximum(0.0, [means - lows, highs - means])


def _places(rows: Sequence[_Row]) -> list[float]:
    """Return the places of rows from the top: a gap between groups where there are many."""
    gap = 0.5 if len(rows) > 4 else 0.0  # noqa: PLR2004
    steps = (1.0 + gap * (row.group != before.group) for before, row in pairwise(rows))
    return list(accumulate(steps, initial=0.0))


def _name_rows(
    rows: Sequence[_Row],
    places: Sequence[float],
    label: str,
    figure: Matplotlib,
    axes: Matplotlib,
    row_inches: float = _ROW_INCHES,
) -> None:
    height = max(_LEAST_INCHES, _FRAME_INCHES + row_inches * (places[-1] + 1.0))
    figure.set_size_inches(_INCHES + _names_inches(rows), height)
    axes.set_yticks(places, [row.short_name for row in rows])
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)


def _colors(rows: Sequence[_Row]) -> dict[str, str]:
    return dict(zip(dict.fromkeys(row.group for row in rows), cycle(_COLORS), strict=False))


def _names_inches(rows: Sequence[_Row]) -> float:
    return _LETTER_INCHES * max(len(row.short_name) for row in rows)
