"""Tables of a comparison: rows that are read together, with controls, differences, groups of samples and checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import Field

from stvg_core.evaluation.comparison.controls import BEST_TRACK, BEST_TRACK_TRUE_SPAN, Values
from stvg_core.evaluation.comparison.intervals import Estimate, RunScores, difference, estimates
from stvg_core.metrics import METRIC_NAMES, Bootstrap
from stvg_core.outputs.report.document import DocumentPart

ALL: Final = "all"
RIGHT_AT_FIRST: Final = "right track in the first row"
WRONG_AT_FIRST: Final = "wrong track in the first row"
LEAST_SURE: Final = "attribute least sure"
BETWEEN: Final = "attribute between"
MOST_SURE: Final = "attribute most sure"
_MARGIN: Final = "attribute_margin_before"
_RIGHT: Final = 0.5
"""gt_vIoU above which a track is the right one."""
_COMPARED: Final = "m_vIoU"
_LADDER: Final = "ladder"


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        name: in this table.
        row: name of the comparison's row whose run it is.
        controls: controls that share its attention maps and tracks stand beside it.
    """

    name: str
    row: str
    controls: bool = False


@dataclass(frozen=True)
class Table:
    """Rows that are read together; the first is what the others are compared with.

    Attributes:
        name: short; of one that begins with "ladder", each row is compared with the one before, and the last one with
            every control.
        title: what it asks.
        rows: of one model, or of several.
        model: whose rows they are; empty: of several.
    """

    name: str
    title: str
    rows: tuple[TableRow, ...]
    model: str = ""


class TableRowPart(DocumentPart):
    """A row of a table, or a control beside one."""

    name: str
    row: str = Field(description="name of the comparison's row whose run it is, or whose maps and tracks it shares")
    control_of: str | None = Field(description="the table's row whose maps and tracks this control shares")
    samples: int = Field(description="scored samples, failed ones included")
    failed: int | None = Field(description="samples that failed; they count as 0")
    score: dict[str, Estimate] | None = Field(description="by metric, in 0..1")
    difference: dict[str, Estimate] | None = Field(description="this row minus the table's first, sample by sample")
    step: dict[str, Estimate] | None = Field(description="this row minus the one before it, sample by sample")
    by_group: dict[str, dict[str, float]] = Field(
        description="samples and mean metrics by query type; of samples on which the first row's track is right "
        "(gt_vIoU above .5), or wrong; and of thirds by the margin of the attribute's question before any prompt"
    )
    measures: dict[str, float] = Field(description="means over the samples that have them (docs/ablate.md)")
    seconds: float | None = Field(description="median per sample")
    error: str = Field(description="why the run or one sample failed, on one line; empty where none did")


class CheckPart(DocumentPart):
    """A claim about a ladder: its last row is better than another, in m_vIoU."""

    better: str
    than: str
    group: str = Field(description="samples it is about; all: every sample")
    samples: int
    difference: Estimate
    holds: bool = Field(description="the lower bound of the interval is above 0")


class TablePart(DocumentPart):
    """Rows that are read together."""

    model: str
    name: str
    title: str
    rows: list[TableRowPart]
    checks: list[CheckPart]


def table_part(table: Table, scores: Mapping[str, RunScores], bootstrap: Bootstrap) -> TablePart:
    """Return a table of the document from the scores of every row of the comparison, by name."""
    groups = _groups([scores[row.row] for row in table.rows])
    first = scores[table.rows[0].row].values if table.rows else None
    previous: Values | None = None
    parts: list[TableRowPart] = []
    for row in table.rows:
        own = scores[row.row]
        values, summary = own.values or {}, own.run.summary or {}
        failures = summary.get("failures") or []
        part = TableRowPart(
            name=row.name,
            row=row.row,
            control_of=None,
            failed=None if own.report is None else own.report.score.counts["failed"],
            measures={name: float(np.mean(list(by_sample.values()))) for name, by_sample in own.measures.items()},
            seconds=(summary.get("seconds_per_sample") or {}).get("median"),
            error=own.run.error or (str(failures[0].get("error", "")) if failures else ""),
            **_compared(values, first if parts else None, previous, groups, bootstrap),
        )
        parts.append(part)
        previous = values
        for name, control in own.controls.items() if row.controls else ():
            update: dict[str, Any] = {"name": name, "control_of": row.name, "measures": {}, "seconds": None}
            parts.append(part.model_copy(update=update | _compared(control, first, None, groups, bootstrap)))
    checks = _checks(table, scores, groups, bootstrap) if table.name.startswith(_LADDER) and table.rows else []
    return TablePart(model=table.model, name=table.name, title=table.title, rows=parts, checks=checks)


def _compared(
    values: Values,
    first: Values | None,
    previous: Values | None,
    groups: Mapping[str, Sequence[str]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    return {
        "samples": len(values),
        "score": estimates(values, bootstrap),
        "difference": None if first is None else difference(values, first, bootstrap),
        "step": None if previous is None else difference(values, previous, bootstrap),
        "by_group": _by_group(values, groups),
    }


def _by_group(values: Values, groups: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    group_means = {}
    for group, names in groups.items():
        part = [values[name] for name in names if name in values]
        if part:
            means = np.mean(part, axis=0).tolist()
            group_means[group] = {"samples": float(len(part)), **dict(zip(METRIC_NAMES, means, strict=True))}
    return group_means


def _groups(rows: Sequence[RunScores]) -> dict[str, list[str]]:
    """Return the samples of each group: what a later row fixes stands under "wrong", what it harms under "right"."""
    groups: dict[str, list[str]] = {}
    if not rows or rows[0].report is None or rows[0].values is None:
        return groups
    for result in rows[0].report.results:
        if result.truth is not None and result.truth.query_type:
            groups.setdefault(result.truth.query_type, []).append(result.sample_id)
    right = METRIC_NAMES.index("gt_vIoU")
    for name, values in rows[0].values.items():
        groups.setdefault(RIGHT_AT_FIRST if values[right] > _RIGHT else WRONG_AT_FIRST, []).append(name)
    margins = next((row.measures[_MARGIN] for row in rows if _MARGIN in row.measures), {})
    parts = np.array_split(sorted(margins, key=lambda name: margins[name]), 3)
    named = zip((LEAST_SURE, BETWEEN, MOST_SURE), parts, strict=True)
    return groups | {group: part.tolist() for group, part in named if len(part)}


def _checks(
    table: Table, scores: Mapping[str, RunScores], groups: Mapping[str, Sequence[str]], bootstrap: Bootstrap
) -> list[CheckPart]:
    """Return whether the last row of a ladder is better than its first, and than each control of its own."""
    first, last = table.rows[0], table.rows[-1]
    values = scores[last.row].values or {}
    others = {first.name: scores[first.row].values or {}}
    if last.controls:
        bounds = (BEST_TRACK, BEST_TRACK_TRUE_SPAN)
        others |= {name: control for name, control in scores[last.row].controls.items() if name not in bounds}
    checks = []
    for than, other in others.items():
        for group, members in {ALL: list(values), **groups}.items():
            part = {name: values[name] for name in members if name in values and name in other}
            paired = difference(part, other, bootstrap)
            if paired is not None:
                compared = paired[_COMPARED]
                about = {"better": last.name, "than": than, "group": group, "samples": len(part)}
                checks.append(CheckPart(**about, difference=compared, holds=compared.low > 0))
    return checks
