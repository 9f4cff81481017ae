"""Merges runs, such as the shards of a data set, into one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stvg_core.errors import RunError, UsageError
from stvg_core.evaluation.runs.database import (
    FILE_NAME,
    INSERT_MAPS,
    INSERT_RESULT,
    RESULT_COLUMNS,
    SESSION_COLUMNS,
    has_maps,
    transaction,
    translated_errors,
)
from stvg_core.evaluation.runs.provenance import check_same
from stvg_core.evaluation.runs.selection import Selection
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.outputs.report.staging import staged_files


def merge_runs(sources: Sequence[Path], target: Path) -> dict[str, int]:
    """Write one run with the samples and results of others, which are not changed.

    The run is written beside the target and moved there in one step. If two runs have the same sample, a success
    is preferred to a failure. The merged run is like any other: `stvg evaluate` resumes it.

    Args:
        sources: run folders of one configuration, such as the shards of one run.
        target: folder without a run.

    Returns:
        What `RunStore.counts` returns.

    Raises:
        UsageError: fewer than two sources, or one of them is the target.
        RunError: their configurations differ, a shard is missing, or the target contains a run.
        OutputError: the target cannot be written to.
    """
    if len(sources) < 2 or target.resolve() in {source.resolve() for source in sources}:  # noqa: PLR2004
        raise UsageError(f"expected at least two runs and another folder for the result, got {len(sources)}")
    if (target / FILE_NAME).exists():
        raise RunError(f"expected a folder without a run, got {target}; name another with --into")
    stores = [RunStore(source, write=False) for source in sources]
    try:
        selection = _common_selection(stores)
        with staged_files(target) as stage, RunStore(stage) as merged:
            merged.add_configuration(stores[0].configuration_hash, stores[0].configuration() or {})
            merged.write_values({**stores[0].read_values(), **selection.values()})
            with translated_errors(target), transaction(merged.database):
                for store in stores:
                    _copy(store, merged)
            counts = merged.counts()
            _check_complete(counts, selection, stores[0].read_values())
        return counts
    finally:
        for store in stores:
            store.database.close()


def _common_selection(stores: Sequence[RunStore]) -> Selection:
    """Return the selection of all runs together.

    Raises:
        RunError: their configurations differ, or a shard is missing.
    """
    first = stores[0]
    for store in stores[1:]:
        check_same(first.configuration(), store.configuration(), str(first.folder), str(store.folder))
    selections = [Selection.read(store.read_values()) for store in stores]
    limits = {selection.limit for selection in selections}
    if len(limits) > 1:
        raise RunError(f"expected runs with one --limit, got {sorted(map(str, limits))}")
    shards = {selection.shard for selection in selections}
    counts = {shard.count for shard in shards if shard is not None}
    if None not in shards and counts:
        if len(counts) > 1:
            raise RunError(f"expected shards of one division, got some of {sorted(counts)}")
        missing = sorted(set(range(1, counts.pop() + 1)) - {shard.number for shard in shards if shard is not None})
        if missing:
            raise RunError(
                f"expected every shard, but these are missing: {', '.join(map(str, missing))}; name them too"
            )
    return Selection(selections[0].limit)


def _check_complete(counts: Mapping[str, int], selection: Selection, values: Mapping[str, Any]) -> None:
    """Raise an error if samples of the data set are missing: the mean score would be of another set."""
    expected, count = int(values["dataset_samples"]), sum(counts.values())
    if selection.shard is None and count != expected:
        raise RunError(f"expected {expected} samples of the data set together, got {count}; run the shards again")


def _copy(source: RunStore, target: RunStore) -> None:
    numbers: dict[int, int] = {}
    columns, places = ", ".join(SESSION_COLUMNS), ", ".join("?" for _ in SESSION_COLUMNS)
    for session, *rest in source.database.execute(f"SELECT session, {columns} FROM sessions"):  # noqa: S608  # constants
        cursor = target.database.execute(f"INSERT INTO sessions ({columns}) VALUES ({places})", rest)  # noqa: S608
        numbers[session] = int(cursor.lastrowid or 0)
    target.database.executemany(
        "INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)", source.database.execute("SELECT * FROM samples")
    )
    rows = source.database.execute(f"SELECT {', '.join(RESULT_COLUMNS)} FROM results")  # noqa: S608  # a constant
    place = RESULT_COLUMNS.index("session")
    target.database.executemany(INSERT_RESULT, ((*row[:place], numbers[row[place]], *row[place + 1 :]) for row in rows))
    if has_maps(source.database):
        target.database.executemany(INSERT_MAPS, source.database.execute("SELECT * FROM maps"))
