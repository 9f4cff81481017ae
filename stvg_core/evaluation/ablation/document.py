"""The document of an ablation, schema version 1: for each model tables of scores, differences and measures."""

import json
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from stvg_core._internal.json_schema import published_schema
from stvg_core.evaluation.ablation.evaluating import ACTION_ONLY, ATTRIBUTE_ONLY, EXTRAS, OWN, RANDOM, Measured
from stvg_core.evaluation.ablation.plan import Plan
from stvg_core.evaluation.ablation.results import SampleLine
from stvg_core.evaluation.ablation.running import ModelRun
from stvg_core.evaluation.ablation.sources import AblationSource
from stvg_core.evaluation.ablation.variants import Table, Variant
from stvg_core.evaluation.comparison.document import Estimate, estimates
from stvg_core.metrics import METRIC_NAMES, Bootstrap

SCHEMA_ID: Final = "urn:stvg:schema:ablation:1"
ALL: Final = "all"
RIGHT_AT_FIRST: Final = "right track in the first row"
WRONG_AT_FIRST: Final = "wrong track in the first row"
LEAST_SURE: Final = "attribute least sure"
BETWEEN: Final = "attribute between"
MOST_SURE: Final = "attribute most sure"
_MARGIN: Final = "attribute_margin_before"
_RIGHT: Final = 0.5
"""gt_vIoU above which a track is the right one."""
_SECONDS: Final = "seconds"
_COMPARED: Final = "m_vIoU"

Values = Mapping[str, Float64[np.ndarray, " metric"]]
"""By sample, in the order of METRIC_NAMES; zeros where the sample failed."""

Groups = Mapping[str, Sequence[str]]
"""Samples of each group."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AblationRow(_Part):
    """A variant, or a control beside one."""

    name: str
    control_of: str | None = Field(
        description="the variant whose reading and tracks this control has; None for variants"
    )
    overrides: dict[str, JsonValue] = Field(description="settings in which it differs from the model's own")
    tracks: str | None = Field(description="tracker, where it is not the ablation's own")
    noise: str | None = Field(None, description="what its tracks are made worse by (stvg_core/inputs/tracks/noise.py)")
    samples: int = Field(description="that have a result, failed ones included")
    failed: int = Field(description="samples on which it failed; they count as 0")
    score: dict[str, Estimate] | None = Field(description="by metric, in 0..1")
    difference: dict[str, Estimate] | None = Field(description="this row minus the table's first, sample by sample")
    step: dict[str, Estimate] | None = Field(description="this variant minus the one before it, sample by sample")
    by_group: dict[str, dict[str, float]] = Field(
        description="samples and mean metrics of each group of samples, of those on which the first row's track is "
        "right, or wrong (gt_vIoU above .5), and of the thirds by how sure the model answers yes to the attribute's "
        "question before any prompt, where a row of the table learns one"
    )
    measures: dict[str, float] = Field(description="means over the samples that have them (docs/ablate.md)")
    seconds: float | None = Field(description="median per sample, as if it ran alone, decoding and tracks included")
    error: str = Field(description="an example of why it failed, on one line; empty where it did not")


class AblationCheck(_Part):
    """A claim about a ladder: its last variant is better than something, in m_vIoU."""

    better: str
    than: str
    group: str = Field(description="samples it is about; all: every sample")
    samples: int
    difference: Estimate
    holds: bool = Field(description="the lower bound of the interval is above 0")


class AblationTable(_Part):
    """Rows that are read together."""

    name: str
    title: str
    rows: list[AblationRow]
    checks: list[AblationCheck]


class AblationModel(_Part):
    """One model under all tables."""

    model: str
    status: Literal["ok", "failed"]
    error: str = Field(description="why it ended early, on one line; empty where it did not")
    configuration: dict[str, JsonValue] | None = Field(description="everything that decides its results")
    tables: list[AblationTable]


class AblationDocument(_Part):
    """Variants of models' settings on the same samples."""

    schema_version: Literal[1]
    source: dict[str, JsonValue] = Field(description="where the samples come from")
    protocol: str = Field(description="whose rules the scores follow")
    bootstrap: dict[str, float] = Field(description="how intervals were drawn")
    random_seeds: int = Field(description="random choices that are averaged in each sample")
    commits: list[str] = Field(description="of the code that made the results")
    models: list[AblationModel] = Field(min_length=1)


def build_ablation(
    runs: Sequence[ModelRun],
    results: Sequence[Mapping[str, SampleLine]],
    source: AblationSource,
    bootstrap: Bootstrap,
    random_seeds: int,
    commits: Sequence[str] = (),
) -> AblationDocument:
    """Return the document of an ablation.

    Args:
        runs: its models.
        results: of each, by sample.
        source: the samples.
        bootstrap: how to draw intervals; every row and difference by the same draws.
        random_seeds: random choices that were averaged.
        commits: of the code that made the results.
    """
    models = [_model(run, lines, bootstrap) for run, lines in zip(runs, results, strict=True)]
    return AblationDocument(
        schema_version=1,
        source=dict(source.describe()),
        protocol=source.protocol.name,
        bootstrap={"resamples": bootstrap.resamples, "seed": bootstrap.seed, "confidence": bootstrap.confidence},
        random_seeds=random_seeds,
        commits=list(commits),
        models=models,
    )


def dump_ablation(document: AblationDocument) -> str:
    """Return an ablation as JSON text, laid out for reading; ASCII alone."""
    return json.dumps(document.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"


def schema_text() -> str:
    """Return the JSON schema (draft 2020-12) of an ablation, as docs/schema holds it."""
    schema = TypeAdapter[Any](AblationDocument).json_schema(mode="serialization")
    return published_schema(schema, SCHEMA_ID, "Result of stvg ablate")


def _model(run: ModelRun, lines: Mapping[str, SampleLine], bootstrap: Bootstrap) -> AblationModel:
    plan = run.plan
    if plan is None:
        return AblationModel(
            model=run.choice.spec.model, status="failed", error=run.error, configuration=None, tables=[]
        )
    # In an order of its own, so that no draw depends on which process came first.
    ordered = {name: lines[name] for name in sorted(lines)}
    return AblationModel(
        model=plan.model,
        status="failed" if run.error else "ok",
        error=run.error,
        configuration=dict(plan.configuration),
        tables=[_table(plan, table, ordered, bootstrap) for table in plan.tables],
    )


def _table(plan: Plan, table: Table, lines: Mapping[str, SampleLine], bootstrap: Bootstrap) -> AblationTable:
    rows: list[AblationRow] = []
    groups = _groups(lines) | _thirds_by_margin(plan, table, lines)
    known: dict[tuple[str, str], Values] = {}
    first: Values | None = None
    previous: Values | None = None
    for variant in table.variants:
        cells = _cells(lines, plan.identifiers[table.name, variant.name])
        values = _values(cells, OWN)
        known[variant.name, OWN] = values
        rows.append(_row(variant, OWN, cells, groups, bootstrap, values, first, previous))
        first, previous = values if first is None else first, values
        if variant.controls:
            names = {name: None for cell in cells.values() if isinstance(cell, Measured) for name in cell.scores}
            for control in (name for name in names if name != OWN):
                values = known[variant.name, control] = _values(cells, control)
                rows.append(_row(variant, control, cells, groups, bootstrap, values, first, None))
    return AblationTable(
        name=table.name, title=table.title, rows=rows, checks=list(_checks(table, known, groups, bootstrap))
    )


def _cells(lines: Mapping[str, SampleLine], identifier: str) -> dict[str, Any]:
    return {name: line.cells[identifier] for name, line in lines.items() if identifier in line.cells}


def _values(cells: Mapping[str, Any], which: str) -> dict[str, Float64[np.ndarray, " metric"]]:
    zeros = np.zeros(len(METRIC_NAMES))
    return {
        name: np.array(cell.scores.get(which, zeros)) if isinstance(cell, Measured) else zeros
        for name, cell in cells.items()
    }


def _difference(own: Values, other: Values | None, bootstrap: Bootstrap) -> dict[str, Estimate] | None:
    if other is None:
        return None
    common = [name for name in own if name in other]
    return estimates(np.array([own[name] - other[name] for name in common]), bootstrap)


def _row(
    variant: Variant,
    which: str,
    cells: Mapping[str, Any],
    groups: Groups,
    bootstrap: Bootstrap,
    values: Values,
    first: Values | None,
    previous: Values | None,
) -> AblationRow:
    own = which == OWN
    measured = [cell for cell in cells.values() if isinstance(cell, Measured)]
    failures = [cell for cell in cells.values() if not isinstance(cell, Measured)]
    measures = {} if not own else _means(measured)
    seconds = [found for cell in measured if (found := cell.extras[EXTRAS.index(_SECONDS)]) is not None]
    return AblationRow(
        name=variant.name if own else which,
        control_of=None if own else variant.name,
        overrides=dict(variant.overrides),
        tracks=variant.tracks,
        noise=None if variant.noise is None else variant.noise.name,
        samples=len(cells),
        failed=len(failures),
        score=estimates(np.array(list(values.values())), bootstrap),
        difference=_difference(values, first, bootstrap),
        step=_difference(values, previous, bootstrap),
        by_group=_by_group(values, groups, values if first is None else first),
        measures=measures,
        seconds=round(median(seconds), 4) if own and seconds else None,
        error=failures[0].message if failures else "",
    )


def _means(measured: Sequence[Measured]) -> dict[str, float]:
    found = {}
    for place, name in enumerate(EXTRAS):
        known = [value for cell in measured if (value := cell.extras[place]) is not None]
        if known and name != _SECONDS:
            found[name] = float(np.mean(known))
    return found


def _by_group(values: Values, groups: Groups, first: Values) -> dict[str, dict[str, float]]:
    """Return what each group comes to; also the samples where the table's first row has the right track, or not.

    What a later row mends stands under the second, what it harms under the first.
    """
    right = METRIC_NAMES.index("gt_vIoU")
    members = {group: [name for name in names if name in values] for group, names in groups.items()}
    for group, is_right in ((RIGHT_AT_FIRST, True), (WRONG_AT_FIRST, False)):
        members[group] = [name for name in values if name in first and (first[name][right] > _RIGHT) == is_right]
    found = {}
    for group, names in members.items():
        if not names:
            continue
        part = np.array([values[name] for name in names])
        found[group] = {"samples": float(len(part)), **dict(zip(METRIC_NAMES, part.mean(axis=0).tolist(), strict=True))}
    return found


def _groups(lines: Mapping[str, SampleLine]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, line in lines.items():
        for group in line.groups:
            found.setdefault(group, []).append(name)
    return found


def _thirds_by_margin(plan: Plan, table: Table, lines: Mapping[str, SampleLine]) -> dict[str, list[str]]:
    """Return samples by how sure the model is of the attribute before any prompt; none where no row learns one."""
    for variant in table.variants:
        cells = _cells(lines, plan.identifiers[table.name, variant.name])
        place = EXTRAS.index(_MARGIN)
        margins = {
            name: margin
            for name, cell in cells.items()
            if isinstance(cell, Measured) and (margin := cell.extras[place]) is not None
        }
        if margins:
            parts = np.array_split(sorted(margins, key=lambda name: margins[name]), 3)
            named = zip((LEAST_SURE, BETWEEN, MOST_SURE), parts, strict=True)
            return {group: part.tolist() for group, part in named}
    return {}


def _checks(
    table: Table, known: Mapping[tuple[str, str], Values], groups: Groups, bootstrap: Bootstrap
) -> "list[AblationCheck]":
    """Return whether the last variant of a ladder is better than its first, and than each control of its own."""
    if not table.name.startswith("ladder") or not table.variants:
        return []
    base, full = table.variants[0].name, table.variants[-1].name
    own = known[full, OWN]
    others = {base: known[base, OWN]} | {
        control: known[full, control] for control in (ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM) if (full, control) in known
    }
    checks = []
    for than, values in others.items():
        for group, members in {ALL: list(own), **groups}.items():
            common = [name for name in members if name in own and name in values]
            found = estimates(np.array([own[name] - values[name] for name in common]), bootstrap)
            if found is None:
                continue
            difference = found[_COMPARED]
            checks.append(
                AblationCheck(
                    better=full,
                    than=than,
                    group=group,
                    samples=len(common),
                    difference=difference,
                    holds=difference.low > 0,
                )
            )
    return checks
