"""A comparison as Markdown for people and as a CSV file for programs."""

import csv
import io
import json
from collections.abc import Mapping

from stvg_core._internal.plain_text import one_line
from stvg_core.evaluation.comparison.document import ComparisonDocument, RowPart
from stvg_core.evaluation.comparison.intervals import Estimate
from stvg_core.evaluation.comparison.table_parts import TablePart, TableRowPart
from stvg_core.metrics import METRIC_NAMES

_PERCENT = 100.0
_MEBIBYTE = 2**20
_UNKNOWN = "-"
_LONGEST_ERROR = 300
_LONGEST_VALUE = 60
_MOST_DIFFERING = 20
_MAIN = "m_vIoU"
_MEASURES = {
    "attribute_points": ("attribute points", "{:.2f}"),
    "action_points": ("action points", "{:.2f}"),
    "peak_frame_inside": ("peak frame inside", "{:.2f}"),
    "attribute_margin_before": ("yes - no before", "{:+.2f}"),
    "attribute_margin_after": ("yes - no after", "{:+.2f}"),
    "prompt_norm": ("prompt norm", "{:.4f}"),
    "span_frames": ("frames in span", "{:.1f}"),
}


def markdown(document: ComparisonDocument) -> str:
    """Return a comparison as Markdown: quality, differences, cost, tables with controls, failures, notes."""
    resamples, confidence = int(document.bootstrap["resamples"]), document.bootstrap["confidence"]
    about = {"data set" if name == "name" else name: value for name, value in document.dataset.items()}
    scope = ", ".join(f"{name} {value}" for name, value in about.items() if value is not None)
    lines = [
        "# Comparison",
        "",
        f"Samples: {cell(scope)}. Scores in percent by the rules of `{document.protocol}`.",
        "",
    ]
    lines += table(
        ["", *METRIC_NAMES, "samples", "failed", "s a sample", "host MiB", "device MiB"],
        [_quality(row) for row in document.rows],
    )
    lines += [
        "",
        f"In brackets the {_PERCENT * confidence:g} % interval of {resamples} bootstrap resamples. "
        "A sample that failed counts as 0. s a sample: median wall clock.",
    ]
    later = [row for row in document.rows if row.difference is not None]
    if later:
        lines += ["", f"## Against {cell(document.rows[0].name)}", ""]
        lines += table(
            ["", *METRIC_NAMES],
            [[cell(row.name), *(_signed(row.difference, name) for name in METRIC_NAMES)] for row in later],
        )
        lines += ["", "Differences are paired by sample; * marks an interval without 0."]
    # The rows of tables say themselves in what they differ.
    lines += [] if document.tables else _differing(document)
    for part in document.tables:
        lines += ["", f"## {cell(': '.join(filter(None, (part.model, part.title))))}", "", *_table_part(part)]
    failures = [
        f"- {cell(row.name)}: {text}"
        for row in document.rows
        for text in (
            *([cell(one_line(row.error, _LONGEST_ERROR))] if row.error else []),
            *(
                f"{failure['count']} x {cell(str(failure['kind']))}, such as {cell(str(failure['sample']))}: "
                f"{cell(one_line(str(failure.get('error', '')), _LONGEST_ERROR))}"
                for failure in row.failures
            ),
        )
    ]
    if failures:
        lines += ["", "## Failures", "", *failures]
    if document.warnings:
        lines += ["", "## To be kept in mind", "", *(f"- {cell(warning)}" for warning in document.warnings)]
    return "\n".join(lines) + "\n"


def _differing(document: ComparisonDocument) -> list[str]:
    """Return what is not the same in all rows."""
    if not document.differing:
        return []
    rows = [
        [cell(name), *(cell(one_line(json.dumps(value), _LONGEST_VALUE)) for value in values)]
        for name, values in list(document.differing.items())[:_MOST_DIFFERING]
    ]
    count = len(document.differing) - _MOST_DIFFERING
    more = ["", f"{count} more: comparison.json."] if count > 0 else []
    return ["", "## What differs", "", *table(["", *(cell(row.name) for row in document.rows)], rows), *more]


def _table_part(part: TablePart) -> list[str]:
    head = ["", *METRIC_NAMES, f"{_MAIN} against the first", f"{_MAIN} against the row before", "samples", "s a sample"]
    rows = [
        [
            _name(row),
            *(
                _interval(row, name) if name == _MAIN else _percent((row.score or {}).get(name))
                for name in METRIC_NAMES
            ),
            _signed(row.difference, _MAIN),
            _signed(row.step, _MAIN),
            str(row.samples),
            _formatted(row.seconds, "{:.3f}"),
        ]
        for row in part.rows
    ]
    lines = table(head, rows)
    own = [row for row in part.rows if row.control_of is None]
    measures = {name: shown for name, shown in _MEASURES.items() if any(name in row.measures for row in own)}
    if measures:
        shown = [
            [_name(row), *(_formatted(row.measures.get(name), form) for name, (_, form) in measures.items())]
            for row in own
        ]
        lines += ["", *table(["", *(title for title, _ in measures.values())], shown)]
    return [*lines, *_checks(part, own)]


def _checks(part: TablePart, own: list[TableRowPart]) -> list[str]:
    """Return a ladder's m_vIoU on each group of samples, and what its last row is better than."""
    if not part.checks:
        return []
    groups = list(dict.fromkeys(group for row in own for group in row.by_group))
    sizes = [max(row.by_group.get(group, {}).get("samples", 0) for row in own) for group in groups]
    head = [_MAIN, *(f"{cell(group)} ({size:.0f})" for group, size in zip(groups, sizes, strict=True))]
    means = [[_name(row), *(_percent(row.by_group.get(group, {}).get(_MAIN)) for group in groups)] for row in own]
    claimed = list(dict.fromkeys(check.group for check in part.checks))
    claims = {
        (check.than, check.group): f"{_signed({_MAIN: check.difference}, _MAIN)} "
        f"{'holds' if check.holds else 'does not'}"
        for check in part.checks
    }
    rows = [
        [cell(than), *(claims.get((than, group), _UNKNOWN) for group in claimed)]
        for than in dict.fromkeys(check.than for check in part.checks)
    ]
    better = [f"{cell(part.checks[0].better)} is better than", *map(cell, claimed)]
    return ["", *table(head, means), "", *table(better, rows)]


def csv_table(document: ComparisonDocument) -> str:
    """Return a comparison as comma-separated values, a line per row; means in 0..1."""
    rows = []
    for row in document.rows:
        cells: dict[str, object] = {name: getattr(row, name) for name in ("name", "status", "error", "model", "preset")}
        cells |= {name: (row.samples or {}).get(name) for name in ("ok", "failed")}
        for metric in METRIC_NAMES:
            for kind, estimates in (("", row.score), ("_difference", row.difference)):
                estimate = (estimates or {}).get(metric)
                for bound, ending in (("mean", ""), ("low", "_low"), ("high", "_high")):
                    cells[f"{metric}{kind}{ending}"] = getattr(estimate, bound, None)
        rows.append(cells | row.cost.model_dump())
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _quality(row: RowPart) -> list[str]:
    samples, cost = row.samples or {}, row.cost
    return [
        cell(row.name) if row.status == "ok" else f"{cell(row.name)} (did not run)",
        *(_interval(row, name) for name in METRIC_NAMES),
        str(samples.get("ok", 0) + samples.get("failed", 0)) if samples else _UNKNOWN,
        str(samples.get("failed", _UNKNOWN)),
        _formatted(cost.seconds_per_sample, "{:.2f}"),
        *(_formatted(size and size / _MEBIBYTE, "{:.0f}") for size in (cost.peak_host_bytes, cost.peak_device_bytes)),
    ]


def _name(row: TableRowPart) -> str:
    return cell(row.name) if row.control_of is None else f"_{cell(row.name)}_"


def _formatted(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else form.format(value)


def _percent(value: Estimate | float | None) -> str:
    mean = value.mean if isinstance(value, Estimate) else value
    return _formatted(mean and _PERCENT * mean, "{:.1f}")


def _interval(row: RowPart | TableRowPart, metric: str) -> str:
    if row.score is None:
        return _UNKNOWN
    estimate = row.score[metric]
    return f"{_PERCENT * estimate.mean:.1f} [{_PERCENT * estimate.low:.1f}, {_PERCENT * estimate.high:.1f}]"


def _signed(differences: Mapping[str, Estimate] | None, metric: str) -> str:
    """Return a difference with its interval, marked where the interval is without 0."""
    if differences is None:
        return ""
    estimate = differences[metric]
    mark = "" if estimate.low <= 0 <= estimate.high else " *"
    return f"{_PERCENT * estimate.mean:+.1f} [{_PERCENT * estimate.low:+.1f}, {_PERCENT * estimate.high:+.1f}]{mark}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return a Markdown table as lines; its cells must be harmless already."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]


def cell(text: str) -> str:
    """Return text as it may stand in a Markdown table: on one line, no markup of its own."""
    escaped = one_line(text)
    for sign in "\\`*_[]<>|#":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
