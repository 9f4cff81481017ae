"""What an ablation runs: variants of one set of settings, in tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from stvg_core.inputs.tracks.noise import TrackNoise
from stvg_core.settings import FamilyPresets, Settings


@dataclass(frozen=True)
class Variant:
    """One row: what differs from the model's own settings.

    Attributes:
        name: unique in its table.
        overrides: dotted setting names to values.
        tracks: name of a tracker; None: the ablation's own.
        noise: what its tracks are made worse by, each sample in a way of its own; None: nothing.
        controls: beside it stand each branch alone, a random choice, and the best choice among the same tracks.
        consistency: the reversed view is read also where the variant does without, to compare both; it is not timed.
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tracks: str | None = None
    noise: TrackNoise | None = None
    controls: bool = False
    consistency: bool = False

    def settings(self, base: Settings) -> Settings:
        """Return the settings of the row.

        Raises:
            pydantic.ValidationError: an override is not possible; the tables below make none.
        """
        data = base.model_dump()
        for name, value in self.overrides.items():
            *parents, leaf = name.split(".")
            level = reduce(lambda level, parent: level[parent], parents, data)
            level[leaf] = value
        return Settings.model_validate(data)


@dataclass(frozen=True)
class ModelFacts:
    """What a table may depend on besides a model's own settings.

    Attributes:
        layer_count: decoder layers.
        family: what the model's family has differently in presets.
    """

    layer_count: int
    family: FamilyPresets | None = None


@dataclass(frozen=True)
class Table:
    """Rows that are read together; the first is what the others are compared with.

    Attributes:
        name: as `--table` takes it.
        title: what it asks.
        variants: its rows.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
