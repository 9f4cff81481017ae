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
    failed = [row for row in document.rows if row.status == "failed" or row.failures]
    if failed:
        lines += ["", "## Failures", ""]
        for row in failed:
            if row.error:
                lines.append(f"- {cell(row.name)}: {cell(one_line(row.error, _LONGEST_ERROR))}")
            for failure in row.failures:
                example = one_line(str(failure.get("error", "")), _LONGEST_ERROR)
                lines.append(
                    f"- {cell(row.name)}: {failure['count']} x {cell(str(failure['kind']))}, such as "
                    f"{cell(str(failure['sample']))}: {cell(example)}"
                )
    if document.warnings:
        lines += ["", "## To be kept in mind", "", *(f"- {cell(warning)}" for warning in document.warnings)]
    return "\n".join(lines) + "\n"


def _differing(document: ComparisonDocument) -> list[str]:
    """Return what is not the same in all rows."""
    names = list(document.differing)
    if not names:
        return []
    rows = [
        [cell(name), *(cell(one_line(json.dumps(value), _LONGEST_VALUE)) for value in document.differing[name])]
        for name in names[:_MOST_DIFFERING]
    ]
    more = [] if len(names) <= _MOST_DIFFERING else ["", f"{len(names) - _MOST_DIFFERING} more: comparison.json."]
    return ["", "## What differs", "", *table(["", *(cell(row.name) for row in document.rows)], rows), *more]


def _table_part(part: TablePart) -> list[str]:
    head = ["", *METRIC_NAMES, f"{_MAIN} against the first", f"{_MAIN} against the row before", "samples", "s a sample"]
    rows = [
        [
            _name(row),
            *(_interval(row, name) if name == _MAIN else _mean(row, name) for name in METRIC_NAMES),
            _signed(row.difference, _MAIN),
            _signed(row.step, _MAIN),
            str(row.samples),
            _UNKNOWN if row.seconds is None else f"{row.seconds:.3f}",
        ]
        for row in part.rows
    ]
    lines = table(head, rows)
    own = [row for row in part.rows if row.control_of is None]
    measures = [name for name in _MEASURES if any(name in row.measures for row in own)]
    if measures:
        shown = [
            [
                _name(row),
                *(
                    _MEASURES[name][1].format(row.measures[name]) if name in row.measures else _UNKNOWN
                    for name in measures
                ),
            ]
            for row in own
        ]
        lines += ["", *table(["", *(_MEASURES[name][0] for name in measures)], shown)]
    return [*lines, *_checks(part, own)]


def _checks(part: TablePart, own: list[TableRowPart]) -> list[str]:
    """Return a ladder's m_vIoU on each group of samples, and what its last row is better than."""
    if not part.checks:
        return []
    groups = list(dict.fromkeys(group for row in own for group in row.by_group))
    sizes = [max(row.by_group.get(group, {}).get("samples", 0) for row in own) for group in groups]
    means = [
        [
            _name(row),
            *(
                f"{_PERCENT * row.by_group[group][_MAIN]:.1f}" if group in row.by_group else _UNKNOWN
                for group in groups
            ),
        ]
        for row in own
    ]
    claimed = list(dict.fromkeys(check.group for check in part.checks))
    claims = {(check.than, check.group): check for check in part.checks}

    def claim(than: str, group: str) -> str:
        check = claims.get((than, group))
        if check is None:
            return _UNKNOWN
        return f"{_signed({_MAIN: check.difference}, _MAIN)} {'holds' if check.holds else 'does not'}"

    rows = [
        [cell(than), *(claim(than, group) for group in claimed)]
        for than in dict.fromkeys(check.than for check in part.checks)
    ]
    return [
        "",
        *table([_MAIN, *(f"{cell(group)} ({size:.0f})" for group, size in zip(groups, sizes, strict=True))], means),
        "",
        *table([f"{cell(part.checks[0].better)} is better than", *map(cell, claimed)], rows),
    ]


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
    samples = row.samples or {}
    cost = row.cost
    return [
        cell(row.name) if row.status == "ok" else f"{cell(row.name)} (did not run)",
        *(_interval(row, name) for name in METRIC_NAMES),
        str(samples.get("ok", 0) + samples.get("failed", 0)) if samples else _UNKNOWN,
        str(samples.get("failed", _UNKNOWN)),
        _UNKNOWN if cost.seconds_per_sample is None else f"{cost.seconds_per_sample:.2f}",
        *(
            _UNKNOWN if size is None else f"{size / _MEBIBYTE:.0f}"
            for size in (cost.peak_host_bytes, cost.peak_device_bytes)
        ),
    ]


def _name(row: TableRowPart) -> str:
    return cell(row.name) if row.control_of is None else f"_{cell(row.name)}_"


def _mean(row: RowPart | TableRowPart, metric: str) -> str:
    return _UNKNOWN if row.score is None else f"{_PERCENT * row.score[metric].mean:.1f}"


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
