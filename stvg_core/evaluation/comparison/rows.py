"""What is compared: rows of models and settings, and the samples: a data set, or one clip with queries."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from stvg_core._internal.plain_text import one_line
from stvg_core.api.run_spec import RunSpec, read_run_tables
from stvg_core.errors import UsageError
from stvg_core.inputs.datasets import Dataset, open_dataset
from stvg_core.inputs.query.sentence import clean_sentence
from stvg_core.outputs.report.staging import staged_files

MAXIMUM_ROWS: Final = 5000
QUERIES_FILE: Final = "samples.json"
_NOT_IN_A_FOLDER: Final = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST_FOLDER: Final = 80
_LONGEST_NAME: Final = 200
MEAN: Final = {"spatial.tokens.rule": "mean", "temporal.tokens.rule": "mean"}
IDENTIFIED: Final = {"spatial.tokens.rule": "max_activation", "temporal.tokens.rule": "max_activation"}
TUNED: Final = {"spatial.tune": True, "temporal.tune": True}
PLAIN: Final = {"spatial.tune": False, "temporal.tune": False, "augment.enabled": False}


LADDER: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "mean of tokens": {**MEAN, **PLAIN},
        "+ identification": {**IDENTIFIED, **PLAIN},
        "+ spatial prompt": {**IDENTIFIED, **PLAIN, "spatial.tune": True},
        "+ temporal prompt": {**IDENTIFIED, **PLAIN, "temporal.tune": True},
        "+ both prompts": {**IDENTIFIED, **PLAIN, **TUNED},
        "+ TAS": {**IDENTIFIED, **TUNED, "augment.enabled": True},
    }
)
"""The method's components (paper Table 2) and the settings they override, cumulative but for the two prompts.

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

    def shares_model(self, other: "ComparisonRow") -> bool:
        """Return whether two rows can share a process and the loaded model."""
        names = ("model", "revision", "backend", "load", "extensions")
        own, others = ([getattr(row.spec, name) for name in names] for row in (self, other))
        return self.python == other.python and own == others


def folder_name(name: str) -> str:
    """Return a row's name as a file name."""
    return _NOT_IN_A_FOLDER.sub("-", name).strip("-.")[:_LONGEST_FOLDER] or "row"


def named_rows(specs: Sequence[RunSpec], *, ladder: bool = False) -> tuple[ComparisonRow, ...]:
    """Return a row per spec, called by its model and by what it does not share with other specs of that model.

    Args:
        specs: models and settings.
        ladder: instead, return a row per spec and component of the method (paper Table 2).

    Raises:
        UsageError: no spec, too many rows, or two that are the same.

    >>> specs = [RunSpec("a"), RunSpec("a", preset="paper"), RunSpec.of("a", quantization="4bit"), RunSpec("b")]
    >>> [row.name for row in named_rows(specs)]
    ['a', 'a, paper', 'a, quantization 4bit', 'b']
    """
    return _rows(specs, [_RowOptions(ladder=ladder)] * len(specs))


def _rows(specs: Sequence[RunSpec], options: Sequence["_RowOptions"]) -> tuple[ComparisonRow, ...]:
    rows: list[ComparisonRow] = []
    for spec, name, own in zip(specs, _names(specs), options, strict=True):
        row = ComparisonRow(one_line(own.name or name, _LONGEST_NAME), spec, own.python)
        if not own.ladder:
            rows.append(row)
            continue
        for component, overrides in LADDER.items():
            variant = replace(spec, overrides={**spec.overrides, **overrides})
            rows.append(replace(row, name=f"{row.name}, {component}", spec=variant))
    return checked(rows)


def _names(specs: Sequence[RunSpec]) -> Iterator[str]:
    tables = [spec.to_dict() for spec in specs]
    tables = [table | table.pop("set", {}) for table in tables]
    for table in tables:
        others = [other for other in tables if other["model"] == table["model"]]
        own = {name: value for name, value in table.items() if any(other.get(name) != value for other in others)}
        parts = [str(value) if name == "preset" else f"{name} {value}" for name, value in own.items()]
        yield one_line(", ".join([table["model"], *parts]), _LONGEST_NAME)


def read_rows(path: Path) -> tuple[ComparisonRow, ...]:
    """Return the rows of a TOML file: `[[run]]` tables of `RunSpec.from_dict`.

    A table may also have a `name`; `python`, the interpreter of an environment that has its backend; and
    `ladder = true`, which makes it a row per component of the method.

    Raises:
        UsageError: it cannot be read, or a row is wrong.
    """
    tables = read_run_tables(path)
    own = [{name: table.pop(name) for name in _RowOptions.model_fields if name in table} for table in tables]
    try:
        options = [_RowOptions.model_validate(values) for values in own]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(
            f"expected name and python as text and ladder as true or false in {path}, got "
            f"{one_line(repr(first['input']), 60)} at {first['loc'][0]}"
        ) from error
    return _rows([RunSpec.from_dict(table) for table in tables], options)


class _RowOptions(BaseModel):
    """What a table of a rows file may have beside the fields of a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = ""
    python: str | None = None
    ladder: bool = False


def run_names(runs: Sequence[Path]) -> list[str]:
    """Return the names of finished runs: their folders', with as many folders above as make them unique.

    Raises:
        UsageError: a run is named twice.
    """
    places = [run.resolve() for run in runs]
    if len(set(places)) != len(places):
        raise UsageError("expected each run once, got one twice; leave one out")
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(places):
        depth += 1
    return [one_line("/".join(place.parts[-depth:]), _LONGEST_NAME) for place in places]


def checked(rows: Sequence[ComparisonRow]) -> tuple[ComparisonRow, ...]:
    """Return rows whose names and folders are unique.

    Raises:
        UsageError: there is none, there are too many, or two have one name.
    """
    if not 1 <= len(rows) <= MAXIMUM_ROWS:
        raise UsageError(f"expected 1 to {MAXIMUM_ROWS} rows, got {len(rows)}; name models with --model")
    for name, count in Counter(row.name for row in rows).items():
        if count > 1:
            raise UsageError(f"expected each row once, got {name!r} twice; give the rows names of their own")
    folders: dict[str, str] = {}
    for row in rows:
        # Many file systems ignore case.
        other = folders.setdefault(row.folder.lower(), row.name)
        if other != row.name:
            raise UsageError(
                f"expected rows with different folder names, got {row.folder!r} for {other!r} and {row.name!r}"
            )
    return tuple(rows)


@dataclass(frozen=True)
class Source:
    """Samples, as `stvg evaluate` takes them.

    Attributes:
        dataset: name of a data set.
        root: its folder.
        split: which part; None: the one that papers report.
        annotations: the annotation file, where no layout names it.
        video_root: folder of the videos, where they lie outside the root.
        limit: only the first N samples; None: all.
        corrections: leave known defects out, and clip boxes to the frame.
    """

    dataset: str
    root: Path
    split: str | None = None
    annotations: Path | None = None
    video_root: Path | None = None
    limit: int | None = None
    corrections: bool = True

    @property
    def video_folder(self) -> Path:
        """Folder that samples name their videos relative to."""
        return self.video_root or self.root

    def open(self) -> Dataset:
        """Find the data set's files; reads none of them.

        Raises:
            UsageError: there is no data set of this name.
            DatasetError: a folder or the annotations are missing.
        """
        return open_dataset(
            self.dataset, self.root, split=self.split, annotations=self.annotations, video_root=self.video_root
        )


def clip_source(video: Path, queries: Sequence[str], out: Path) -> Source:
    """Return one clip with queries as a source; its annotation file is written to the output folder.

    Args:
        video: a local file.
        queries: sentences or questions.
        out: folder of the comparison.

    Raises:
        UsageError: there is no such video, or no query.
        QueryError: a query is empty.
        OutputError: the folder cannot be written to.
    """
    if not video.is_file():
        raise UsageError(f"expected a video file, got {video}; check --video")
    if not queries:
        raise UsageError("expected at least one --query beside --video, got none")
    samples = [
        {"id": f"query-{number}", "video": video.name, "query": clean_sentence(query)}
        for number, query in enumerate(queries, 1)
    ]
    with staged_files(out) as stage:
        (stage / QUERIES_FILE).write_text(json.dumps(samples, indent=1) + "\n", encoding="utf-8")
    return Source("folder", video.parent, annotations=out / QUERIES_FILE)
