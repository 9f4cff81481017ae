"""`stvg ablate` as a function: models, samples and tables in; a comparison of all variants with these tables out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import StvgError, UsageError
from stvg_core.evaluation.ablation.tables import TABLE_NAMES, TABLES, TRUE_TRACKS, Variant
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
from stvg_core.evaluation.runs.provenance import configuration_hash
from stvg_core.host.model_settings import family_presets, find_backend
from stvg_core.host.models import resolve_model
from stvg_core.metrics import Bootstrap, ScoringProtocol
from stvg_core.settings import Settings, choose_settings

ABLATION: Final = "ablation"
_KEY_DIGITS: Final = 10
_MODEL_CHARACTERS: Final = 60
_PAGE_SAMPLES: Final = 20


def ablate(
    specs: Sequence[RunSpec],
    source: Source,
    tables: Sequence[str],
    out: Path,
    protocol: ScoringProtocol,
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
        UsageError: there is no such table, no model, or complete settings in place of a preset.
        OutputError: the folder cannot be written to.
        RunError: it was stopped.
    """
    for name in tables:
        if name not in TABLES:
            raise UsageError(f"expected a table ({', '.join(TABLE_NAMES)}), got {name!r}")
    rows: dict[str, ComparisonRow] = {}
    parts: list[Table] = []
    for model in named_rows(specs):
        if model.spec.settings is not None:
            raise UsageError(f"expected a preset and overrides for {model.name}, got complete settings; leave them out")
        try:
            resolved = resolve_model(model.spec.model, model.spec.revision)
            family = family_presets(find_backend(resolved, model.spec.backend))
            settings = choose_settings(resolved.reference.folder, model.spec.preset, model.spec.overrides, family)
        except StvgError:
            # Its process says why.
            rows[model.folder] = model
            continue
        for name in tables or TABLE_NAMES:
            listed = []
            for variant in TABLES[name].variants(settings, family):
                spec = _spec(model.spec, variant, true_tracks)
                if spec is None:
                    continue
                made = choose_settings(resolved.reference.folder, spec.preset, spec.overrides, family)
                folder = _folder(model.name, spec, made)
                row = ComparisonRow(f"{model.name}, {name}: {variant.name}", spec, folder_name=folder)
                listed.append(TableRow(variant.name, rows.setdefault(folder, row).name, variant.controls))
            parts.append(Table(name, TABLES[name].title, tuple(listed), model.name))
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


def _spec(spec: RunSpec, variant: Variant, true_tracks: str | None) -> RunSpec | None:
    """Return the spec of a variant; None where it needs true tracks and nobody named them."""
    tracks = true_tracks if variant.tracks == TRUE_TRACKS else variant.tracks or spec.tracks
    if tracks is None:
        return None
    return replace(spec, tracks=tracks, overrides={**spec.overrides, **variant.overrides})


def _folder(model: str, spec: RunSpec, settings: Settings) -> str:
    """Return the run folder of a variant: the same for variants that are the same, whatever tables call them."""
    decides = replace(spec, preset=None, overrides={}).to_dict()
    key = configuration_hash(decides | {"settings": settings.model_dump(mode="json")})
    return f"{folder_name(model)[:_MODEL_CHARACTERS]}-{key[:_KEY_DIGITS]}"
