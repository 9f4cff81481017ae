"""The store of a run: samples, one result per sample and configuration, sessions and their claims.

Every method is one transaction, so several processes of one machine may work on one folder; machines that share a
file system may not (SQLite's WAL needs shared memory): give each a shard of its own (docs/evaluate.md).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from stvg_core.evaluation.runs.database import (
    INSERT_MAPS,
    INSERT_RESULT,
    has_table,
    is_alive,
    open_database,
    pack,
    read_database,
    session_lock,
    transaction,
    translated_errors,
    unpack,
)
from stvg_core.evaluation.runs.provenance import check_same, configuration_hash
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task, read_task

_PENDING: Final = """
    FROM samples s WHERE s.task IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.sample_id = s.sample_id AND c.configuration = :configuration)
    AND NOT EXISTS (
        SELECT 1 FROM results r WHERE r.sample_id = s.sample_id AND r.configuration = :configuration
        AND (r.status = 'ok' OR NOT :retry OR r.finished >= :started)
    )
"""


@dataclass(frozen=True)
class StoredSample:
    """A stored sample.

    Attributes:
        sample_id: unique in the run.
        position: position in the data set.
        task: for a worker; None if the annotation of the sample cannot be used.
        problem: why it cannot be used; empty if it can.
        annotation: ground truth in the format of `stvg score`; None if the data set has none.
    """

    sample_id: str
    position: int
    task: Task | None
    problem: str = ""
    annotation: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class StoredResult:
    """The result of a sample.

    Attributes:
        sample_id: of the sample.
        document: the grounding document; None if the sample failed.
        track: the chosen track's key boxes; None if the sample failed.
        failure: why it failed; None if it did not.
        attempt: 1 for the first.
        session: number of the session that recorded it.
        finished: time in UTC, ISO 8601.
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
    """One process that worked on the run: when, and in which environment."""

    session: int
    started: str
    ended: str | None
    environment: dict[str, Any]
    busy_seconds: float
    waited_seconds: float
    peak_host_bytes: int | None
    peak_device_bytes: int | None


class RunStore(AbstractContextManager["RunStore"]):
    """A run folder, open; a context manager that closes it.

    Every method raises OutputError if the folder cannot be written to, and RunError if the file is damaged or locked.

    Attributes:
        folder: of the run.
        configuration_hash: SHA-256 of the configuration; empty before `begin_configuration`.
    """

    def __init__(self, folder: Path, *, write: bool = True) -> None:
        """Open a run; without `write` to read alone, else it is created if it does not exist.

        Raises:
            OutputError: the folder cannot be written to.
            RunError: the folder has no run, or one that cannot be read.
        """
        self.folder = folder
        self.database = open_database(folder) if write else read_database(folder)
        self._lock: FileLock | None = None
        self._session = 0
        self._started = ""
        self.configuration_hash = str((self._first("SELECT hash FROM configurations") or [""])[0])

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Close the file, and release the session's lock and claims."""
        try:
            if self._lock is not None and error is None:
                with self._transaction():
                    self.database.execute("DELETE FROM claims WHERE session = ?", (self._session,))
                self.update_session(ended=_now())
        finally:
            if self._lock is not None:
                self._lock.release()
                with suppress(OSError):
                    Path(self._lock.lock_file).unlink(missing_ok=True)
            self.database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated_errors(self.folder), transaction(self.database):
            yield

    def _rows(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> Iterator[Any]:
        with translated_errors(self.folder):
            yield from self.database.execute(query, values)

    def _first(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> Any:  # noqa: ANN401  # a row
        return next(self._rows(query, values), None)

    def _unpack(self, packed: bytes | None) -> dict[str, Any] | None:
        return None if packed is None else unpack(packed, self.folder)

    # The run as a whole

    def read_values(self) -> dict[str, Any]:
        """Return the values of the run by name."""
        return {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM run")}

    def write_values(self, values: Mapping[str, Any]) -> None:
        """Add or replace values of the run, as JSON."""
        with self._transaction():
            self.database.executemany(
                "INSERT OR REPLACE INTO run VALUES (?, ?)", [(key, json.dumps(value)) for key, value in values.items()]
            )

    def configuration(self) -> dict[str, Any] | None:
        """Return the configuration: what decides the results of this run; None before `begin_configuration`."""
        row = self._first("SELECT document FROM configurations WHERE hash = ?", (self.configuration_hash,))
        return None if row is None else dict(json.loads(row[0]))

    def begin_configuration(self, configuration: Mapping[str, Any]) -> None:
        """Set the configuration of a new run, or check that it is equal to that of the run.

        Raises:
            RunError: it differs; the message says where.
        """
        identifier = configuration_hash(configuration)
        with self._transaction():
            row = self.database.execute("SELECT hash, document FROM configurations").fetchone()
            if row is None:
                row = (identifier, json.dumps(configuration))
                self.database.execute("INSERT INTO configurations VALUES (?, ?)", row)
        self.configuration_hash = row[0]
        if identifier != row[0]:
            check_same(json.loads(row[1]), configuration, "the run", "this command")

    # Samples

    def add_samples(self, samples: Iterable[StoredSample]) -> None:
        """Add samples in one transaction; samples that exist are not changed."""
        with self._transaction():
            self._insert(samples)

    def replace_unusable(self, samples: Iterable[StoredSample]) -> None:
        """Replace samples that could not be used by the samples that now have their positions."""
        with self._transaction():
            deleted = self.database.execute("DELETE FROM samples WHERE task IS NULL RETURNING position").fetchall()
            positions = {position for (position,) in deleted}
            self._insert(sample for sample in samples if sample.position in positions)

    def delete_groups(self, groups: Iterable[str]) -> None:
        """Delete the samples of groups; for a run without results."""
        with self._transaction():
            self.database.executemany("DELETE FROM samples WHERE work_group = ?", ((group,) for group in groups))

    def group_sizes(self) -> dict[str, int]:
        """Return how many samples each group has; unusable ones are of group ""."""
        return dict(self._rows("SELECT work_group, count(*) FROM samples GROUP BY work_group"))

    def _insert(self, samples: Iterable[StoredSample]) -> None:
        self.database.executemany(
            "INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    sample.sample_id,
                    sample.position,
                    sample.task.group if sample.task else "",
                    sample.task.dumps() if sample.task else None,
                    sample.problem or None,
                    None if sample.annotation is None else pack(json.dumps(sample.annotation)),
                )
                for sample in samples
            ),
        )

    def samples(self) -> Iterator[StoredSample]:
        """Yield every sample in the order of the data set, one at a time."""
        for sample_id, position, task, problem, annotation in self._rows(
            "SELECT sample_id, position, task, problem, annotation FROM samples ORDER BY position"
        ):
            yield StoredSample(sample_id, position, task and read_task(task), problem or "", self._unpack(annotation))

    def annotation(self, sample_id: str) -> dict[str, Any] | None:
        """Return the ground truth of a sample in the format of `stvg score`; None if it has none."""
        row = self._first("SELECT annotation FROM samples WHERE sample_id = ?", (sample_id,))
        return None if row is None else self._unpack(row[0])

    def has_annotations(self) -> bool:
        """Return whether any sample has ground truth."""
        return self._first("SELECT 1 FROM samples WHERE annotation IS NOT NULL") is not None

    def unusable(self) -> Iterator[tuple[str, str]]:
        """Yield id and problem of every sample whose annotation cannot be used."""
        yield from self._rows("SELECT sample_id, problem FROM samples WHERE task IS NULL ORDER BY position")

    # Sessions and claims

    def begin_session(self, environment: Mapping[str, Any]) -> None:
        """Record a new session, and free the claims of dead sessions."""
        with translated_errors(self.folder):
            with transaction(self.database):
                self._started = _now()
                session = self.database.execute(
                    "INSERT INTO sessions (configuration, started, circumstances) VALUES (?, ?, ?)",
                    (self.configuration_hash, self._started, json.dumps(environment)),
                ).lastrowid
            self._session = int(session or 0)
            self._lock = session_lock(self.folder, self._session)
            Path(self._lock.lock_file).parent.mkdir(exist_ok=True)
            self._lock.acquire()
        self.free_dead_claims()

    def update_session(self, **values: object) -> None:
        """Record columns of this session: its end, the seconds and the memory of its device."""
        columns = ", ".join(f"{name} = :{name}" for name in values)
        with self._transaction():
            self.database.execute(
                f"UPDATE sessions SET {columns} WHERE session = :session",  # noqa: S608  # names of columns
                {**values, "session": self._session},
            )

    def sessions(self) -> tuple[StoredSession, ...]:
        """Return every session, in order."""
        return tuple(
            StoredSession(session, started, ended, json.loads(environment), *cost)
            for session, started, ended, environment, *cost in self._rows(
                "SELECT session, started, ended, circumstances, busy_seconds, waited_seconds, peak_host_bytes, "
                "peak_device_bytes FROM sessions ORDER BY session"
            )
        )

    def free_dead_claims(self) -> int:
        """Delete claims of sessions whose process has ended.

        Returns:
            How many samples are claimed by other living sessions.
        """
        others = list(self._rows("SELECT DISTINCT session FROM claims WHERE session != ?", (self._session,)))
        # Before the transaction, which makes other processes wait.
        dead = [(session,) for (session,) in others if not is_alive(self.folder, session)]
        with self._transaction():
            self.database.executemany("DELETE FROM claims WHERE session = ?", dead)
        return int(self._first("SELECT count(*) FROM claims WHERE session != ?", (self._session,))[0])

    def claim_group(self, *, retry: bool = False) -> tuple[Task, ...]:
        """Claim the pending tasks of one group and return them; empty if none is pending.

        Args:
            retry: samples that failed before this session are pending too.
        """
        with self._transaction():
            values = self._pending_values(retry=retry)
            group = self._first(f"SELECT s.work_group {_PENDING} ORDER BY s.work_group LIMIT 1", values)
            if group is None:
                return ()
            query = f"SELECT s.task {_PENDING} AND s.work_group = :group ORDER BY s.position"
            tasks = tuple(read_task(text) for (text,) in self._rows(query, {**values, "group": group[0]}))
            self.database.executemany(
                "INSERT INTO claims VALUES (?, ?, ?)",
                [(task.sample_id, self.configuration_hash, self._session) for task in tasks],
            )
        return tasks

    def count_pending(self, *, retry: bool = False) -> int:
        """Return how many samples have neither a claim nor a result."""
        return int(self._first(f"SELECT count(*) {_PENDING}", self._pending_values(retry=retry))[0])

    def _pending_values(self, *, retry: bool) -> dict[str, object]:
        return {"configuration": self.configuration_hash, "retry": retry, "started": self._started}

    # Results

    def record(self, outcome: Outcome) -> None:
        """Record the outcome of a sample; replaces an earlier failure, but not an earlier success."""
        failure = outcome.failure
        key = (outcome.sample_id, self.configuration_hash)
        with self._transaction():
            before = self.database.execute(
                "SELECT attempt FROM results WHERE sample_id = ? AND configuration = ?", key
            ).fetchone()
            row = (
                *key,
                "ok" if failure is None else "failed",
                1 if before is None else before[0] + 1,
                self._session,
                _now(),
                outcome.seconds,
                None if outcome.document is None else pack(outcome.document),
                None if outcome.track is None else pack(outcome.track),
                *((None, None, None) if failure is None else (failure.kind, failure.message, failure.traceback)),
            )
            self.database.execute(INSERT_RESULT, row)
            if outcome.maps is not None:
                self.database.execute(INSERT_MAPS, (*key, pack(outcome.maps)))
            self.database.execute("DELETE FROM claims WHERE sample_id = ? AND configuration = ?", key)

    def maps(self, sample_id: str) -> dict[str, Any] | None:
        """Return a sample's attention maps (`stvg_core.outputs.report.kept_maps`); None if they were not stored."""
        with translated_errors(self.folder):
            if not has_table(self.database, "maps"):
                return None
        key = (sample_id, self.configuration_hash)
        row = self._first("SELECT maps FROM maps WHERE sample_id = ? AND configuration = ?", key)
        return None if row is None else self._unpack(row[0])

    def result(self, sample_id: str) -> StoredResult | None:
        """Return the result of a sample; None if it has none."""
        return next(self._results("AND r.sample_id = ?", sample_id), None)

    def results(self) -> Iterator[StoredResult]:
        """Yield every result in the order of the data set, one at a time."""
        yield from self._results("ORDER BY s.position")

    def samples_with_results(self) -> Iterator[tuple[StoredSample, StoredResult | None]]:
        """Yield every sample in the order of the data set with its result; None for a pending one."""
        results = self.results()
        following = next(results, None)
        for sample in self.samples():
            if following is not None and following.sample_id == sample.sample_id:
                yield sample, following
                following = next(results, None)
            else:
                yield sample, None

    def _results(self, ending: str, *values: str) -> Iterator[StoredResult]:
        for sample_id, document, track, kind, error, trace, *rest in self._rows(
            "SELECT r.sample_id, r.document, r.track, r.error_kind, r.error, r.traceback, r.attempt, r.session, "  # noqa: S608
            "r.finished, r.seconds FROM results r JOIN samples s USING (sample_id) "
            f"WHERE r.configuration = ? {ending}",  # constants only
            (self.configuration_hash, *values),
        ):
            failure = None if kind is None else Failure(kind, error, trace or "")
            yield StoredResult(sample_id, self._unpack(document), self._unpack(track), failure, *rest)

    def outcomes(self) -> Iterator[tuple[str, str | None, str | None, float]]:
        """Yield sample id, kind and message of the error (None if it has a tube) and seconds of every result."""
        yield from self._rows(
            "SELECT r.sample_id, r.error_kind, r.error, r.seconds FROM results r JOIN samples s USING (sample_id) "
            "WHERE r.configuration = ? ORDER BY s.position",
            (self.configuration_hash,),
        )

    def counts(self) -> dict[str, int]:
        """Return how many samples are `ok`, `failed` (unusable annotations included) and `pending`."""
        statuses = self._rows(
            "SELECT CASE WHEN s.task IS NULL THEN 'failed' ELSE coalesce(r.status, 'pending') END AS state, count(*) "
            "FROM samples s LEFT JOIN results r ON r.sample_id = s.sample_id AND r.configuration = ? GROUP BY state",
            (self.configuration_hash,),
        )
        return {"ok": 0, "failed": 0, "pending": 0} | dict(statuses)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
