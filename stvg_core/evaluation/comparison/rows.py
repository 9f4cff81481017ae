"""What is compared: one row per model and settings, by hand, by product, or from a file."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import UsageError
from stvg_core.evaluation.comparison.ladder import LADDER

MOST_ROWS: Final = 500
_NOT_IN_A_FOLDER: Final = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST_FOLDER: Final = 80


@dataclass(frozen=True)
class ComparisonRow:
    """One row: everything that may differ between the runs that are compared.

    Attributes:
        name: what the tables call it; unique.
        model: as `--model` takes it.
        preset: None: calibrated where the checkpoint carries it, else paper.
        overrides: dotted setting names to values.
        tracks: name of a tracker; None: the default.
        decomposer: name of a decomposer; None: the default.
        backend: which backend, where several would do.
        device: as `--device` takes it.
        dtype: as `--dtype` takes it.
        python: interpreter of the environment that has this row's backend; None: this one.
        requirements: what an environment of the row's own has besides; needs isolation.
    """

    name: str
    model: str
    preset: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tracks: str | None = None
    decomposer: str | None = None
    backend: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    python: str | None = None
    requirements: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Name of the row's run folder; harmless as a file name.

        >>> ComparisonRow("tiny:qwen2-vl, paper", "tiny:qwen2-vl").folder
        'tiny-qwen2-vl-paper'
        """
        return _NOT_IN_A_FOLDER.sub("-", self.name).strip("-.")[:_LONGEST_FOLDER] or "row"

    def job(self) -> dict[str, Any]:
        """Return what decides the row's results, for the process that runs it; JSON values."""
        names = ("model", "preset", "tracks", "decomposer", "backend", "device", "dtype")
        return {name: getattr(self, name) for name in names} | {"overrides": dict(self.overrides)}


class _FileRow(BaseModel):
    """One `[[row]]` of a rows file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=200)
    model: str = Field(min_length=1)
    preset: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    tracks: str | None = None
    decomposer: str | None = None
    backend: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    python: str | None = None
    requirements: tuple[str, ...] = Field((), max_length=100)
    ladder: bool = False


class _RowsFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    row: list[_FileRow] = Field(min_length=1, max_length=MOST_ROWS)


def product_of(
    models: Sequence[str],
    presets: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    ladder: bool = False,
    **common: Any,  # noqa: ANN401  # fields of ComparisonRow
) -> tuple[ComparisonRow, ...]:
    """Return a row per model and preset; with the ladder, one per model, preset and component.

    Args:
        models: as `--model` takes them.
        presets: none: each model's default.
        overrides: dotted setting names to values, of every row.
        ladder: add the method's components one by one (paper Table 2).
        common: fields that all rows share, such as tracks.

    Raises:
        UsageError: no model, or too many rows.

    >>> [row.name for row in product_of(["a", "b"], ["paper"])]
    ['a', 'b']
    """
    rows = []
    for model in models:
        for preset in presets or (None,):
            name = model if len(presets) < 2 else f"{model}, {preset}"  # noqa: PLR2004
            row = ComparisonRow(name, model, preset, dict(overrides or {}), **common)
            rows += list(_ladder(row)) if ladder else [row]
    return checked(rows)


def read_rows(path: Path) -> tuple[ComparisonRow, ...]:
    """Return the rows of a TOML file: `[[row]]` tables with the fields of ComparisonRow, `set` for overrides.

    One with `ladder = true` is a row per component of the method.

    Raises:
        UsageError: it cannot be read, or a row is wrong.
    """
    try:
        entries = _RowsFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).row
    except OSError as error:
        raise UsageError(f"expected a file of rows, but {path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"expected [[row]] tables in {path}, got {one_line(repr(first['input']), 60)} at {place}: {first['msg']}"
        ) from error
    except ValueError as error:
        raise UsageError(f"expected TOML in {path}: {one_line(str(error), 200)}") from error
    rows: list[ComparisonRow] = []
    for entry in entries:
        fields = entry.model_dump(exclude={"set", "name", "ladder"})
        name = entry.name or (entry.model if entry.preset is None else f"{entry.model}, {entry.preset}")
        row = ComparisonRow(one_line(name, 200), overrides=entry.set, **fields)
        rows += list(_ladder(row)) if entry.ladder else [row]
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
        yield replace(row, name=f"{row.name}, {step.name}", overrides={**row.overrides, **step.overrides})
