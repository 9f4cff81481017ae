"""What a run knows, kept in its folder: samples, one result per sample and configuration, who works on what.

Every method is one transaction. A process that is killed leaves what it recorded and nothing else; what it had
claimed is free again, because its lock is. Several processes of one machine may work on one folder; machines that
share a file system may not (SQLite's WAL needs shared memory): give each a shard of its own (docs/evaluate.md).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from stvg_core.errors import RunError
from stvg_core.evaluation.runs.database import (
    KEEP_MAPS,
    KEEP_RESULT,
    has_maps,
    open_database,
    own_errors,
    read_database,
    transaction,
)
from stvg_core.evaluation.runs.liveness import SessionLock, is_alive
from stvg_core.evaluation.runs.rows import StoredResult, StoredSample, StoredSession, pack, pack_text, unpack
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task, read_task

_PENDING: Final = """
    FROM samples s WHERE s.task IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.sample_id = s.sample_id AND c.configuration = :configuration)
    AND NOT EXISTS (
        SELECT 1 FROM results r WHERE r.sample_id = s.sample_id AND r.configuration = :configuration
        AND (r.status = 'ok' OR NOT :retry OR r.finished >= :started)
    )
"""


class RunStore:
    """A run folder, open; a context manager that closes it."""

    def __init__(self, folder: Path, *, write: bool = True) -> None:
        """Open a run.

        Args:
            folder: the run's folder; made where it is missing and `write` is set.
            write: False: for reading alone; the folder must hold a run.

        Raises:
            OutputError: the folder cannot be written to.
            RunError: there is no run, or one that cannot be read.
        """
        self.folder = folder
        self.database = open_database(folder) if write else read_database(folder)
        self._lock: SessionLock | None = None
        self._session = 0
        self._started = ""
        self._configuration = self._only_configuration()

    def __enter__(self) -> "RunStore":
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, and let go of the session's lock and claims."""
        try:
            if self._lock is not None and error is None:
                self.end_session()
        finally:
            if self._lock is not None:
                self._lock.release()
            self.database.close()

    # The run as a whole

    def read_values(self) -> dict[str, Any]:
        """Return the run's own values by name."""
        with own_errors(self.folder):
            return {key: json.loads(value) for key, value in self.database.execute("SELECT key, value FROM run")}

    def write_values(self, values: Mapping[str, Any]) -> None:
        """Add or replace values of the run, as JSON."""
        with own_errors(self.folder), transaction(self.database):
            self.database.executemany(
                "INSERT OR REPLACE INTO run VALUES (?, ?)", [(key, json.dumps(value)) for key, value in values.items()]
            )

    @property
    def configuration_hash(self) -> str:
        """SHA-256 of what decides the results; empty before there is any."""
        return self._configuration

    def configuration(self) -> dict[str, Any] | None:
        """Return what decides the results of this run; None before there is any."""
        with own_errors(self.folder):
            row = self.database.execute(
                "SELECT document FROM configurations WHERE hash = ?", (self._configuration,)
            ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def add_configuration(self, identifier: str, document: Mapping[str, Any]) -> None:
        """Say what decides the results of this run; once.

        Raises:
            RunError: another process was first, with another one.
        """
        with own_errors(self.folder), transaction(self.database):
            if self._only_configuration() not in ("", identifier):
                raise RunError(f"expected one configuration in {self.folder}, got a second; use another --run")
            self.database.execute(
                "INSERT OR IGNORE INTO configurations VALUES (?, ?)", (identifier, json.dumps(document))
            )
        self._configuration = identifier

    def _only_configuration(self) -> str:
        with own_errors(self.folder):
            row = self.database.execute("SELECT hash FROM configurations").fetchone()
        return "" if row is None else str(row[0])

    # Samples

    def add_samples(self, samples: Iterable[StoredSample]) -> None:
        """Add samples in one transaction; those that are there already stay."""
        with own_errors(self.folder), transaction(self.database):
            self._insert(samples)

    def replace_unusable(self, samples: Iterable[StoredSample]) -> None:
        """Read again what could not be used: those samples go, and what has their positions now comes in."""
        with own_errors(self.folder), transaction(self.database):
            positions = {
                position for (position,) in self.database.execute("SELECT position FROM samples WHERE task IS NULL")
            }
            self.database.execute("DELETE FROM samples WHERE task IS NULL")
            self._insert(sample for sample in samples if sample.position in positions)

    def keep_groups(self, groups: Iterable[str]) -> None:
        """Delete samples of other groups than these; for a run that has no results yet."""
        with own_errors(self.folder), transaction(self.database):
            self.database.execute("CREATE TEMP TABLE kept (name TEXT PRIMARY KEY)")
            self.database.executemany("INSERT INTO kept VALUES (?)", ((group,) for group in groups))
            self.database.execute("DELETE FROM samples WHERE work_group NOT IN (SELECT name FROM kept)")
            self.database.execute("DROP TABLE kept")

    def group_sizes(self) -> dict[str, int]:
        """Return how many samples each group has; unusable ones are of group ""."""
        with own_errors(self.folder):
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
        """Yield every sample in the data set's order; one is held at a time."""
        with own_errors(self.folder):
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
        """Return a sample's truth as `stvg score` reads it; None where there is none."""
        with own_errors(self.folder):
            row = self.database.execute("SELECT annotation FROM samples WHERE sample_id = ?", (sample_id,)).fetchone()
        return None if row is None or row[0] is None else unpack(row[0], self.folder)

    def unusable(self) -> Iterator[tuple[str, str]]:
        """Yield id and problem of every sample whose annotation cannot be used."""
        with own_errors(self.folder):
            yield from self.database.execute(
                "SELECT sample_id, problem FROM samples WHERE task IS NULL ORDER BY position"
            )

    def can_be_scored(self) -> bool:
        """Return whether a sample has a truth, or one whose annotation cannot be used and counts as failed."""
        with own_errors(self.folder):
            return bool(
                self._count("SELECT EXISTS (SELECT 1 FROM samples WHERE annotation IS NOT NULL OR task IS NULL)")
            )

    # Sessions and claims

    def begin_session(self, circumstances: Mapping[str, Any]) -> int:
        """Start working: record who does, and free what dead sessions had claimed.

        Returns:
            The session's number.
        """
        with own_errors(self.folder):
            with transaction(self.database):
                self._started = _now()
                session = self.database.execute(
                    "INSERT INTO sessions (configuration, started, circumstances) VALUES (?, ?, ?)",
                    (self._configuration, self._started, json.dumps(circumstances)),
                ).lastrowid
            self._session = int(session or 0)
            self._lock = SessionLock(self.folder, self._session)
        self.free_dead_claims()
        return self._session

    def end_session(self) -> None:
        """Give claims back, and record when the session ended."""
        with own_errors(self.folder), transaction(self.database):
            self.database.execute("DELETE FROM claims WHERE session = ?", (self._session,))
            self.database.execute("UPDATE sessions SET ended = ? WHERE session = ?", (_now(), self._session))

    def add_session_seconds(self, busy_seconds: float, waited_seconds: float) -> None:
        """Record how long the session's device worked, and how long it waited for pictures."""
        with own_errors(self.folder), transaction(self.database):
            self.database.execute(
                "UPDATE sessions SET busy_seconds = ?, waited_seconds = ? WHERE session = ?",
                (busy_seconds, waited_seconds, self._session),
            )

    def add_session_memory(self, *, peak_host_bytes: int | None = None, peak_device_bytes: int | None = None) -> None:
        """Record the session's largest resident set and CUDA allocation; None for what nobody looked at."""
        with own_errors(self.folder), transaction(self.database):
            self.database.execute(
                "UPDATE sessions SET peak_host_bytes = ?, peak_device_bytes = ? WHERE session = ?",
                (peak_host_bytes, peak_device_bytes, self._session),
            )

    def sessions(self) -> tuple[StoredSession, ...]:
        """Return every session, in order."""
        with own_errors(self.folder):
            return tuple(
                StoredSession(session, started, ended, json.loads(circumstances), *cost)
                for session, started, ended, circumstances, *cost in self.database.execute(
                    "SELECT session, started, ended, circumstances, busy_seconds, waited_seconds, peak_host_bytes, "
                    "peak_device_bytes FROM sessions ORDER BY session"
                )
            )

    def free_dead_claims(self) -> int:
        """Delete claims of sessions whose process is gone.

        Returns:
            How many samples other living sessions work on.
        """
        with own_errors(self.folder):
            claiming = self.database.execute("SELECT DISTINCT session FROM claims").fetchall()
            dead = [
                (session,) for (session,) in claiming if session != self._session and not is_alive(self.folder, session)
            ]
            with transaction(self.database):
                self.database.executemany("DELETE FROM claims WHERE session = ?", dead)
            return self._count("SELECT count(*) FROM claims WHERE session != ?", self._session)

    def claim_group(self, *, retry: bool = False) -> tuple[Task, ...]:
        """Return the pending tasks of one group, now this session's; empty where none is pending.

        Args:
            retry: samples that failed before this session began are pending as well.
        """
        values = {"configuration": self._configuration, "retry": retry, "started": self._started}
        with own_errors(self.folder), transaction(self.database):
            first = self.database.execute(
                f"SELECT s.work_group {_PENDING} ORDER BY s.work_group LIMIT 1",  # a constant of ours
                values,
            ).fetchone()
            if first is None:
                return ()
            rows = self.database.execute(
                f"SELECT s.task {_PENDING} AND s.work_group = :group ORDER BY s.position",  # the same
                {**values, "group": first[0]},
            ).fetchall()
            tasks = tuple(read_task(text) for (text,) in rows)
            self.database.executemany(
                "INSERT INTO claims VALUES (?, ?, ?)",
                [(task.sample_id, self._configuration, self._session) for task in tasks],
            )
        return tasks

    def count_pending(self, *, retry: bool = False) -> int:
        """Return how many samples nobody works on and have no result yet."""
        values = {"configuration": self._configuration, "retry": retry, "started": self._started}
        with own_errors(self.folder):
            return self._count(f"SELECT count(*) {_PENDING}", **values)  # a constant of ours

    # Results

    def record(self, outcome: Outcome) -> None:
        """Keep what came of a sample, in the place of an earlier failure; a sample that is done stays as it is."""
        failure = outcome.failure
        key = (outcome.sample_id, self._configuration)
        with own_errors(self.folder), transaction(self.database):
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
            self.database.execute(KEEP_RESULT, row)
            if outcome.maps is not None:
                self.database.execute(KEEP_MAPS, (*key, pack_text(outcome.maps)))
            self.database.execute("DELETE FROM claims WHERE sample_id = ? AND configuration = ?", key)

    def maps(self, sample_id: str) -> dict[str, Any] | None:
        """Return a sample's attention maps (`stvg_core.outputs.report.kept_maps`); None where none were kept."""
        with own_errors(self.folder):
            if not has_maps(self.database):
                return None
            row = self.database.execute(
                "SELECT maps FROM maps WHERE sample_id = ? AND configuration = ?", (sample_id, self._configuration)
            ).fetchone()
        return None if row is None else unpack(row[0], self.folder)

    def result(self, sample_id: str) -> StoredResult | None:
        """Return what came of one sample; None where it has no result yet."""
        return next(self._results("AND r.sample_id = ?", sample_id), None)

    def results(self) -> Iterator[StoredResult]:
        """Yield every result in the data set's order; one is held at a time."""
        yield from self._results("ORDER BY s.position")

    def _results(self, ending: str, *values: str) -> Iterator[StoredResult]:
        with own_errors(self.folder):
            for sample_id, document, track, kind, error, trace, *rest in self.database.execute(
                "SELECT r.sample_id, r.document, r.track, r.error_kind, r.error, r.traceback, r.attempt, r.session, "  # noqa: S608
                "r.finished, r.seconds FROM results r JOIN samples s USING (sample_id) "
                f"WHERE r.configuration = ? {ending}",  # constants of ours
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
        """Yield sample id, kind and message of the error (None where there is a tube) and seconds of every result."""
        with own_errors(self.folder):
            yield from self.database.execute(
                "SELECT r.sample_id, r.error_kind, r.error, r.seconds FROM results r JOIN samples s USING (sample_id) "
                "WHERE r.configuration = ? ORDER BY s.position",
                (self._configuration,),
            )

    def counts(self) -> dict[str, int]:
        """Return how many samples are `ok`, `failed` (unusable annotations included) and `pending`."""
        with own_errors(self.folder):
            total = self._count("SELECT count(*) FROM samples")
            unusable = self._count("SELECT count(*) FROM samples WHERE task IS NULL")
            found = dict(
                self.database.execute(
                    "SELECT status, count(*) FROM results WHERE configuration = ? GROUP BY status",
                    (self._configuration,),
                ).fetchall()
            )
        done, failed = found.get("ok", 0), found.get("failed", 0) + unusable
        return {"ok": done, "failed": failed, "pending": total - done - failed}

    def _count(self, query: str, *values: object, **named: object) -> int:
        (count,) = self.database.execute(query, named or values).fetchone()
        return int(count)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
