"""Writes runs as tables, JSON lines, and the files that `stvg score` reads."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from stvg_core.errors import RunError, UsageError
from stvg_core.evaluation.runs.scoring import looks_outside, score_run
from stvg_core.evaluation.runs.store import RunStore, StoredResult
from stvg_core.evaluation.runs.tasks import prediction_of
from stvg_core.metrics import ScoringProtocol
from stvg_core.outputs.report.staging import own_errors, staged_files

_Row = TypeVar("_Row")
COLUMNS: Final[dict[str, type]] = {
    "sample": str,
    "status": str,
    "video": str,
    "query": str,
    "attribute": str,
    "action": str,
    "start_frame": int,
    "end_frame": int,
    "start_seconds": float,
    "end_seconds": float,
    "counted": bool,
    "tIoU": float,
    "vIoU": float,
    "gt_vIoU": float,
    "attempt": int,
    "session": int,
    "finished": str,
    "seconds": float,
    "error_kind": str,
    "error": str,
}
"""Columns of the tables, with their types; a cell without a value is empty."""


def export_run(folder: Path, target: Path, protocol: ScoringProtocol) -> int:
    """Write the samples of a run to a file, in the format of its ending, atomically; return how many.

    .csv and .parquet: a row per sample with COLUMNS. .jsonl: the same fields, with the whole grounding document.

    Raises:
        UsageError: the ending is not supported.
        RunError: there is no run, or a package is missing.
        OutputError: the file cannot be written.
    """
    writers = {".csv": _write_csv, ".jsonl": _write_lines, ".parquet": _write_parquet}
    if target.suffix not in writers:
        raise UsageError(f"expected a file ending in {', '.join(writers)}, got {target}")
    with RunStore(folder, write=False) as store:
        rows = _rows(store, folder, protocol, with_document=target.suffix == ".jsonl")
        return _write(target, rows, writers[target.suffix])


def export_predictions(folder: Path, target: Path, protocol: ScoringProtocol) -> int:
    """Write the tubes of a run for `stvg score --predictions`, without failed samples; return how many.

    The protocol decides whether boxes outside the span are written.

    Raises:
        RunError: there is no run.
        OutputError: the file cannot be written.
    """
    with RunStore(folder, write=False) as store:
        pairs = (
            (
                sample.sample_id,
                prediction_of(result.document, result.track, sample.task, outside_span=looks_outside(protocol)),
            )
            for sample, result in store.samples_with_results()
            if result and result.document is not None and result.track is not None and sample.task
        )
        return _write(target, pairs, _write_object)


def export_annotations(folder: Path, target: Path) -> int:
    """Write the ground truth of a run's samples as `stvg score --annotations` reads it.

    Raises:
        RunError: there is no run.
        OutputError: the file cannot be written.
    """
    with RunStore(folder, write=False) as store:
        pairs = ((sample.sample_id, sample.annotation) for sample in store.samples() if sample.annotation is not None)
        return _write(target, pairs, _write_object)


def _rows(store: RunStore, folder: Path, protocol: ScoringProtocol, *, with_document: bool) -> Iterator[dict[str, Any]]:
    try:
        scores = {result.sample_id: result for result in score_run(folder, protocol).results}
    except RunError:
        # No sample has ground truth.
        scores = {}
    for sample, result in store.samples_with_results():
        row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"sample": sample.sample_id, "status": "pending"}
        if sample.task is None:
            row |= {"status": "failed", "error_kind": "annotation", "error": sample.problem}
        else:
            row |= {"video": sample.task.video, "query": sample.task.query}
        if result is not None:
            row |= _result_fields(result)
        score = scores.get(sample.sample_id)
        if score is not None and row["status"] != "pending":
            row |= {
                "counted": score.counted,
                "tIoU": score.scores.temporal_iou,
                "vIoU": score.scores.video_iou,
                "gt_vIoU": score.scores.truth_video_iou,
            }
        if with_document:
            row |= {"document": result and result.document, "track": result and result.track}
        yield row


def _result_fields(result: StoredResult) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "status": "ok" if result.failure is None else "failed",
        "attempt": result.attempt,
        "session": result.session,
        "finished": result.finished,
        "seconds": result.seconds,
    }
    if result.failure is not None:
        fields |= {"error_kind": result.failure.kind, "error": result.failure.message}
    if result.document is not None:
        tube, query = result.document["tube"], result.document["query"]
        fields |= {name: tube[name] for name in ("start_frame", "end_frame", "start_seconds", "end_seconds")}
        fields |= {name: query[name] for name in ("attribute", "action")}
    return fields


def _write(target: Path, rows: Iterable[_Row], write: Callable[[Iterable[_Row], Path], None]) -> int:
    """Write rows to a file, atomically; return how many."""
    if not target.name:
        raise UsageError(f"expected a file name, got {target}")
    count = 0

    def counted() -> Iterator[_Row]:
        nonlocal count
        for row in rows:
            yield row
            count += 1

    with staged_files(target.parent) as stage, own_errors(target, "choose another place"):
        write(counted(), stage / target.name)
    return count


def _write_csv(rows: Iterable[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_lines(rows: Iterable[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _write_parquet(rows: Iterable[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise RunError("expected pyarrow for a .parquet file, got none; pip install 'stvg-core[parquet]'") from error
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=schema), path)


def _write_object(pairs: Iterable[tuple[str, Mapping[str, Any]]], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        start = "{"
        for name, document in pairs:
            file.write(f"{start}\n{json.dumps(name)}: {json.dumps(document)}")
            start = ","
        file.write("\n}\n" if start == "," else "{\n}\n")
