"""A comparison as a Markdown table for people and a CSV file for programs."""

import csv
import io

from stvg_core._internal.plain_text import one_line
from stvg_core.evaluation.comparison.document import ComparisonDocument, Estimate, RowPart
from stvg_core.metrics import METRIC_NAMES

_PERCENT = 100.0
_MEBIBYTE = 2**20
_UNKNOWN = "-"
_LONGEST_ERROR = 300


def markdown(document: ComparisonDocument) -> str:
    """Return a comparison as Markdown: quality, differences from the first row, cost, failures, reading notes."""
    resamples, confidence = int(document.bootstrap["resamples"]), document.bootstrap["confidence"]
    scope = ", ".join(f"{name} {value}" for name, value in document.dataset.items() if value is not None)
    lines = [
        "# Comparison",
        "",
        f"Samples of {cell(scope)}. Scores in percent by the rules of `{document.protocol}`.",
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
            [[cell(row.name), *(_signed(row, name) for name in METRIC_NAMES)] for row in later],
        )
        lines += ["", "Differences sample by sample, drawn again together: an interval without 0 is a difference."]
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


def csv_table(document: ComparisonDocument) -> str:
    """Return a comparison as comma-separated values, a line per row; means in 0..1."""
    stream = io.StringIO()
    columns = ["name", "status", "error", "model", "preset", "ok", "failed"]
    for metric in METRIC_NAMES:
        columns += [metric, f"{metric}_low", f"{metric}_high"]
        columns += [f"{metric}_difference", f"{metric}_difference_low", f"{metric}_difference_high"]
    columns += list(type(document.rows[0].cost).model_fields)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in document.rows:
        samples = row.samples or {}
        cells: list[object] = [
            row.name,
            row.status,
            row.error,
            row.model,
            row.preset,
            samples.get("ok"),
            samples.get("failed"),
        ]
        for metric in METRIC_NAMES:
            for estimates in (row.score, row.difference):
                found = (estimates or {}).get(metric)
                cells += ["", "", ""] if found is None else [found.mean, found.low, found.high]
        writer.writerow([*cells, *row.cost.model_dump().values()])
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


def _interval(row: RowPart, metric: str) -> str:
    if row.score is None:
        return _UNKNOWN
    found = row.score[metric]
    return f"{_PERCENT * found.mean:.1f} [{_PERCENT * found.low:.1f}, {_PERCENT * found.high:.1f}]"


def _signed(row: RowPart, metric: str) -> str:
    found: Estimate = (row.difference or {})[metric]
    mark = "" if found.low <= 0 <= found.high else " *"
    return f"{_PERCENT * found.mean:+.1f} [{_PERCENT * found.low:+.1f}, {_PERCENT * found.high:+.1f}]{mark}"


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
