"""Plots of a comparison: quality against cost, quality by row, quality by row and query type.

Needs matplotlib: pip install 'stvg-core[plots]'. A model has one colour in all of them (of Okabe and Ito's, which
colour-blind readers can tell apart), and no colour says what no position, sign or hatch says as well.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

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
Axes = Any
"""matplotlib's, which need not be installed."""


@dataclass(frozen=True)
class _Row:
    """A row as plots take it: m_vIoU in all and by query type; rows of one group have one colour and stand together."""

    name: str
    group: str
    estimate: Estimate
    seconds: float | None = None
    by_type: Mapping[str, Estimate] = field(default_factory=dict)


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
            for ending in ("png", "svg"):
                target = folder / f"{name}.{ending}"
                dateless = {"Date": None} if ending == "svg" else {}
                figure.savefig(target, dpi=_DOTS_PER_INCH, metadata={"Title": title, **dateless})
                written.append(target)
            pyplot.close(figure)
    return tuple(written)


def plot_names(document: ComparisonDocument) -> tuple[str, ...]:
    """Return the names of the files that `draw_plots` may write, without their endings."""
    return tuple(name for name, *_ in _plots(document))


_Draw = Callable[[list[_Row], str, Any, Axes], None]


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
    yield (
        "quality_and_cost",
        "Quality against cost",
        [row for row in rows if row.seconds is not None],
        _quality_and_cost,
    )
    yield "rows", "Quality by row", rows, _rows
    yield "query_types", "Quality by row and query type", [row for row in rows if len(row.by_type) > 1], _query_types
    models = list(dict.fromkeys(part.model for part in document.tables))
    for part in document.tables:
        name = "_".join(["table", part.name, *([str(models.index(part.model) + 1)] if len(models) > 1 else [])])
        shown = [
            _Row(row.name, "" if row.control_of is None else "control", row.score[_METRIC])
            for row in part.rows
            if row.score is not None
        ]
        yield name, f"{part.model}: {part.title}", shown, _rows


def _quality_and_cost(rows: list[_Row], label: str, figure: Any, axes: Axes) -> None:  # noqa: ANN401  # matplotlib's
    figure.set_size_inches(_INCHES + 0.5 + _names_inches(rows), max(3.4, 0.6 + 0.19 * len(rows)))
    colors, of_group = _colors(rows), dict.fromkeys((row.group for row in rows), 0)
    for row in rows:
        axes.errorbar(
            row.seconds,
            _PERCENT * row.estimate.mean,
            yerr=_reach([row.estimate]),
            fmt=_SIGNS[of_group[row.group] % len(_SIGNS)],
            color=colors[row.group],
            markersize=5.5,
            elinewidth=0.8,
            alpha=0.85,
            label=_short(row.name),
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


def _rows(rows: list[_Row], label: str, figure: Any, axes: Axes) -> None:  # noqa: ANN401  # matplotlib's
    places = _places(rows)
    colors, estimates = _colors(rows), [row.estimate for row in rows]
    _bars(axes, places, estimates, 0.72, [colors[row.group] for row in rows])
    for place, estimate in zip(places, estimates, strict=True):
        axes.annotate(
            f"{_PERCENT * estimate.mean:.1f}",
            (1.0, place),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    _name_rows(rows, places, label, figure, axes)


def _query_types(rows: list[_Row], label: str, figure: Any, axes: Axes) -> None:  # noqa: ANN401  # matplotlib's
    types = list(dict.fromkeys(kind for row in rows for kind in row.by_type))
    places, height = _places(rows), 0.78 / len(types)
    for number, kind in enumerate(types):
        shift = (number - (len(types) - 1) / 2) * height
        own = [(place, row) for place, row in zip(places, rows, strict=True) if kind in row.by_type]
        _bars(
            axes,
            [place + shift for place, _ in own],
            [row.by_type[kind] for _, row in own],
            height,
            [_COLORS[number % len(_COLORS)]] * len(own),
            hatch=_HATCHES[number % len(_HATCHES)],
            label=kind,
        )
    _name_rows(rows, places, label, figure, axes, row_inches=_ROW_INCHES * max(1.0, 0.7 * len(types)))
    figure.legend(loc="outside lower center", ncols=4)


def _bars(
    axes: Axes,
    places: Sequence[float],
    estimates: Sequence[Estimate],
    height: float,
    colors: Sequence[str],
    **more: Any,  # noqa: ANN401  # matplotlib's
) -> None:
    """Draw a bar for each mean, and its interval over it."""
    axes.barh(
        places,
        [_PERCENT * estimate.mean for estimate in estimates],
        height=height,
        color=colors,
        edgecolor="white",
        linewidth=0.4,
        alpha=0.75,
        **more,
    )
    means = [_PERCENT * estimate.mean for estimate in estimates]
    axes.errorbar(means, places, xerr=_reach(estimates), fmt="none", ecolor="black", elinewidth=1.0)


def _reach(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Return how far the intervals reach below and above their means, in percent."""
    return [
        [max(0.0, _PERCENT * (estimate.mean - estimate.low)) for estimate in estimates],
        [max(0.0, _PERCENT * (estimate.high - estimate.mean)) for estimate in estimates],
    ]


def _places(rows: Sequence[_Row]) -> list[float]:
    """Return where rows stand, from the top: a gap between models where there are many."""
    places: list[float] = []
    for number, row in enumerate(rows):
        gap = 0.5 if number and row.group != rows[number - 1].group and len(rows) > 4 else 0.0  # noqa: PLR2004
        places.append((places[-1] + 1.0 + gap) if places else 0.0)
    return places


def _name_rows(
    rows: Sequence[_Row],
    places: Sequence[float],
    label: str,
    figure: Any,  # noqa: ANN401  # matplotlib's
    axes: Axes,
    row_inches: float = _ROW_INCHES,
) -> None:
    height = max(_LEAST_INCHES, _FRAME_INCHES + row_inches * (places[-1] + 1.0))
    figure.set_size_inches(_INCHES + _names_inches(rows), height)
    axes.set_yticks(places, [_short(row.name) for row in rows])
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)


def _colors(rows: Sequence[_Row]) -> dict[str, str]:
    groups = dict.fromkeys(row.group for row in rows)
    return {group: _COLORS[number % len(_COLORS)] for number, group in enumerate(groups)}


def _names_inches(rows: Sequence[_Row]) -> float:
    return _LETTER_INCHES * max(len(_short(row.name)) for row in rows)


def _short(name: str) -> str:
    """Return a name of bearable length; both ends stay, for rows of one model differ at the end.

    >>> _short("a" * 50 + "b" * 50)
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaa...bbbbbbbbbbbbbbbbbbbbbbbbbbbb'
    """
    half = (_LONGEST_NAME - 3) // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[: half + 1]}...{name[-half:]}"
