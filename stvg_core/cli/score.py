"""`stvg score`: metrics of predictions that are there already; needs no model and imports no torch."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stvg_core.cli.terminal import one_line, progress
from stvg_core.errors import ScoreError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from stvg_core.metrics.score_report import Score, ScoreReport

_PERCENT = 100.0
_MOST_LINES = 20
_LONGEST_NAME = 80


def score(
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="scoring protocol: stcat, cg-stvg, ta-stvg, tubedetr, released-hcstvg, released-vidstg, organiser",
            show_default=False,
        ),
    ],
    predictions: Annotated[
        Path | None, typer.Option("--predictions", "-p", help="JSON file of predicted tubes", show_default=False)
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", "-a", help="JSON file of annotated tubes", show_default=False)
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="a run of stvg evaluate, in place of both files", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
    per_sample: Annotated[Path | None, typer.Option("--per-sample", help="CSV file with one line per sample")] = None,
    bootstrap: Annotated[
        int | None, typer.Option("--bootstrap", help="95 % confidence intervals from N resamples")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="seed of --bootstrap")] = 0,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="break down by type, length or target-size; repeatable")
    ] = None,
) -> None:
    """Score predicted tubes against annotations; exit code 1 if a sample could not be scored."""
    from stvg_core.evaluation.api import score as start
    from stvg_core.metrics.score_report import write_sample_table

    inputs = [path.resolve() for path in (predictions, annotations) if path is not None]
    if per_sample is not None and per_sample.resolve() in inputs:
        raise UsageError(f"expected another file than the inputs for --per-sample, got {per_sample}")
    with progress("stvg score"):
        report = start(
            predictions, annotations, run=run, protocol=protocol, by=by or (), bootstrap=bootstrap, seed=seed
        )
    if per_sample is not None:
        write_sample_table(report, per_sample)
    if as_json:
        # ASCII alone: no character of a foreign name can steer a terminal.
        typer.echo(json.dumps(report.document(), allow_nan=False))
    else:
        _show(report)
    _tell_problems(report)


def _tell_problems(report: "ScoreReport") -> None:
    """Print warnings and failed samples on stderr, and raise if a sample failed."""
    for warning in report.warnings:
        typer.echo(f"warning: {one_line(warning)}", err=True)
    failed = report.failed
    for result in failed[:_MOST_LINES]:
        typer.echo(f"sample {one_line(result.sample_id, _LONGEST_NAME)}: {one_line(result.problem)}", err=True)
    if len(failed) > _MOST_LINES:
        typer.echo(f"and {len(failed) - _MOST_LINES} more; --json and --per-sample tell all", err=True)
    if failed:
        raise ScoreError(
            f"expected every sample to be scored, but {len(failed)} of {len(report.results)} failed and count as 0; "
            "fix what is named with each"
        )
    if not any(result.counted for result in report.results):
        raise ScoreError(
            "expected a prediction for at least one annotated sample, got none; do both files name samples alike?"
        )


def _show(report: "ScoreReport") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    counts = report.score.counts
    counted = sum(result.counted for result in report.results)
    console.print(_score_table(report))
    console.print(
        f"mean over {counted} of {len(report.results)} samples: "
        + ", ".join(f"{count} {status}" for status, count in counts.items())
    )
    if report.bootstrap is not None:
        console.print(
            f"below each mean: {_PERCENT * report.bootstrap.confidence:g} % interval of {report.bootstrap.resamples} "
            f"bootstrap resamples, seed {report.bootstrap.seed}"
        )
    console.print()
    console.print(_rule_table(report))


def _table(title: str, *columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=bool(any(columns)), pad_edge=False
    )
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if place and column else "left")
    return table


def _score_table(report: "ScoreReport") -> "Table":
    from rich.text import Text

    from stvg_core.metrics import METRIC_NAMES

    table = _table(f"{report.protocol.name}, in percent", "samples", "n", *METRIC_NAMES)

    def add(name: str, score: "Score") -> None:
        cells = [name, str(sum(score.counts.values()))]
        for metric in METRIC_NAMES:
            cell = f"{_PERCENT * score.summary[metric]:.2f}"
            if score.intervals is not None:
                low, high = score.intervals[metric]
                cell += f"\n{_PERCENT * low:.1f} to\n{_PERCENT * high:.1f}"
            cells.append(cell)
        table.add_row(*map(Text, cells))

    add("all", report.score)
    for grouping, scores in report.groups.items():
        table.add_section()
        table.add_row(Text(f"by {grouping}", style="bold"))
        for name, score in scores.items():
            add(f" {one_line(name, _LONGEST_NAME)}", score)
    return table


def _rule_table(report: "ScoreReport") -> "Table":
    from rich.text import Text

    from stvg_core.metrics.rules import rule_texts

    table = _table(f"rules of {report.protocol.name}", "", "")
    for name, text in rule_texts(report.protocol.rules).items():
        table.add_row(Text(name), Text(text))
    for remark in report.protocol.remarks:
        table.add_row(Text("remark"), Text(remark))
    table.add_row(Text("source"), Text(report.protocol.source))
    return table
