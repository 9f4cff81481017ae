"""Writes runs as tables, JSON lines, and the files that `stvg score` reads."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from stvg_core.errors import OutputError, RunError, UsageError
from stvg_core.evaluation.runs.scoring import looks_outside, score_run
from stvg_core.evaluation.runs.store import RunStore, StoredResult
from stvg_core.evaluation.runs.tasks import prediction_of
from stvg_core.metrics import ScoringProtocol
from stvg_core.outputs.report.staging import staged_files

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
    writers: dict[str, Callable[[Iterator[dict[str, Any]], Path], int]] = {
        ".csv": _write_csv,
        ".jsonl": _write_lines,
        ".parquet": _write_parquet,
    }
    if target.suffix not in writers:
        raise UsageError(f"expected a file ending in {', '.join(writers)}, got {target}")
    with RunStore(folder, write=False) as store:
        rows = _rows(store, folder, protocol, with_document=target.suffix == ".jsonl")
        return _whole(target, lambda path: writers[target.suffix](rows, path))


def export_predictions(folder: Path, target: Path, protocol: ScoringProtocol) -> int:
    """Write the tubes of a run for `stvg score --predictions`, without failed samples; return how many.

    The protocol decides whether boxes outside the span are written.

    Raises:
        RunError: there is no run.
        OutputError: the file cannot be written.
    """
    with RunStore(folder, write=False) as store:
        tasks = {sample.sample_id: sample.task for sample in store.samples()}

        def pairs() -> Iterator[tuple[str, Mapping[str, Any]]]:
            for result in store.results():
                task = tasks[result.sample_id]
                if result.document is not None and result.track is not None and task is not None:
                    outside = looks_outside(protocol)
                    yield (
                        result.sample_id,
                        prediction_of(result.document, result.track, task, outside_span=outside),
                    )

        return _whole(target, lambda path: _write_object(pairs(), path))


def export_annotations(folder: Path, target: Path) -> int:
    """Write the ground truth of a run's samples as `stvg score --annotations` reads it.

    Raises:
        RunError: there is no run.
        OutputError: the file cannot be written.
    """
    with RunStore(folder, write=False) as store:
        pairs = ((sample.sample_id, sample.annotation) for sample in store.samples() if sample.annotation is not None)
        return _whole(target, lambda path: _write_object(pairs, path))


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


def _whole(target: Path, write: Callable[[Path], int]) -> int:
    if not target.name:
        raise UsageError(f"expected a file name, got {target}")
    with staged_files(target.parent) as stage:
        try:
            return write(stage / target.name)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise OutputError(f"cannot write {target}: {reason}; choose another place") from error


def _write_csv(rows: Iterator[dict[str, Any]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def _write_lines(rows: Iterator[dict[str, Any]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
            count += 1
    return count


def _write_parquet(rows: Iterator[dict[str, Any]], path: Path) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise RunError("expected pyarrow for a .parquet file, got none; pip install 'stvg-core[parquet]'") from error
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    table = pyarrow.Table.from_pylist(
        list(rows), schema=pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    )
    pyarrow.parquet.write_table(table, path)
    return int(table.num_rows)


def _write_object(pairs: Iterator[tuple[str, Mapping[str, Any]]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("{")
        for name, document in pairs:
            file.write(",\n" if count else "\n")
            file.write(f"{json.dumps(name)}: {json.dumps(document)}")
            count += 1
        file.write("\n}\n")
    return count
