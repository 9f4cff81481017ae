"""What an ablation has measured so far: files of one line per sample, which are only ever added to.

Each process writes files of its own, so that any number of them can work on one ablation, on any number of machines,
and files from elsewhere are merged by being put into the folder. A torn last line is left out.
"""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import OutputError, RunError
from stvg_core.evaluation.ablation.evaluating import EXTRAS, Measured
from stvg_core.evaluation.runs.provenance import configuration_hash
from stvg_core.evaluation.runs.tasks import Failure

FOLDER: Final = "results"
_ENDING: Final = ".jsonl"
_FORMAT: Final = 1
_DIGITS: Final = 5


@dataclass(frozen=True)
class Header:
    """What the lines of a file mean.

    Attributes:
        configuration: everything that decides the results.
        variants: identifiers of what was run on each sample, in the order of a line's cells.
        circumstances: who computed, where and with what.
    """

    configuration: Mapping[str, Any]
    variants: tuple[str, ...]
    circumstances: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What tells one configuration's results from another's."""
        return configuration_hash(self.configuration)


@dataclass(frozen=True)
class SampleLine:
    """What came of one sample.

    Attributes:
        sample_id: which.
        groups: what it is broken down by.
        cells: by variant identifier.
    """

    sample_id: str
    groups: tuple[str, ...]
    cells: Mapping[str, Measured | Failure]


class ResultWriter:
    """A new file of results; a context manager that closes it."""

    def __init__(self, out: Path, header: Header) -> None:
        """Begin a file.

        Raises:
            OutputError: the folder cannot be written to.
        """
        self._header = header
        folder = out / FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path = folder / f"{header.key[:12]}-{secrets.token_hex(4)}{_ENDING}"
            self._file = self.path.open("x", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"cannot write to {folder}: {error.strerror}; choose another folder with --out"
            ) from error
        self._write(
            {
                "format": _FORMAT,
                "configuration": header.configuration,
                "variants": header.variants,
                "extras": EXTRAS,
                "circumstances": header.circumstances,
            }
        )

    def __enter__(self) -> "ResultWriter":
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def add(self, line: SampleLine) -> None:
        """Write one sample.

        Raises:
            OutputError: the disk is full, or gone.
        """
        cells = [_packed(line.cells[name]) for name in self._header.variants]
        self._write({"id": line.sample_id, "groups": line.groups, "cells": cells})

    def _write(self, values: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(values, separators=(",", ":")) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write to {self.path}: {error.strerror}; make room and run again") from error


def read_results(out: Path) -> Iterator[tuple[Header, list[SampleLine]]]:
    """Yield every file's header and samples.

    Raises:
        RunError: a file is none of ours.
    """
    for path in sorted((out / FOLDER).glob(f"*{_ENDING}")):
        with path.open(encoding="utf-8") as file:
            # A process that was killed may have left half a line, also half a header.
            lines = [text for text in file if text.endswith("\n")]
        if not lines:
            continue
        try:
            head = json.loads(lines[0])
            if head["format"] != _FORMAT or tuple(head["extras"]) != EXTRAS:
                raise ValueError("another format")  # noqa: TRY301  # told apart below, with the others
            header = Header(head["configuration"], tuple(head["variants"]), head["circumstances"])
            yield header, [_line(json.loads(text), header) for text in lines[1:]]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"expected results of stvg ablate in {path}, got something else ({one_line(str(error), 100)}); move it "
                "out of the folder"
            ) from error


def _line(values: Mapping[str, Any], header: Header) -> SampleLine:
    cells = dict(zip(header.variants, map(_unpacked, values["cells"]), strict=True))
    return SampleLine(values["id"], tuple(values["groups"]), cells)


def _packed(cell: Measured | Failure) -> dict[str, Any]:
    if isinstance(cell, Failure):
        return {"error": [cell.kind, cell.message]}
    return {
        "scores": {name: [round(value, _DIGITS) for value in found] for name, found in cell.scores.items()},
        "extras": [None if value is None else float(f"{value:.{_DIGITS}g}") for value in cell.extras],
    }


def _unpacked(cell: Mapping[str, Any]) -> Measured | Failure:
    if "error" in cell:
        return Failure(*cell["error"])
    return Measured({name: tuple(found) for name, found in cell["scores"].items()}, tuple(cell["extras"]))
