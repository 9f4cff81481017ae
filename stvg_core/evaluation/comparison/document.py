"""The document of a comparison, schema version 1: rows with scores, differences and costs; tables of rows."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue

from stvg_core._internal.json_schema import published_schema
from stvg_core.evaluation.comparison.intervals import Estimate, RunScores, difference, estimates
from stvg_core.evaluation.comparison.rows import Source
from stvg_core.evaluation.comparison.running import RowRun
from stvg_core.evaluation.comparison.table_parts import Table, TablePart, table_part
from stvg_core.evaluation.runs.provenance import differences
from stvg_core.metrics import Bootstrap, ScoringProtocol
from stvg_core.outputs.report.document import DocumentPart
from stvg_core.settings import PROVENANCE

SCHEMA_ID = "urn:stvg:schema:comparison:1"
_SHARED = (
    ("the data set", ("dataset",)),
    ("the frames that are sampled", ("settings.sampling",)),
    ("the tracker", ("settings.tracker", "settings.tracks")),
    ("the decomposer", ("settings.decomposer",)),
)
_MOST_NAMES = 3
_LIBRARIES = ("python", "torch", "transformers")
_LOADED = ("device", "device_map", "attention", "recompute", "cuda_graphs")


class CostPart(DocumentPart):
    """What a row cost."""

    seconds_per_sample: float | None = Field(description="median wall clock; None where nothing ran")
    mean_seconds_per_sample: float | None
    device_wait_share: float | None = Field(description="share of the time that the model waited for frames")
    peak_host_bytes: int | None = Field(description="largest resident set of the row's processes")
    peak_device_bytes: int | None = Field(description="largest CUDA allocation; None without CUDA")


class RowPart(DocumentPart):
    """One model with one choice of settings."""

    name: str
    status: Literal["ok", "failed"] = Field(description="failed: the run could not start or finish; it has no samples")
    error: str = Field(description="why it failed, on one line; empty for ok")
    run: str = Field(description="run folder, relative to the comparison's")
    model: str
    preset: str | None = Field(description="the preset that was used")
    overrides: dict[str, JsonValue] = Field(description="settings that the row changes")
    configuration: dict[str, JsonValue] | None = Field(description="everything that decides the row's results")
    versions: dict[str, str] | None = Field(None, description="of what the row ran on last; None where it did not run")
    samples: dict[str, int] | None = Field(description="ok, failed, pending, left_out")
    counts: dict[str, int] | None = Field(description="scored, missing, failed; None where no truth is published")
    score: dict[str, Estimate] | None = Field(description="by metric, in 0..1")
    difference: dict[str, Estimate] | None = Field(
        description="this row minus the first, sample by sample; None for the first, and where one has no score"
    )
    by_type: dict[str, dict[str, float]] | None = Field(description="means by query type and metric")
    by_type_estimates: dict[str, dict[str, Estimate]] | None = Field(
        None, description="the same with intervals, of the types that are scored"
    )
    failures: list[dict[str, JsonValue]] = Field(description="kinds of failed samples, each with an example")
    cost: CostPart


class ComparisonDocument(DocumentPart):
    """Models and settings, compared on the same samples."""

    schema_version: Literal[1]
    dataset: dict[str, JsonValue] = Field(description="what was compared on")
    protocol: str = Field(description="whose rules the scores follow")
    bootstrap: dict[str, float] = Field(description="how intervals were drawn")
    rows: list[RowPart] = Field(min_length=1)
    differing: dict[str, list[JsonValue]] = Field(
        default_factory=dict, description="what is not the same in all rows that ran: its dotted name, a value per row"
    )
    tables: list[TablePart] = Field(default_factory=list, description="rows that are read together, with controls")
    warnings: list[str] = Field(description="what keeps rows from being compared fairly, one sentence each")


def build_comparison(
    runs: Sequence[RowRun],
    source: Source | None,
    protocol: ScoringProtocol,
    bootstrap: Bootstrap,
    tables: Sequence[Table] = (),
    out: Path | None = None,
) -> ComparisonDocument:
    """Return the document of a comparison from its rows' runs; the others are compared with the first.

    Args:
        runs: in the order of rows.
        source: the samples; None: as the first run names them.
        protocol: whose rules to apply.
        bootstrap: how to draw intervals; every row and difference by the same draws.
        tables: rows that are read together.
        out: folder of the comparison, which paths of runs are relative to.

    Raises:
        RunError: a run that has a summary cannot be read.
    """
    scores = {run.row.name: RunScores(run, protocol, bootstrap) for run in runs}
    first = scores[runs[0].row.name]
    described = [_described(run.summary) for run in runs]
    ran = [one for one in described if one]
    names = {name: None for one in ran[1:] for name, _, _ in differences(ran[0], one)}
    return ComparisonDocument(
        schema_version=1,
        dataset=_dataset(runs, source),
        protocol=protocol.name,
        bootstrap={"resamples": bootstrap.resamples, "seed": bootstrap.seed, "confidence": bootstrap.confidence},
        rows=[_row(run, scores[run.row.name], first, out) for run in runs],
        differing={name: [_value(one, name) for one in described] for name in names},
        tables=[table_part(table, scores, bootstrap) for table in tables],
        # The rows of a model's tables differ on purpose.
        warnings=_warnings([] if any(table.model for table in tables) else list(names), ran, list(scores.values()))
        + _without_controls(tables, scores),
    )


def dump_comparison(document: ComparisonDocument) -> str:
    """Return a comparison as JSON text, indented; ASCII alone."""
    return json.dumps(document.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"


def schema_text() -> str:
    """Return the JSON schema (draft 2020-12) of a comparison, as docs/schema holds it."""
    schema = ComparisonDocument.model_json_schema(mode="serialization")
    return published_schema(schema, SCHEMA_ID, "Result of stvg compare")


def _dataset(runs: Sequence[RowRun], source: Source | None) -> dict[str, Any]:
    if source is not None:
        return {"name": source.dataset, "root": str(source.root), "split": source.split, "limit": source.limit}
    summary = next((run.summary for run in runs if run.summary), {})
    dataset = _value(summary.get("configuration") or {}, "dataset") or {}
    return {"name": _value(dataset, "name"), "split": _value(dataset, "split"), **summary.get("selection", {})}


def _row(run: RowRun, scores: RunScores, first: RunScores, out: Path | None) -> RowPart:
    summary = run.summary or {}
    configuration, report, values = summary.get("configuration"), scores.report, scores.values
    compared = None
    if values is not None and first.values is not None and scores is not first:
        compared = difference(values, first.values, scores.bootstrap)
    return RowPart(
        name=run.row.name,
        status="failed" if run.summary is None else "ok",
        error=run.error,
        run=f"{run.run.parent.name}/{run.run.name}" if out is None else Path(os.path.relpath(run.run, out)).as_posix(),
        model=run.row.spec.model,
        preset=run.row.spec.preset if configuration is None else _text(_value(configuration, "settings.preset")),
        overrides=dict(run.row.spec.overrides),
        configuration=configuration,
        versions=_versions(summary),
        samples=summary.get("samples"),
        counts=None if report is None else report.score.counts,
        score=None if values is None else estimates(values, scores.bootstrap),
        difference=compared,
        by_type=None if report is None else {name: score.summary for name, score in report.groups["type"].items()},
        by_type_estimates=None if report is None else scores.by_type(),
        failures=summary.get("failures", []),
        cost=_cost(summary),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _described(summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what may differ between rows: the configuration, how the model was loaded, and versions of libraries."""
    if not summary or not summary.get("configuration"):
        return {}
    configuration, sessions = dict(summary["configuration"]), summary.get("sessions") or [{}]
    versions = _versions(summary) or {}
    settings = {name: value for name, value in configuration["settings"].items() if name not in PROVENANCE[1:]}
    return configuration | {
        "settings": settings,
        "load": {name: sessions[-1].get(name) for name in _LOADED},
        "versions": {name: versions.get(name) for name in _LIBRARIES},
    }


def _value(values: Any, name: str) -> Any:  # noqa: ANN401  # JSON
    """Return what lies under a dotted name; None where nothing does."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _versions(summary: Mapping[str, Any]) -> dict[str, str] | None:
    sessions = summary.get("sessions")
    versions = sessions[-1].get("versions") if sessions else None
    return {str(name): str(number) for name, number in versions.items()} if isinstance(versions, dict) else None


def _cost(summary: Mapping[str, Any]) -> CostPart:
    seconds = summary.get("seconds_per_sample") or {}

    def largest(name: str) -> int | None:
        return max((session[name] for session in summary.get("sessions", ()) if session.get(name)), default=None)

    return CostPart(
        seconds_per_sample=seconds.get("median"),
        mean_seconds_per_sample=seconds.get("mean"),
        device_wait_share=summary.get("device_wait_share"),
        peak_host_bytes=largest("peak_host_bytes"),
        peak_device_bytes=largest("peak_device_bytes"),
    )


def _warnings(names: Sequence[str], ran: Sequence[Mapping[str, Any]], scores: Sequence[RunScores]) -> list[str]:
    """Return a sentence for each thing that rows should share and do not."""
    warnings = [
        f"rows differ in {what}: differences between them are not the model's alone"
        for what, prefixes in _SHARED
        if any(name == prefix or name.startswith(f"{prefix}.") for name in names for prefix in prefixes)
    ]
    for library in _LIBRARIES:
        versions = sorted({str(number) for one in ran if (number := _value(one, f"versions.{library}"))})
        if len(versions) > 1:
            warnings.append(f"rows ran under {library} {' and '.join(versions)}: a difference may be the library's")
    samples = [set(one.values) for one in scores if one.values]
    if any(one != samples[0] for one in samples):
        common = len(set.intersection(*samples))
        warnings.append(
            f"rows are not scored on the same samples: {common} are in all; differences are of those in both"
        )
    return warnings


def _without_controls(tables: Sequence[Table], scores: Mapping[str, RunScores]) -> list[str]:
    """Return a sentence if a table has rows with controls whose runs cannot have any."""
    names = dict.fromkeys(row.row for table in tables for row in table.rows if row.controls)
    missing = [name for name in names if scores[name].run.summary is not None and not scores[name].controls]
    if not missing:
        return []
    more = f" and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
    shown = ", ".join(missing[:_MOST_NAMES])
    return [f"no controls for {shown}{more}: expected runs with ground truth and --keep-maps, without windows"]
