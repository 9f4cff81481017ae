"""The document of a comparison, schema version 1: rows with scores, differences and costs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from stvg_core._internal.json_schema import published_schema
from stvg_core.evaluation.comparison.running import RowRun
from stvg_core.evaluation.comparison.source import Source
from stvg_core.evaluation.runs.scoring import score_run
from stvg_core.metrics import METRIC_NAMES, Bootstrap, ScoringProtocol, bootstrap_intervals
from stvg_core.metrics.score_report import ScoreReport
from stvg_core.metrics.summary import SampleResult, group_results, metric_values

SCHEMA_ID = "urn:stvg:schema:comparison:1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Part):
    """A mean over samples with its bootstrap interval."""

    mean: float
    low: float = Field(description="lower bound of the interval")
    high: float = Field(description="upper bound of the interval")


class CostPart(_Part):
    """What a row cost."""

    seconds_per_sample: float | None = Field(description="median wall clock; None where nothing ran")
    mean_seconds_per_sample: float | None
    device_wait_share: float | None = Field(description="share of the time that the model waited for pictures")
    peak_host_bytes: int | None = Field(description="largest resident set of the row's processes")
    peak_device_bytes: int | None = Field(description="largest CUDA allocation; None without CUDA")


class RowPart(_Part):
    """One model with one choice of settings."""

    name: str
    status: Literal["ok", "failed"] = Field(description="failed: the run could not start or go on; samples have none")
    error: str = Field(description="why it failed, on one line; empty for ok")
    run: str = Field(description="run folder, relative to the comparison's")
    model: str
    preset: str | None = Field(description="the preset that was used")
    overrides: dict[str, JsonValue] = Field(description="settings that the row changes")
    configuration: dict[str, JsonValue] | None = Field(description="everything that decides the row's results")
    versions: dict[str, str] | None = Field(None, description="of what the row ran on last; None where it did not run")
    environment: list[str] | None = Field(
        None, description="requirements that the row's own environment was made from (--isolate); None without one"
    )
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


class ComparisonDocument(_Part):
    """Models and settings, compared on the same samples."""

    schema_version: Literal[1]
    dataset: dict[str, JsonValue] = Field(description="what was compared on")
    protocol: str = Field(description="whose rules the scores follow")
    bootstrap: dict[str, float] = Field(description="how intervals were drawn")
    rows: list[RowPart] = Field(min_length=1)
    warnings: list[str] = Field(description="what keeps rows from being compared fairly, one sentence each")


def build_comparison(
    runs: Sequence[RowRun], source: Source, protocol: ScoringProtocol, bootstrap: Bootstrap
) -> ComparisonDocument:
    """Return the document of a comparison from its rows' runs.

    Args:
        runs: what came of the rows, in their order; the first is what the others are compared with.
        source: the samples.
        protocol: whose rules to apply.
        bootstrap: how to draw intervals; every row and difference by the same draws.

    Raises:
        RunError: a run that has a summary cannot be read.
    """
    reports = [_report(run, protocol) for run in runs]
    rows = [_row(run, report, reports[0], protocol, bootstrap) for run, report in zip(runs, reports, strict=True)]
    return ComparisonDocument(
        schema_version=1,
        dataset={
            "name": source.dataset,
            "root": str(source.root),
            "split": source.split,
            "limit": source.limit,
        },
        protocol=protocol.name,
        bootstrap={"resamples": bootstrap.resamples, "seed": bootstrap.seed, "confidence": bootstrap.confidence},
        rows=rows,
        warnings=_warnings(runs),
    )


def dump_comparison(document: ComparisonDocument) -> str:
    """Return a comparison as JSON text, laid out for reading; ASCII alone."""
    return json.dumps(document.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"


def schema_text() -> str:
    """Return the JSON schema (draft 2020-12) of a comparison, as docs/schema holds it."""
    schema = TypeAdapter[Any](ComparisonDocument).json_schema(mode="serialization")
    return published_schema(schema, SCHEMA_ID, "Result of stvg compare")


def _report(run: RowRun, protocol: ScoringProtocol) -> ScoreReport | None:
    if run.summary is None or run.summary["score"] is None:
        return None
    return score_run(run.run, protocol, ("type",))


def _row(
    run: RowRun, report: ScoreReport | None, first: ScoreReport | None, protocol: ScoringProtocol, bootstrap: Bootstrap
) -> RowPart:
    summary = run.summary or {}
    configuration = summary.get("configuration")
    values = None if report is None else values_by_sample(report.results, protocol)
    difference = None
    if values is not None and first is not None and report is not first:
        own = values_by_sample(first.results, protocol)
        common = sorted(values.keys() & own.keys())
        difference = estimates(np.array([values[name] - own[name] for name in common]), bootstrap)
    return RowPart(
        name=run.row.name,
        status="failed" if run.summary is None else "ok",
        error=run.error,
        run=f"{run.run.parent.name}/{run.run.name}",
        model=run.row.model,
        preset=run.row.preset if configuration is None else configuration["settings"]["preset"],
        overrides=dict(run.row.overrides),
        configuration=configuration,
        versions=_versions(summary),
        environment=None if run.environment is None else list(run.environment.requirements),
        samples=summary.get("samples"),
        counts=None if report is None else report.score.counts,
        score=None if values is None else estimates(np.array([values[name] for name in sorted(values)]), bootstrap),
        difference=difference,
        by_type_estimates=None if report is None else _by_type(report, protocol, bootstrap),
        by_type=None if report is None else {name: score.summary for name, score in report.groups["type"].items()},
        failures=summary.get("failures", []),
        cost=_cost(summary),
    )


def values_by_sample(results: Sequence[SampleResult], protocol: ScoringProtocol) -> dict[str, "np.ndarray"]:
    """Return what every counted sample adds to the means, by sample, in the order of METRIC_NAMES."""
    counted = sorted((result for result in results if result.counted), key=lambda result: result.sample_id)
    names = [result.sample_id for result in counted]
    return dict(zip(names, metric_values(counted, protocol.rules), strict=True))


def _by_type(report: ScoreReport, protocol: ScoringProtocol, bootstrap: Bootstrap) -> dict[str, dict[str, Estimate]]:
    found = {
        kind: estimates(np.array(list(values_by_sample(results, protocol).values())), bootstrap)
        for kind, results in group_results(report.results, "type").items()
    }
    return {kind: estimate for kind, estimate in found.items() if estimate is not None}


def estimates(values: "np.ndarray", bootstrap: Bootstrap) -> dict[str, Estimate] | None:
    """Return means with their intervals by metric; None without samples.

    Args:
        values: what each sample adds, a row per sample, in the order of METRIC_NAMES.
        bootstrap: how to draw; the same draws for all rows and differences of as many samples.
    """
    if not len(values):
        return None
    bounds = bootstrap_intervals(values, bootstrap)
    means = values.mean(axis=0)
    return {
        name: Estimate(mean=float(mean), low=float(low), high=float(high))
        for name, mean, (low, high) in zip(METRIC_NAMES, means, bounds.tolist(), strict=True)
    }


def _versions(summary: Mapping[str, Any]) -> dict[str, str] | None:
    sessions = summary.get("sessions")
    return dict(sessions[-1]["versions"]) if sessions and sessions[-1].get("versions") else None


def _cost(summary: Mapping[str, Any]) -> CostPart:
    seconds = summary.get("seconds_per_sample") or {}

    def largest(name: str) -> int | None:
        found = [session[name] for session in summary.get("sessions", ()) if session.get(name)]
        return max(found, default=None)

    return CostPart(
        seconds_per_sample=seconds.get("median"),
        mean_seconds_per_sample=seconds.get("mean"),
        device_wait_share=summary.get("device_wait_share"),
        peak_host_bytes=largest("peak_host_bytes"),
        peak_device_bytes=largest("peak_device_bytes"),
    )


_SHARED = (
    ("the frames that are sampled", lambda settings: settings["sampling"]),
    ("the tracker", lambda settings: [settings["tracker"], settings.get("tracks")]),
    ("the decomposer", lambda settings: settings["decomposer"]),
)


_LIBRARIES = ("python", "torch", "transformers")


def _warnings(runs: Sequence[RowRun]) -> list[str]:
    """Return a sentence for each thing that rows should share and do not."""
    settings = [
        run.summary["configuration"]["settings"] for run in runs if run.summary and run.summary["configuration"]
    ]
    told = [
        f"rows differ in {what}: differences between them are not the model's alone"
        for what, pick in _SHARED
        if len({json.dumps(pick(found), sort_keys=True) for found in settings}) > 1
    ]
    ran = [versions for run in runs if (versions := _versions(run.summary or {}))]
    for name in _LIBRARIES:
        found = sorted({versions[name] for versions in ran if name in versions})
        if len(found) > 1:
            told.append(f"rows ran under {name} {' and '.join(found)}: a difference may be the library's")
    return told
