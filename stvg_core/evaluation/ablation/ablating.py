"""`stvg ablate` as a function: models, samples and tables in; a comparison of all variants with these tables out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import StvgError, UsageError
from stvg_core.evaluation.ablation.tables import TABLE_NAMES, make_tables
from stvg_core.evaluation.ablation.variants import TRUE_TRACKS, Variant
from stvg_core.evaluation.comparison import (
    ComparisonDocument,
    ComparisonRow,
    PageChoice,
    Source,
    Table,
    TableRow,
    compare,
    named_rows,
)
from stvg_core.evaluation.comparison.rows import folder_name
from stvg_core.evaluation.runs.configuration import configuration_hash
from stvg_core.host.model_settings import family_presets, find_backend, settings_before_loading
from stvg_core.host.models import resolve_model
from stvg_core.metrics import Bootstrap, Protocol
from stvg_core.settings import PROVENANCE, FamilyPresets, Settings

ABLATION: Final = "ablation"
_KEY_DIGITS: Final = 10
_PAGE_SAMPLES: Final = 20


def ablate(
    specs: Sequence[RunSpec],
    source: Source,
    tables: Sequence[str],
    out: Path,
    protocol: Protocol,
    bootstrap: Bootstrap | None = None,
    *,
    true_tracks: str | None = None,
    retry_failed: bool = False,
    report_only: bool = False,
    pages: PageChoice | None = None,
    on_row: Callable[[ComparisonRow, int], None] | None = None,
    on_count: Callable[[int, int], None] | None = None,
) -> ComparisonDocument:
    """Evaluate every variant of every table on the same samples, and compare them; the same call resumes.

    Each distinct variant of a model is one run in `runs/` of the folder, whichever tables show it; a call with more
    tables evaluates what is missing. A model's variants are evaluated one after another in one process.

    Args:
        specs: the models, each with the settings that its variants differ from.
        source: the samples.
        tables: some of TABLE_NAMES; none: all.
        out: folder of the ablation.
        protocol: whose rules to apply.
        bootstrap: how to draw intervals; None: 2,000 resamples.
        true_tracks: tracker of the true tracks of all objects, such as "file:PATH"; None: no table shows them.
        retry_failed: evaluate failed samples again.
        report_only: evaluate nothing; report on the runs that exist.
        pages: what index.html holds; None: the first 20 samples.
        on_row: called with every variant's row and its index as it begins.
        on_count: called with the samples done and the samples of the row.

    Raises:
        UsageError: there is no such table, or no model.
        OutputError: the folder cannot be written to.
        RunError: it was stopped.
    """
    for name in tables:
        if name not in TABLE_NAMES:
            raise UsageError(f"expected a table ({', '.join(TABLE_NAMES)}), got {name!r}")
    rows: dict[str, ComparisonRow] = {}
    parts: list[Table] = []
    for model in named_rows(specs):
        try:
            settings, family = _settings(model.spec)
        except StvgError:
            # Its process says why.
            rows[model.folder] = model
            continue
        for table in make_tables(tables, settings, family):
            listed = []
            for variant in table.variants:
                if variant.tracks == TRUE_TRACKS and true_tracks is None:
                    continue
                row = _row(model, table.name, variant, settings, true_tracks)
                row = rows.setdefault(row.folder, row)
                listed.append(TableRow(variant.name, row.name, variant.controls))
            parts.append(Table(table.name, table.title, tuple(listed), model.name))
    return compare(
        tuple(rows.values()),
        source,
        out,
        protocol,
        bootstrap,
        retry_failed=retry_failed,
        report_only=report_only,
        pages=pages or PageChoice(most_samples=_PAGE_SAMPLES),
        tables=parts,
        files=ABLATION,
        on_row=on_row,
        on_count=on_count,
    )


def _settings(spec: RunSpec) -> tuple[Settings, FamilyPresets]:
    """Return a model's own settings, and what its family has differently in presets; loads no weights.

    Raises:
        StvgError: there is no such model, backend or setting.
    """
    resolved = resolve_model(spec.model, spec.revision)
    settings = spec.settings or settings_before_loading(resolved, spec.backend, spec.preset, spec.overrides)
    return settings, family_presets(find_backend(resolved, spec.backend))


def _row(model: ComparisonRow, table: str, variant: Variant, base: Settings, true_tracks: str | None) -> ComparisonRow:
    """Return a variant as a row; variants that are the same, whatever their names, have the same folder."""
    settings = variant.settings(base)
    tracks = true_tracks if variant.tracks == TRUE_TRACKS else variant.tracks
    spec = replace(model.spec, tracks=tracks or model.spec.tracks)
    if spec.settings is None:
        spec = replace(spec, overrides={**spec.overrides, **variant.overrides})
    else:
        spec = replace(spec, settings=settings)
    decides = replace(spec, preset=None, overrides={}, settings=None).to_dict()
    key = configuration_hash(decides | {"settings": settings.model_dump(mode="json", exclude=set(PROVENANCE))})
    name = f"{model.name}, {table}: {variant.name}"
    return ComparisonRow(name, spec, model.python, f"{folder_name(model.name)[:60]}-{key[:_KEY_DIGITS]}")
