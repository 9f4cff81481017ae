"""What is compared: one row per model and settings, listed, multiplied out, from a file, or from finished runs."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.api.run_spec import RunSpec, read_run_specs
from stvg_core.errors import UsageError

MOST_ROWS: Final = 500
_NOT_IN_A_FOLDER: Final = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST_FOLDER: Final = 80
_MEAN: Final = {"spatial.tokens.rule": "mean", "temporal.tokens.rule": "mean"}
_IDENTIFIED: Final = {"spatial.tokens.rule": "max_activation", "temporal.tokens.rule": "max_activation"}
_TUNED: Final = {"spatial.tune": True, "temporal.tune": True}
_BARE: Final = {"spatial.tune": False, "temporal.tune": False, "augment.enabled": False}


@dataclass(frozen=True)
class LadderStep:
    """One component of the method.

    Attributes:
        name: in tables.
        overrides: dotted setting names to values; whatever they do not name is the row's own.
    """

    name: str
    overrides: Mapping[str, Any]


LADDER: Final = (
    LadderStep("mean of tokens", {**_MEAN, **_BARE}),
    LadderStep("+ identification", {**_IDENTIFIED, **_BARE}),
    LadderStep("+ spatial prompt", {**_IDENTIFIED, **_BARE, "spatial.tune": True}),
    LadderStep("+ temporal prompt", {**_IDENTIFIED, **_BARE, "temporal.tune": True}),
    LadderStep("+ both prompts", {**_IDENTIFIED, **_BARE, **_TUNED}),
    LadderStep("+ TAS", {**_IDENTIFIED, **_TUNED, "augment.enabled": True}),
)
"""The method's components (paper Table 2), cumulative but for the two prompts, of which each is alone once.

Where a preset has `prompt.steps` 0 (calibration may choose so), the rows with prompts learn none and equal the row
before: set steps with `--set prompt.steps=1`.
"""


@dataclass(frozen=True)
class ComparisonRow:
    """One row of a comparison.

    Attributes:
        name: in tables; unique.
        spec: everything that decides its results, besides video and query.
        python: interpreter of an environment that has this row's backend; None: this one.
        folder_name: of its run; empty: made from the name.
    """

    name: str
    spec: RunSpec
    python: str | None = None
    folder_name: str = ""

    @property
    def folder(self) -> str:
        """Name of the row's run folder; harmless as a file name.

        >>> ComparisonRow("tiny:qwen2-vl, paper", RunSpec("tiny:qwen2-vl")).folder
        'tiny-qwen2-vl-paper'
        """
        return self.folder_name or folder_name(self.name)

    @property
    def loads(self) -> tuple[object, ...]:
        """What rows must have in common to share a process and the loaded model."""
        spec = self.spec
        return self.python, spec.model, spec.revision, spec.backend, spec.load, spec.extensions


def folder_name(name: str) -> str:
    """Return a row's name as a file name."""
    return _NOT_IN_A_FOLDER.sub("-", name).strip("-.")[:_LONGEST_FOLDER] or "row"


def product_of(
    models: Sequence[str],
    presets: Sequence[str] = (),
    *,
    base: RunSpec | None = None,
    ladder: bool = False,
) -> tuple[ComparisonRow, ...]:
    """Return a row per model and preset; with the ladder, one per model, preset and component.

    Args:
        models: named checkpoints, folders or hub ids.
        presets: none: the base's.
        base: what all rows share; its model is not used.
        ladder: add the method's components one by one (paper Table 2).

    Raises:
        UsageError: no model, or too many rows.

    >>> [row.name for row in product_of(["a", "b"], ["paper"])]
    ['a', 'b']
    """
    base = base or RunSpec("none")
    rows: list[ComparisonRow] = []
    for model in models:
        for preset in presets or (base.preset,):
            name = model if len(presets) < 2 else f"{model}, {preset}"  # noqa: PLR2004
            row = ComparisonRow(name, replace(base, model=model, preset=preset))
            rows += _ladder(row) if ladder else [row]
    return checked(rows)


def checked(rows: Sequence[ComparisonRow]) -> tuple[ComparisonRow, ...]:
    """Return rows whose names and folders are unique.

    Raises:
        UsageError: there is none, there are too many, or two have one name.
    """
    if not 1 <= len(rows) <= MOST_ROWS:
        raise UsageError(f"expected 1 to {MOST_ROWS} rows, got {len(rows)}; name models with --model")
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"expected each row once, got {name!r} twice; give the rows names of their own")
    folders: dict[str, str] = {}
    for row in rows:
        # File systems that do not tell cases apart are common.
        other = folders.setdefault(row.folder.lower(), row.name)
        if other != row.name:
            raise UsageError(
                f"expected rows with different folder names, got {row.folder!r} for {other!r} and {row.name!r}"
            )
    return tuple(rows)


def _ladder(row: ComparisonRow) -> Iterator[ComparisonRow]:
    for step in LADDER:
        spec = replace(row.spec, overrides={**row.spec.overrides, **step.overrides})
        yield replace(row, name=f"{row.name}, {step.name}", spec=spec)
