"""Merges runs, such as the shards of a data set, into one."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from stvg_core.errors import RunError, UsageError
from stvg_core.evaluation.runs.database import (
    FILE_NAME,
    INSERT_MAPS,
    INSERT_RESULT,
    has_table,
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
    with ExitStack() as opened:
        stores = [opened.enter_context(RunStore(source, write=False)) for source in sources]
        selection, values = _common_selection(stores), stores[0].read_values()
        with staged_files(target) as stage, RunStore(stage) as merged:
            merged.begin_configuration(stores[0].configuration() or {})
            merged.write_values({**values, **selection.values()})
            with translated_errors(target), transaction(merged.database):
                for store in stores:
                    _copy(store, merged)
            counts = merged.counts()
            # Without all samples of the data set the mean score would be of another set.
            expected, count = int(values["dataset_samples"]), sum(counts.values())
            if count != expected:
                raise RunError(
                    f"expected {expected} samples of the data set together, got {count}; run the shards again"
                )
    return counts


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


def _copy(source: RunStore, target: RunStore) -> None:
    # Sessions are numbered anew.
    numbers: dict[int, int] = {}
    for session, *rest in source.database.execute("SELECT * FROM sessions"):
        cursor = target.database.execute("INSERT INTO sessions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", rest)
        numbers[session] = int(cursor.lastrowid or 0)
    results = source.database.execute("SELECT * FROM results")
    place = [name for name, *_ in results.description].index("session")
    rows = ((*row[:place], numbers[row[place]], *row[place + 1 :]) for row in results)
    samples = source.database.execute("SELECT * FROM samples")
    target.database.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)", samples)
    target.database.executemany(INSERT_RESULT, rows)
    if has_table(source.database, "maps"):
        target.database.executemany(INSERT_MAPS, source.database.execute("SELECT * FROM maps"))
