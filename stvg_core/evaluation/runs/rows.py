"""Rows of a run as values, and documents as the compressed bytes that a row holds."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stvg_core.errors import RunError
from stvg_core.evaluation.runs.tasks import Failure, Task

MOST_DOCUMENT_BYTES: Final = 2**28
"""Of one document when it is unpacked; a run folder may come from anywhere."""


@dataclass(frozen=True)
class StoredSample:
    """A sample as the store holds it.

    Attributes:
        sample_id: unique in the run.
        position: place in the data set's order.
        task: what a worker is given; None where the sample's annotation cannot be used.
        problem: why it cannot be used; empty where it can.
        annotation: its truth as `stvg score` reads it; None where there is none.
    """

    sample_id: str
    position: int
    task: Task | None
    problem: str = ""
    annotation: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class StoredResult:
    """What came of a sample.

    Attributes:
        sample_id: which one.
        document: the grounding document; None where the sample failed.
        track: the chosen track's key boxes; None where the sample failed.
        failure: why it failed; None where it did not.
        attempt: 1 for the first.
        session: number of the session that made it.
        finished: time in UTC, as ISO 8601 says it.
        seconds: wall clock.
    """

    sample_id: str
    document: dict[str, Any] | None
    track: dict[str, Any] | None
    failure: Failure | None
    attempt: int
    session: int
    finished: str
    seconds: float


@dataclass(frozen=True)
class StoredSession:
    """One process that worked on the run: when, and under what circumstances."""

    session: int
    started: str
    ended: str | None
    circumstances: dict[str, Any]
    busy_seconds: float
    waited_seconds: float
    peak_host_bytes: int | None
    peak_device_bytes: int | None


def pack(document: Mapping[str, Any]) -> bytes:
    """Return a document as a row holds it."""
    return pack_text(json.dumps(document))


def pack_text(text: str) -> bytes:
    """Return the JSON text of a document as a row holds it."""
    return zlib.compress(text.encode())


def unpack(packed: bytes, folder: Path) -> dict[str, Any]:
    """Return the document of a row.

    Args:
        packed: what `pack` made.
        folder: of the run, for the message.

    Raises:
        RunError: it is damaged, or larger than any document.
    """
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, MOST_DOCUMENT_BYTES)
        value = json.loads(text) if unpacker.eof else None
    except (zlib.error, ValueError, RecursionError) as error:
        raise RunError(f"expected documents in the run {folder}, got a damaged one: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"expected documents in the run {folder}, got one that is cut short or larger than any")
    return value
