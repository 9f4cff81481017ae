"""An ablation as Markdown tables."""

from collections.abc import Sequence
from typing import Final

from stvg_core._internal.plain_text import one_line
from stvg_core.evaluation.ablation.document import AblationDocument, AblationModel, AblationRow, AblationTable
from stvg_core.evaluation.comparison.document import Estimate
from stvg_core.evaluation.comparison.tables import cell, table
from stvg_core.metrics import METRIC_NAMES

_PERCENT: Final = 100.0
_UNKNOWN: Final = "-"
_LONGEST_ERROR: Final = 300
_WITH_INTERVAL: Final = "m_vIoU"
_MEASURES: Final = {
    "attribute_points": ("attribute points", "{:.2f}"),
    "action_points": ("action points", "{:.2f}"),
    "peak_frame_inside": ("peak frame inside", "{:.2f}"),
    "consistency": ("S_cons", "{:.2f}"),
    "span_frames": ("frames in span", "{:.1f}"),
    "attribute_margin_before": ("attribute yes - no before", "{:+.2f}"),
    "attribute_margin_after": ("after", "{:+.2f}"),
    "action_margin_before": ("action yes - no before", "{:+.2f}"),
    "action_margin_after": ("after", "{:+.2f}"),
    "prompt_norm": ("prompt norm", "{:.3f}"),
}


def markdown(document: AblationDocument) -> str:
    """Return an ablation as Markdown: for each model its tables, what was measured beside them, and its checks."""
    bootstrap = document.bootstrap
    lines = [
        "# Ablation",
        "",
        f"Samples of {cell(', '.join(f'{name} {value}' for name, value in document.source.items()))}. Scores in percent"
        f" by the rules of `{document.protocol}`. In brackets {_PERCENT * bootstrap['confidence']:g} % intervals of "
        f"{int(bootstrap['resamples'])} bootstrap resamples over samples; differences are paired, and an interval "
        "without 0 is marked *. A sample that failed counts as 0.",
    ]
    if document.commits:
        lines += ["", f"Made by commit {', '.join(map(cell, document.commits))}."]
    if len(document.models) > 1:
        lines += ["", "## Side by side", "", f"{_WITH_INTERVAL}, and its difference to the table's first row."]
        lines += side_by_side(document.models)
    for model in document.models:
        lines += ["", f"## {cell(model.model)}", *_model(model)]
    return "\n".join(lines) + "\n"


def side_by_side(models: Sequence[AblationModel]) -> list[str]:
    """Return each table once, with a column per model; rows that a model does not have are empty."""
    lines = []
    for name in dict.fromkeys(found.name for model in models for found in model.tables):
        found = [next((table for table in model.tables if table.name == name), None) for model in models]
        keys = dict.fromkeys((row.name, row.control_of) for own in found if own is not None for row in own.rows)
        rows = []
        for key in keys:
            same = [
                next((row for row in own.rows if (row.name, row.control_of) == key), None) if own is not None else None
                for own in found
            ]
            first = next(row for row in same if row is not None)
            rows.append([_name(first), *("" if row is None else _mean_and_difference(row) for row in same)])
        title = next(own.title for own in found if own is not None)
        lines += ["", f"### {cell(title)}", "", *table(["", *(cell(model.model) for model in models)], rows)]
    return lines


def _mean_and_difference(row: AblationRow) -> str:
    if row.score is None:
        return _UNKNOWN
    mean = f"{_PERCENT * row.score[_WITH_INTERVAL].mean:.1f}"
    return f"{mean}, {signed(row.difference)}" if row.difference is not None else mean


def _model(model: AblationModel) -> list[str]:
    lines = ["", f"It ended early: {cell(one_line(model.error, _LONGEST_ERROR))}"] if model.error else []
    for found in model.tables:
        lines += ["", f"### {cell(found.title)}", "", *_quality(found), *_measures(found)]
        lines += [*_by_group(found), *_checks(found)]
        failures = [row for row in found.rows if row.failed]
        lines += [
            f"\n{cell(row.name)}: {row.failed} failed, such as: {cell(one_line(row.error, _LONGEST_ERROR))}"
            for row in failures
        ]
    return lines


def _quality(found: AblationTable) -> list[str]:
    # In the others rows do not build on one another; here the second objective is held against the first.
    stepped = found.name.startswith("ladder") or found.name == "objective"
    head = ["", *METRIC_NAMES, f"{_WITH_INTERVAL} against the first"]
    head += [f"{_WITH_INTERVAL} against the row before"] if stepped else []
    rows = []
    for row in found.rows:
        cells = [_name(row), *(_score(row, metric) for metric in METRIC_NAMES), signed(row.difference)]
        cells += [signed(row.step)] if stepped else []
        rows.append([*cells, str(row.samples), _UNKNOWN if row.seconds is None else f"{row.seconds:.3f}"])
    return table([*head, "samples", "s a sample"], rows)


def _measures(found: AblationTable) -> list[str]:
    names = [name for name in _MEASURES if any(name in row.measures for row in found.rows)]
    if not names:
        return []
    rows = [
        [
            _name(row),
            *(_MEASURES[name][1].format(row.measures[name]) if name in row.measures else _UNKNOWN for name in names),
        ]
        for row in found.rows
        if row.control_of is None
    ]
    return ["", *table(["", *(_MEASURES[name][0] for name in names)], rows)]


def _by_group(found: AblationTable) -> list[str]:
    """Return a ladder's m_vIoU on each group of samples."""
    if not found.checks:
        return []
    variants = [row for row in found.rows if row.control_of is None]
    groups = list(dict.fromkeys(group for row in variants for group in row.by_group))
    head = [
        f"{cell(group)} ({max(row.by_group.get(group, {}).get('samples', 0) for row in variants):.0f})"
        for group in groups
    ]
    rows = [
        [
            _name(row),
            *(
                f"{_PERCENT * row.by_group[group][_WITH_INTERVAL]:.1f}" if group in row.by_group else _UNKNOWN
                for group in groups
            ),
        ]
        for row in variants
    ]
    return ["", *table([_WITH_INTERVAL, *head], rows)]


def _checks(found: AblationTable) -> list[str]:
    if not found.checks:
        return []
    groups = list(dict.fromkeys(check.group for check in found.checks))
    claims = {(check.than, check.group): check for check in found.checks}
    rows = [
        [
            cell(than),
            *(
                f"{_signed(check.difference)} {'holds' if check.holds else 'does not'}"
                if (check := claims.get((than, group))) is not None
                else _UNKNOWN
                for group in groups
            ),
        ]
        for than in dict.fromkeys(check.than for check in found.checks)
    ]
    return ["", *table([f"{cell(found.checks[0].better)} is better than", *map(cell, groups)], rows)]


def _name(row: AblationRow) -> str:
    return cell(row.name) if row.control_of is None else f"_{cell(row.name)}_"


def _score(row: AblationRow, metric: str) -> str:
    if row.score is None:
        return _UNKNOWN
    found = row.score[metric]
    mean = f"{_PERCENT * found.mean:.1f}"
    if metric != _WITH_INTERVAL:
        return mean
    return f"{mean} [{_PERCENT * found.low:.1f}, {_PERCENT * found.high:.1f}]"


def signed(differences: dict[str, Estimate] | None) -> str:
    """Return the difference of m_vIoU with its interval, marked where the interval is without 0."""
    return "" if differences is None else _signed(differences[_WITH_INTERVAL])


def _signed(found: Estimate) -> str:
    mark = "" if found.low <= 0 <= found.high else " *"
    return f"{_PERCENT * found.mean:+.1f} [{_PERCENT * found.low:+.1f}, {_PERCENT * found.high:+.1f}]{mark}"
