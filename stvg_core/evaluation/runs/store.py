"""The store of a run: samples, one result per sample and configuration, sessions and their claims.

Every method is one transaction. A process that is killed leaves only what it recorded; its claims are free again,
because the system releases its lock. Several processes of one machine may work on one folder; machines that
share a file system may not (SQLite's WAL needs shared memory): give each a shard of its own (docs/evaluate.md).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from stvg_core.errors import RunError
from stvg_core.evaluation.runs.database import (
    INSERT_MAPS,
    INSERT_RESULT,
    SessionLock,
    has_maps,
    is_alive,
    open_database,
    pack,
    pack_text,
    read_database,
    transaction,
    translated_errors,
    unpack,
)
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


class RunStore:
    """A run folder, open; a context manager that closes it."""

    def __init__(self, folder: Path, *, write: bool = True) -> None:
        """Open a run.

        Args:
            folder: of the run; created if it does not exist and `write` is set.
            write: False: read only; the folder must contain a run.

        Raises:
            OutputError: the folder cannot be written to.
            RunError: the folder has no run, or one that cannot be read.
        """
        self.folder = folder
        self.database = open_database(folder) if write else read_database(folder)
        self._lock: SessionLock | None = None
        self._session = 0
        self._started = ""
        self._configuration = self._stored_configuration()

    def __enter__(self) -> "RunStore":
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, and release the session's lock and claims."""
        try:
            if self._lock is not None and error is None:
                self.end_session()
        finally:
            if self._lock is not None:
                self._lock.release()
            self.database.close()

    # The run as a whole

    def read_values(self) -> dict[str, Any]:
        """Return the values of the run by name."""
        with translated_errors(self.folder):
            return {key: json.loads(value) for key, value in self.database.execute("SELECT key, value FROM run")}

    def write_values(self, values: Mapping[str, Any]) -> None:
        """Add or replace values of the run, as JSON."""
        with translated_errors(self.folder), transaction(self.database):
            self.database.executemany(
                "INSERT OR REPLACE INTO run VALUES (?, ?)", [(key, json.dumps(value)) for key, value in values.items()]
            )

    @property
    def configuration_hash(self) -> str:
        """SHA-256 of the configuration; empty before `add_configuration`."""
        return self._configuration

    def configuration(self) -> dict[str, Any] | None:
        """Return the configuration: what decides the results of this run; None before `add_configuration`."""
        with translated_errors(self.folder):
            row = self.database.execute(
                "SELECT document FROM configurations WHERE hash = ?", (self._configuration,)
            ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def add_configuration(self, identifier: str, document: Mapping[str, Any]) -> None:
        """Set the configuration of this run.

        Raises:
            RunError: the run has a different one.
        """
        with translated_errors(self.folder), transaction(self.database):
            if self._stored_configuration() not in ("", identifier):
                raise RunError(f"expected one configuration in {self.folder}, got a second; use another --run")
            self.database.execute(
                "INSERT OR IGNORE INTO configurations VALUES (?, ?)", (identifier, json.dumps(document))
            )
        self._configuration = identifier

    def _stored_configuration(self) -> str:
        with translated_errors(self.folder):
            row = self.database.execute("SELECT hash FROM configurations").fetchone()
        return "" if row is None else str(row[0])

    # Samples

    def add_samples(self, samples: Iterable[StoredSample]) -> None:
        """Add samples in one transaction; samples that exist are not changed."""
        with translated_errors(self.folder), transaction(self.database):
            self._insert(samples)

    def replace_unusable(self, samples: Iterable[StoredSample]) -> None:
        """Replace samples that could not be used by the samples that now have their positions."""
        with translated_errors(self.folder), transaction(self.database):
            positions = {
                position for (position,) in self.database.execute("SELECT position FROM samples WHERE task IS NULL")
            }
            self.database.execute("DELETE FROM samples WHERE task IS NULL")
            self._insert(sample for sample in samples if sample.position in positions)

    def keep_groups(self, groups: Iterable[str]) -> None:
        """Delete samples of other groups; for a run without results."""
        with translated_errors(self.folder), transaction(self.database):
            self.database.execute("CREATE TEMP TABLE kept (name TEXT PRIMARY KEY)")
            self.database.executemany("INSERT INTO kept VALUES (?)", ((group,) for group in groups))
            self.database.execute("DELETE FROM samples WHERE work_group NOT IN (SELECT name FROM kept)")
            self.database.execute("DROP TABLE kept")

    def group_sizes(self) -> dict[str, int]:
        """Return how many samples each group has; unusable ones are of group ""."""
        with translated_errors(self.folder):
            return dict(
                self.database.execute("SELECT work_group, count(*) FROM samples GROUP BY work_group").fetchall()
            )

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
                    None if sample.annotation is None else pack(sample.annotation),
                )
                for sample in samples
            ),
        )

    def samples(self) -> Iterator[StoredSample]:
        """Yield every sample in the order of the data set, one at a time."""
        with translated_errors(self.folder):
            for sample_id, position, task, problem, annotation in self.database.execute(
                "SELECT sample_id, position, task, problem, annotation FROM samples ORDER BY position"
            ):
                yield StoredSample(
                    sample_id,
                    position,
                    None if task is None else read_task(task),
                    problem or "",
                    None if annotation is None else unpack(annotation, self.folder),
                )

    def annotation(self, sample_id: str) -> dict[str, Any] | None:
        """Return the ground truth of a sample in the format of `stvg score`; None if it has none."""
        with translated_errors(self.folder):
            row = self.database.execute("SELECT annotation FROM samples WHERE sample_id = ?", (sample_id,)).fetchone()
        return None if row is None or row[0] is None else unpack(row[0], self.folder)

    def unusable(self) -> Iterator[tuple[str, str]]:
        """Yield id and problem of every sample whose annotation cannot be used."""
        with translated_errors(self.folder):
            yield from self.database.execute(
                "SELECT sample_id, problem FROM samples WHERE task IS NULL ORDER BY position"
            )

    def can_be_scored(self) -> bool:
        """Return whether any sample has ground truth, or an unusable annotation that counts as failed."""
        with translated_errors(self.folder):
            return bool(
                self._count("SELECT EXISTS (SELECT 1 FROM samples WHERE annotation IS NOT NULL OR task IS NULL)")
            )

    # Sessions and claims

    def begin_session(self, environment: Mapping[str, Any]) -> int:
        """Record a new session, and free the claims of dead sessions.

        Returns:
            The session's number.
        """
        with translated_errors(self.folder):
            with transaction(self.database):
                self._started = _now()
                session = self.database.execute(
                    "INSERT INTO sessions (configuration, started, circumstances) VALUES (?, ?, ?)",
                    (self._configuration, self._started, json.dumps(environment)),
                ).lastrowid
            self._session = int(session or 0)
            self._lock = SessionLock(self.folder, self._session)
        self.free_dead_claims()
        return self._session

    def end_session(self) -> None:
        """Free the session's claims, and record its end."""
        with translated_errors(self.folder), transaction(self.database):
            self.database.execute("DELETE FROM claims WHERE session = ?", (self._session,))
            self.database.execute("UPDATE sessions SET ended = ? WHERE session = ?", (_now(), self._session))

    def add_session_seconds(self, busy_seconds: float, waited_seconds: float) -> None:
        """Record how long the session's device worked, and how long it waited for frames."""
        with translated_errors(self.folder), transaction(self.database):
            self.database.execute(
                "UPDATE sessions SET busy_seconds = ?, waited_seconds = ? WHERE session = ?",
                (busy_seconds, waited_seconds, self._session),
            )

    def add_session_memory(self, *, peak_host_bytes: int | None = None, peak_device_bytes: int | None = None) -> None:
        """Record the session's largest resident set and CUDA allocation; None if not measured."""
        with translated_errors(self.folder), transaction(self.database):
            self.database.execute(
                "UPDATE sessions SET peak_host_bytes = ?, peak_device_bytes = ? WHERE session = ?",
                (peak_host_bytes, peak_device_bytes, self._session),
            )

    def sessions(self) -> tuple[StoredSession, ...]:
        """Return every session, in order."""
        with translated_errors(self.folder):
            return tuple(
                StoredSession(session, started, ended, json.loads(environment), *cost)
                for session, started, ended, environment, *cost in self.database.execute(
                    "SELECT session, started, ended, circumstances, busy_seconds, waited_seconds, peak_host_bytes, "
                    "peak_device_bytes FROM sessions ORDER BY session"
                )
            )

    def free_dead_claims(self) -> int:
        """Delete claims of sessions whose process has ended.

        Returns:
            How many samples are claimed by other living sessions.
        """
        with translated_errors(self.folder):
            claiming = self.database.execute("SELECT DISTINCT session FROM claims").fetchall()
            dead = [
                (session,) for (session,) in claiming if session != self._session and not is_alive(self.folder, session)
            ]
            with transaction(self.database):
                self.database.executemany("DELETE FROM claims WHERE session = ?", dead)
            return self._count("SELECT count(*) FROM claims WHERE session != ?", self._session)

    def claim_group(self, *, retry: bool = False) -> tuple[Task, ...]:
        """Claim the pending tasks of one group and return them; empty if none is pending.

        Args:
            retry: samples that failed before this session are pending too.
        """
        values = {"configuration": self._configuration, "retry": retry, "started": self._started}
        with translated_errors(self.folder), transaction(self.database):
            first = self.database.execute(
                f"SELECT s.work_group {_PENDING} ORDER BY s.work_group LIMIT 1",  # constants only
                values,
            ).fetchone()
            if first is None:
                return ()
            rows = self.database.execute(
                f"SELECT s.task {_PENDING} AND s.work_group = :group ORDER BY s.position",  # constants only
                {**values, "group": first[0]},
            ).fetchall()
            tasks = tuple(read_task(text) for (text,) in rows)
            self.database.executemany(
                "INSERT INTO claims VALUES (?, ?, ?)",
                [(task.sample_id, self._configuration, self._session) for task in tasks],
            )
        return tasks

    def count_pending(self, *, retry: bool = False) -> int:
        """Return how many samples have neither a claim nor a result."""
        values = {"configuration": self._configuration, "retry": retry, "started": self._started}
        with translated_errors(self.folder):
            return self._count(f"SELECT count(*) {_PENDING}", **values)  # constants only

    # Results

    def record(self, outcome: Outcome) -> None:
        """Record the outcome of a sample; replaces an earlier failure, but not an earlier success."""
        failure = outcome.failure
        key = (outcome.sample_id, self._configuration)
        with translated_errors(self.folder), transaction(self.database):
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
                None if outcome.document is None else pack_text(outcome.document),
                None if outcome.track is None else pack_text(outcome.track),
                *((None, None, None) if failure is None else (failure.kind, failure.message, failure.traceback)),
            )
            self.database.execute(INSERT_RESULT, row)
            if outcome.maps is not None:
                self.database.execute(INSERT_MAPS, (*key, pack_text(outcome.maps)))
            self.database.execute("DELETE FROM claims WHERE sample_id = ? AND configuration = ?", key)

    def maps(self, sample_id: str) -> dict[str, Any] | None:
        """Return a sample's attention maps (`stvg_core.outputs.report.kept_maps`); None if they were not stored."""
        with translated_errors(self.folder):
            if not has_maps(self.database):
                return None
            row = self.database.execute(
                "SELECT maps FROM maps WHERE sample_id = ? AND configuration = ?", (sample_id, self._configuration)
            ).fetchone()
        return None if row is None else unpack(row[0], self.folder)

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
        with translated_errors(self.folder):
            for sample_id, document, track, kind, error, trace, *rest in self.database.execute(
                "SELECT r.sample_id, r.document, r.track, r.error_kind, r.error, r.traceback, r.attempt, r.session, "  # noqa: S608
                "r.finished, r.seconds FROM results r JOIN samples s USING (sample_id) "
                f"WHERE r.configuration = ? {ending}",  # constants only
                (self._configuration, *values),
            ):
                yield StoredResult(
                    sample_id,
                    None if document is None else unpack(document, self.folder),
                    None if track is None else unpack(track, self.folder),
                    None if kind is None else Failure(kind, error, trace or ""),
                    *rest,
                )

    def outcomes(self) -> Iterator[tuple[str, str | None, str | None, float]]:
        """Yield sample id, kind and message of the error (None if it has a tube) and seconds of every result."""
        with translated_errors(self.folder):
            yield from self.database.execute(
                "SELECT r.sample_id, r.error_kind, r.error, r.seconds FROM results r JOIN samples s USING (sample_id) "
                "WHERE r.configuration = ? ORDER BY s.position",
                (self._configuration,),
            )

    def counts(self) -> dict[str, int]:
        """Return how many samples are `ok`, `failed` (unusable annotations included) and `pending`."""
        with translated_errors(self.folder):
            total = self._count("SELECT count(*) FROM samples")
            unusable = self._count("SELECT count(*) FROM samples WHERE task IS NULL")
            statuses = dict(
                self.database.execute(
                    "SELECT status, count(*) FROM results WHERE configuration = ? GROUP BY status",
                    (self._configuration,),
                ).fetchall()
            )
        done, failed = statuses.get("ok", 0), statuses.get("failed", 0) + unusable
        return {"ok": done, "failed": failed, "pending": total - done - failed}

    def _count(self, query: str, *values: object, **named: object) -> int:
        (count,) = self.database.execute(query, named or values).fetchone()
        return int(count)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
