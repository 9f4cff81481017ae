"""Plots of a comparison: quality against cost, differences from the first row, bars per query type.

Needs matplotlib: pip install 'stvg-core[plots]'.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from stvg_core.comparison.document import ComparisonDocument, RowPart

_PERCENT: Final = 100.0
_METRIC: Final = "m_vIoU"
_INCHES: Final = (8.0, 4.5)
_ROW_INCHES: Final = 0.32
_DOTS_PER_INCH: Final = 120
_LONGEST_NAME: Final = 60
FORMATS: Final = ("png", "svg")
PLOT_NAMES: Final = ("quality_and_cost", "rows", "query_types")


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

    # Text stays text: the files can be searched and read aloud.
    written: list[Path] = []
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stvg", "text.parse_math": False}):
        for name, draw in _PLOTS.items():
            figure, axes = pyplot.subplots(figsize=_size(document, name), layout="constrained")
            if draw(document, axes):
                for ending in FORMATS:
                    path = folder / f"{name}.{ending}"
                    metadata = {"Date": None} if ending == "svg" else None
                    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata=metadata)
                    written.append(path)
            pyplot.close(figure)
    return tuple(written)


def _size(document: ComparisonDocument, name: str) -> tuple[float, float]:
    width, height = _INCHES
    return (width, height) if name == "quality_and_cost" else (width, max(2.0, 1.2 + _ROW_INCHES * len(document.rows)))


def _scored(document: ComparisonDocument) -> list[RowPart]:
    return [row for row in document.rows if row.score is not None]


def _quality_and_cost(document: ComparisonDocument, axes: Any) -> bool:  # noqa: ANN401  # matplotlib's
    rows = [row for row in _scored(document) if row.cost.seconds_per_sample is not None]
    for row in rows:
        estimate = (row.score or {})[_METRIC]
        axes.errorbar(
            row.cost.seconds_per_sample,
            _PERCENT * estimate.mean,
            yerr=[[_PERCENT * (estimate.mean - estimate.low)], [_PERCENT * (estimate.high - estimate.mean)]],
            fmt="o",
            capsize=3,
            label=_short(row.name),
        )
    axes.set_xlabel("seconds a sample (median)")
    axes.set_ylabel(f"{_METRIC}, percent")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    if rows:
        axes.legend(fontsize="x-small")
    return bool(rows)


def _ladder(document: ComparisonDocument, axes: Any) -> bool:  # noqa: ANN401  # matplotlib's
    rows = _scored(document)
    for place, row in enumerate(rows):
        estimate = (row.score or {})[_METRIC]
        axes.barh(place, _PERCENT * estimate.mean, color="C0", alpha=0.75)
        axes.plot([_PERCENT * estimate.low, _PERCENT * estimate.high], [place, place], color="black", linewidth=1.5)
    axes.set_yticks(range(len(rows)), [_short(row.name) for row in rows], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel(f"{_METRIC}, percent, with {_PERCENT * document.bootstrap['confidence']:g} % interval")
    return bool(rows)


def _query_types(document: ComparisonDocument, axes: Any) -> bool:  # noqa: ANN401  # matplotlib's
    rows = [row for row in _scored(document) if row.by_type and len(row.by_type) > 1]
    types = list(dict.fromkeys(kind for row in rows for kind in row.by_type or {}))
    height = 0.8 / max(1, len(types))
    for number, kind in enumerate(types):
        places = [place + number * height for place in range(len(rows))]
        means = [_PERCENT * (row.by_type or {}).get(kind, {}).get(_METRIC, 0.0) for row in rows]
        axes.barh(places, means, height=height, label=kind)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(rows))], [_short(row.name) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(f"{_METRIC}, percent")
    if rows:
        axes.legend(fontsize="small")
    return bool(rows)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


_PLOTS: Final[dict[str, Callable[[ComparisonDocument, Any], bool]]] = dict(
    zip(PLOT_NAMES, (_quality_and_cost, _ladder, _query_types), strict=True)
)
