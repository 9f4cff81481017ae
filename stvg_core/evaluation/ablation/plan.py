"""What one model runs: its tables, and the variants in them, each once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stvg_core.api.grounder import Grounder
from stvg_core.errors import UsageError
from stvg_core.evaluation.ablation.paper_tables import ORACLE_TRACKS
from stvg_core.evaluation.ablation.sources import AblationSource
from stvg_core.evaluation.ablation.tables import make_tables
from stvg_core.evaluation.ablation.variants import Table, Variant
from stvg_core.evaluation.runs.provenance import configuration_hash, describe_model

_KEY_DIGITS = 16


@dataclass(frozen=True)
class Plan:
    """The tables of one model.

    Attributes:
        model: as the user named it.
        tables: in order.
        identifiers: of each row's variant, by table and row; rows that run the same share one.
        variants: by identifier.
        configuration: everything that decides the results of a variant, but for the variant.
    """

    model: str
    tables: tuple[Table, ...]
    identifiers: Mapping[tuple[str, str], str]
    variants: Mapping[str, Variant]
    configuration: Mapping[str, Any]


def make_plan(grounder: Grounder, source: AblationSource, names: Sequence[str], random_seeds: int) -> Plan:
    """Return what an opened model runs.

    Rows that a source has nothing for (true tracks of all objects) are left out.

    Raises:
        UsageError: there is no table of a name, or the settings search long videos in windows.
    """
    if grounder.settings.windows.length_seconds is not None:
        raise UsageError(
            "expected settings without windows, got windows.length_seconds: an ablation reads each video as a whole; "
            "compare settings with windows by stvg compare"
        )
    session = grounder.session
    made = make_tables(names, grounder.settings, session.adapter.description.layer_count, session.family)
    tables = tuple(
        replace(
            table,
            variants=tuple(
                variant for variant in table.variants if variant.tracks != ORACLE_TRACKS or source.knows_true_tracks
            ),
        )
        for table in made
    )
    identifiers: dict[tuple[str, str], str] = {}
    variants: dict[str, Variant] = {}
    for table in tables:
        for variant in table.variants:
            key = _key(variant, grounder)
            identifiers[table.name, variant.name] = key
            known = variants.get(key, variant)
            variants[key] = replace(
                known,
                controls=known.controls or variant.controls,
                consistency=known.consistency or variant.consistency,
            )
    described = describe_model(grounder)
    return Plan(
        grounder.session.identity.id,
        tables,
        identifiers,
        variants,
        {
            "model": described["model"],
            "settings": described["settings"],
            "source": dict(source.describe()),
            "random_seeds": random_seeds,
        },
    )


def _key(variant: Variant, grounder: Grounder) -> str:
    settings = variant.settings(grounder.settings).model_dump(mode="json")
    text = {"settings": json.loads(json.dumps(settings)), "tracks": variant.tracks}
    if variant.noise is not None:
        text["noise"] = variant.noise.name
    return configuration_hash(text)[:_KEY_DIGITS]
