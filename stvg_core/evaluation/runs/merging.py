"""One run out of several: shards of a data set that were worked on apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stvg_core.errors import RunError, UsageError
from stvg_core.evaluation.runs.database import (
    FILE_NAME,
    KEEP_MAPS,
    KEEP_RESULT,
    RESULT_COLUMNS,
    SESSION_COLUMNS,
    has_maps,
    own_errors,
    transaction,
)
from stvg_core.evaluation.runs.provenance import check_same
from stvg_core.evaluation.runs.selection import Selection
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.outputs.report.staging import staged_files


def merge_runs(sources: Sequence[Path], target: Path) -> dict[str, int]:
    """Write one run that has the samples and results of others; they stay as they are.

    The whole run is written beside the target and moved there in one step. Where two runs have a sample, a
    result that is done goes before a failure. What is merged is a run like any other: `stvg evaluate` goes on
    with it.

    Args:
        sources: run folders of one configuration, such as the shards of one run.
        target: a folder without a run.

    Returns:
        Counts as `RunStore.counts` does.

    Raises:
        UsageError: fewer than two sources, or one of them is the target.
        RunError: they differ in what decides results, a shard is missing, or the target has a run already.
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
            with own_errors(target), transaction(merged.database):
                for store in stores:
                    _copy(store, merged)
            counts = merged.counts()
            _check_complete(counts, selection, stores[0].read_values())
        return counts
    finally:
        for store in stores:
            store.database.close()


def _common_selection(stores: Sequence[RunStore]) -> Selection:
    """Return what the runs cover together.

    Raises:
        RunError: they are not of one configuration, or a shard is missing.
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
    """Refuse a run that lacks samples of the data set: a mean over it would be of something else."""
    expected, found = int(values["dataset_samples"]), sum(counts.values())
    if selection.shard is None and found != expected:
        raise RunError(f"expected {expected} samples of the data set together, got {found}; run the shards again")


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
    target.database.executemany(KEEP_RESULT, ((*row[:place], numbers[row[place]], *row[place + 1 :]) for row in rows))
    if has_maps(source.database):
        target.database.executemany(KEEP_MAPS, source.database.execute("SELECT * FROM maps"))
