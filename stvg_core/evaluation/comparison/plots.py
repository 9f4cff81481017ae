"""Plots of a comparison: quality against cost, quality by row, quality by row and query type.

Needs matplotlib: pip install 'stvg-core[plots]'. A model has one colour in all of them (of Okabe and Ito's, which
colour-blind readers can tell apart), and no colour says what no position, sign or hatch says as well.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from stvg_core.evaluation.comparison.document import ComparisonDocument, Estimate, RowPart

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
FORMATS: Final = ("png", "svg")
TEXT_STYLE: Final[Any] = {"svg.fonttype": "none", "svg.hashsalt": "stvg", "text.parse_math": False}
"""Text stays text: files can be searched and read aloud, and are the same every time."""
_STYLE: Final[Any] = TEXT_STYLE | {
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


def save_figure(figure: Any, path: Path, title: str, dots_per_inch: int) -> list[Path]:  # noqa: ANN401  # matplotlib's
    """Write a figure as PNG and SVG, the same bytes every time, and close it.

    Args:
        figure: what was drawn.
        path: of the files, without their endings.
        title: goes into the files' metadata.
        dots_per_inch: of the PNG.
    """
    from matplotlib import pyplot

    written = []
    for ending in FORMATS:
        target = path.with_name(f"{path.name}.{ending}")
        dateless = {"Date": None} if ending == "svg" else {}
        figure.savefig(target, dpi=dots_per_inch, metadata={"Title": title, **dateless})
        written.append(target)
    pyplot.close(figure)
    return written


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

    written: list[Path] = []
    with mpl.rc_context(_STYLE):
        for name, (title, wanted, draw) in _PLOTS.items():
            rows = wanted(document)
            if not rows:
                continue
            figure, axes = pyplot.subplots(layout="constrained")
            draw(rows, document, figure, axes)
            written += save_figure(figure, folder / name, title, _DOTS_PER_INCH)
    return tuple(written)


def _scored(document: ComparisonDocument) -> list[RowPart]:
    return [row for row in document.rows if row.score is not None]


def _with_costs(document: ComparisonDocument) -> list[RowPart]:
    return [row for row in _scored(document) if row.cost.seconds_per_sample is not None]


def _with_types(document: ComparisonDocument) -> list[RowPart]:
    return [row for row in _scored(document) if row.by_type_estimates and len(row.by_type_estimates) > 1]


def _quality_and_cost(rows: list[RowPart], document: ComparisonDocument, figure: Any, axes: Axes) -> None:  # noqa: ANN401  # matplotlib's
    figure.set_size_inches(_INCHES + 0.5 + _names_inches(rows), max(3.4, 0.6 + 0.19 * len(rows)))
    colors, of_model = _colors(rows), dict.fromkeys((row.model for row in rows), 0)
    for row in rows:
        estimate = (row.score or {})[_METRIC]
        axes.errorbar(
            row.cost.seconds_per_sample,
            _PERCENT * estimate.mean,
            yerr=_reach([estimate]),
            fmt=_SIGNS[of_model[row.model] % len(_SIGNS)],
            color=colors[row.model],
            markersize=5.5,
            elinewidth=0.8,
            alpha=0.85,
            label=_short(row.name),
        )
        of_model[row.model] += 1
    seconds = [row.cost.seconds_per_sample or 0.0 for row in rows]
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
    axes.set_ylabel(_label(document))
    figure.legend(loc="outside right upper")


def _rows(rows: list[RowPart], document: ComparisonDocument, figure: Any, axes: Axes) -> None:  # noqa: ANN401  # matplotlib's
    places = _places(rows)
    colors, estimates = _colors(rows), [(row.score or {})[_METRIC] for row in rows]
    _bars(axes, places, estimates, 0.72, [colors[row.model] for row in rows])
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
    _name_rows(rows, places, document, figure, axes)


def _query_types(rows: list[RowPart], document: ComparisonDocument, figure: Any, axes: Axes) -> None:  # noqa: ANN401  # matplotlib's
    types = list(dict.fromkeys(kind for row in rows for kind in row.by_type_estimates or {}))
    places, height = _places(rows), 0.78 / len(types)
    for number, kind in enumerate(types):
        shift = (number - (len(types) - 1) / 2) * height
        own = [(place, row) for place, row in zip(places, rows, strict=True) if kind in (row.by_type_estimates or {})]
        _bars(
            axes,
            [place + shift for place, _ in own],
            [(row.by_type_estimates or {})[kind][_METRIC] for _, row in own],
            height,
            [_COLORS[number % len(_COLORS)]] * len(own),
            hatch=_HATCHES[number % len(_HATCHES)],
            label=kind,
        )
    _name_rows(rows, places, document, figure, axes, row_inches=_ROW_INCHES * max(1.0, 0.7 * len(types)))
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


def _places(rows: Sequence[RowPart]) -> list[float]:
    """Return where rows stand, from the top: the rows of a model together, a gap before the next model."""
    places: list[float] = []
    for number, row in enumerate(rows):
        gap = 0.5 if number and row.model != rows[number - 1].model and len(rows) > 4 else 0.0  # noqa: PLR2004
        places.append((places[-1] + 1.0 + gap) if places else 0.0)
    return places


def _name_rows(
    rows: Sequence[RowPart],
    places: Sequence[float],
    document: ComparisonDocument,
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
    axes.set_xlabel(_label(document))


def _label(document: ComparisonDocument) -> str:
    return f"{_METRIC}, percent, with {_PERCENT * document.bootstrap['confidence']:g} % interval"


def _colors(rows: Sequence[RowPart]) -> dict[str, str]:
    models = dict.fromkeys(row.model for row in rows)
    return {model: _COLORS[number % len(_COLORS)] for number, model in enumerate(models)}


def _names_inches(rows: Sequence[RowPart]) -> float:
    return _LETTER_INCHES * max(len(_short(row.name)) for row in rows)


def _short(name: str) -> str:
    """Return a name of bearable length; both ends stay, for rows of one model differ at the end.

    >>> _short("a" * 50 + "b" * 50)
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaa...bbbbbbbbbbbbbbbbbbbbbbbbbbbb'
    """
    half = (_LONGEST_NAME - 3) // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[: half + 1]}...{name[-half:]}"


_PLOTS: Final[
    dict[
        str,
        tuple[
            str,
            Callable[[ComparisonDocument], list[RowPart]],
            Callable[[list[RowPart], ComparisonDocument, Any, Axes], None],
        ],
    ]
] = {
    "quality_and_cost": ("Quality against cost", _with_costs, _quality_and_cost),
    "rows": ("Quality by row", _scored, _rows),
    "query_types": ("Quality by row and query type", _with_types, _query_types),
}
PLOT_NAMES: Final = tuple(_PLOTS)
