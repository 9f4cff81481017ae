"""What an ablation runs: variants of one set of settings, in tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

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
