"""What an ablation runs: variants of one set of settings, in tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final

from stvg_core.settings import Settings

TRUE_TRACKS: Final = "true tracks"
"""In place of a tracker's name: the true tracks of all objects, where the caller names a tracker of them."""


@dataclass(frozen=True)
class Variant:
    """One row: what differs from the model's own settings.

    Attributes:
        name: unique in its table.
        overrides: dotted setting names to values.
        tracks: name of a tracker; None: the model's own.
        controls: controls that share its attention maps and tracks stand beside it.
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tracks: str | None = None
    controls: bool = False

    def settings(self, base: Settings) -> Settings:
        """Return the settings of the row.

        Raises:
            pydantic.ValidationError: an override is not possible.
        """
        data = base.model_dump()
        for name, value in self.overrides.items():
            *parents, leaf = name.split(".")
            reduce(lambda level, parent: level[parent], parents, data)[leaf] = value
        return Settings.model_validate(data)


@dataclass(frozen=True)
class VariantTable:
    """Variants that are read together; the first is what the others are compared with.

    Attributes:
        name: as `--table` takes it.
        title: what it asks.
        variants: its rows.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
