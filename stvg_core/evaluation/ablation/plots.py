"""Plots of an ablation: a figure per table, and the yes/no gap against grounding.

Needs matplotlib: pip install 'stvg-core[plots]'.
"""

from pathlib import Path
from typing import Any, Final

from stvg_core.evaluation.ablation.document import AblationDocument, AblationTable
from stvg_core.evaluation.comparison.plots import TEXT_STYLE, save_figure

_PERCENT: Final = 100.0
_METRIC: Final = "m_vIoU"
_WIDTH_INCHES: Final = 4.2
_NAMES_INCHES: Final = 2.0
_ROW_INCHES: Final = 0.28
_DOTS_PER_INCH: Final = 110


def draw_plots(document: AblationDocument, folder: Path) -> tuple[Path, ...]:
    """Write a figure for every table that has scores, as PNG and SVG.

    Returns:
        The files; none where nothing was scored.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    written: list[Path] = []
    with mpl.rc_context(TEXT_STYLE):
        names = dict.fromkeys(found.name for model in document.models for found in model.tables)
        for name in names:
            tables = {
                model.model: found
                for model in document.models
                for found in model.tables
                if found.name == name and any(row.score for row in found.rows)
            }
            if tables:
                figure = _draw_table(tables)
                written += save_figure(figure, folder / f"table_{name}", f"Ablation: {name}", _DOTS_PER_INCH)
        if any(_gaps(found) for model in document.models for found in model.tables):
            figure = _draw_gaps(document)
            written += save_figure(figure, folder / "gap_and_grounding", "Yes/no gap and grounding", _DOTS_PER_INCH)
    return tuple(written)


def _draw_table(tables: dict[str, AblationTable]) -> Any:  # noqa: ANN401  # matplotlib's
    from matplotlib import pyplot

    rows = max(len(found.rows) for found in tables.values())
    size = (_NAMES_INCHES + _WIDTH_INCHES * len(tables), 1.2 + _ROW_INCHES * rows)
    figure, grid = pyplot.subplots(1, len(tables), figsize=size, layout="constrained", squeeze=False)
    for axes, (model, found) in zip(grid[0], tables.items(), strict=True):
        shown = [row for row in found.rows if row.score is not None]
        for place, row in enumerate(shown):
            estimate = (row.score or {})[_METRIC]
            color = "C0" if row.control_of is None else "0.7"
            axes.barh(place, _PERCENT * estimate.mean, color=color)
            axes.plot([_PERCENT * estimate.low, _PERCENT * estimate.high], [place, place], color="black", linewidth=1.2)
        axes.set_yticks(range(len(shown)), [row.name for row in shown], fontsize="x-small")
        axes.invert_yaxis()
        axes.set_title(model, fontsize="small")
        axes.set_xlabel(f"{_METRIC}, percent")
    return figure


def _gaps(found: AblationTable) -> list[tuple[float, float, str]]:
    """Return how much the attribute's yes - no rose, the difference of m_vIoU to the first row, and the row's name."""
    points = []
    for row in found.rows:
        before, after = (row.measures.get(f"attribute_margin_{when}") for when in ("before", "after"))
        if found.name == "steps" and before is not None and after is not None and row.difference is not None:
            points.append((after - before, _PERCENT * row.difference[_METRIC].mean, row.name))
    return points


def _draw_gaps(document: AblationDocument) -> Any:  # noqa: ANN401  # matplotlib's
    from matplotlib import pyplot
    from matplotlib.ticker import StrMethodFormatter

    figure, axes = pyplot.subplots(figsize=(7.0, 4.5), layout="constrained")
    for model in document.models:
        points = [point for found in model.tables for point in _gaps(found)]
        axes.scatter([gap for gap, _, _ in points], [change for _, change, _ in points], label=model.model, s=18)
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set_xscale("symlog")
    # Its own formatter writes mathematics, which is drawn as text here.
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("rise of yes - no of the attribute's question by the prompt")
    axes.set_ylabel(f"change of {_METRIC}, percentage points")
    axes.legend(fontsize="small")
    return figure
