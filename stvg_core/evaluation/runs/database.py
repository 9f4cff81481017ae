"""The SQLite file of a run: tables, opening, errors, compressed documents, and the locks of sessions.

In WAL mode readers never wait for a writer, and a process that is killed leaves only whole transactions.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from stvg_core.errors import OutputError, RunError

FILE_NAME: Final = "run.sqlite"
FORMAT: Final = 1
"""Version of the tables; a file of another version is refused."""

MOST_DOCUMENT_BYTES: Final = 2**28
"""Limit for an uncompressed document; a run folder may come from anywhere."""

_WAIT_SECONDS: Final = 60.0
_LOCK_SECONDS: Final = 10.0
_LOCK_FOLDER: Final = "sessions"

_TABLES: Final = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE configurations (hash TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions (
    session INTEGER PRIMARY KEY AUTOINCREMENT,
    configuration TEXT NOT NULL REFERENCES configurations (hash),
    started TEXT NOT NULL,
    ended TEXT,
    circumstances TEXT NOT NULL,
    busy_seconds REAL NOT NULL DEFAULT 0,
    waited_seconds REAL NOT NULL DEFAULT 0,
    peak_host_bytes INTEGER,
    peak_device_bytes INTEGER
);
CREATE TABLE samples (
    sample_id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    work_group TEXT NOT NULL,
    task TEXT,
    problem TEXT,
    annotation BLOB
);
CREATE INDEX samples_in_order ON samples (work_group, position);
CREATE TABLE results (
    sample_id TEXT NOT NULL REFERENCES samples (sample_id),
    configuration TEXT NOT NULL REFERENCES configurations (hash),
    status TEXT NOT NULL CHECK (status IN ('ok', 'failed')),
    attempt INTEGER NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions (session),
    finished TEXT NOT NULL,
    seconds REAL NOT NULL,
    document BLOB,
    track BLOB,
    error_kind TEXT,
    error TEXT,
    traceback TEXT,
    PRIMARY KEY (sample_id, configuration)
);
CREATE TABLE claims (
    sample_id TEXT NOT NULL,
    configuration TEXT NOT NULL,
    session INTEGER NOT NULL,
    PRIMARY KEY (sample_id, configuration)
) WITHOUT ROWID;
"""

_MAPS_TABLE: Final = """
CREATE TABLE IF NOT EXISTS maps (
    sample_id TEXT NOT NULL,
    configuration TEXT NOT NULL,
    maps BLOB NOT NULL,
    PRIMARY KEY (sample_id, configuration)
) WITHOUT ROWID
"""
"""Attention maps of results; runs begun by a version without them get the table when they are resumed."""

INSERT_MAPS: Final = "INSERT OR REPLACE INTO maps VALUES (?, ?, ?)"
"""Adds the maps of a result."""

INSERT_RESULT: Final = """
INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sample_id, configuration) DO UPDATE SET
    status = excluded.status, attempt = excluded.attempt, session = excluded.session, finished = excluded.finished,
    seconds = excluded.seconds, document = excluded.document, track = excluded.track,
    error_kind = excluded.error_kind, error = excluded.error, traceback = excluded.traceback
WHERE results.status = 'failed'
"""
"""Adds a result; replaces an earlier failure, but not an earlier success."""


def open_database(folder: Path) -> sqlite3.Connection:
    """Open a run folder for writing; creates the folder and the tables if they do not exist.

    Raises:
        OutputError: the folder cannot be written to.
        RunError: the file is not a run, or a run of another version.
    """
    with translated_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        database = _connect(f"{(folder / FILE_NAME).resolve().as_uri()}?mode=rwc")
        database.execute("PRAGMA journal_mode = WAL")
        # A commit is on the disk when it returns: nothing recorded is lost if the machine loses power.
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        with transaction(database):
            if not has_table(database, "results"):
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {FORMAT}")
            database.execute(_MAPS_TABLE)
        _check_version(database, folder)
    return database


def read_database(folder: Path) -> sqlite3.Connection:
    """Open a run folder for reading; works in read-only folders.

    Raises:
        RunError: there is no run, or one of another version.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise RunError(f"expected a run in {folder}, got no {FILE_NAME}; name the folder that stvg evaluate wrote to")
    with translated_errors(folder):
        uri = path.resolve().as_uri()
        try:
            database = _connect(f"{uri}?mode=ro")
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            if path.with_name(f"{FILE_NAME}-wal").exists():
                raise
            # WAL needs a file beside the database, which a read-only folder does not allow; nobody writes there either.
            database = _connect(f"{uri}?immutable=1")
        if not has_table(database, "results"):
            raise RunError(f"expected a run in {folder}, got an empty {FILE_NAME}; run stvg evaluate again")
        _check_version(database, folder)
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Commit everything inside the context, or nothing; other writers wait."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # SQLite has rolled back already if the disk is full.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


@contextmanager
def translated_errors(folder: Path) -> Iterator[None]:
    """Raise errors of SQLite and the file system as errors that name the folder and the cure.

    Raises:
        OutputError: the folder cannot be written to.
        RunError: the file is damaged, or locked by another process.
    """
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise RunError(
                f"expected a run in {folder}, got a damaged {FILE_NAME} ({error}); start anew with another --run"
            ) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise RunError(
                f"expected {folder} to be free within {_WAIT_SECONDS:g} s, but another process holds it; end that one"
            ) from error
        cure = "free some space" if name == "SQLITE_FULL" else "check the folder and its permissions"
        raise OutputError(
            f"cannot write the run in {folder}: {error}; {cure}, then run the same command: nothing recorded is lost"
        ) from error
    except OSError as error:
        raise OutputError(
            f"cannot write the run in {folder}: {(error.strerror or type(error).__name__).lower()}; "
            "choose another folder with --run"
        ) from error


def _connect(uri: str) -> sqlite3.Connection:
    # The store begins and ends transactions; its user serializes calls from threads.
    return sqlite3.connect(uri, uri=True, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)


def has_table(database: sqlite3.Connection, name: str) -> bool:
    """Return whether a run has a table; an older run that is opened for reading has none of maps."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def _check_version(database: sqlite3.Connection, folder: Path) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise RunError(f"expected a run of format {FORMAT} in {folder}, got {version}; use the version that wrote it")


def pack(text: str) -> bytes:
    """Return the JSON text of a document as it is stored: compressed."""
    return zlib.compress(text.encode())


def unpack(packed: bytes, folder: Path) -> dict[str, Any]:
    """Return a stored document.

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


def session_lock(folder: Path, session: int) -> FileLock:
    """Return the lock of a session, which the system releases when the session's process ends, for whatever reason."""
    # `is_alive` in another process holds the lock for a moment.
    return FileLock(folder / _LOCK_FOLDER / f"{session}.lock", timeout=_LOCK_SECONDS)


def is_alive(folder: Path, session: int) -> bool:
    """Return whether the process of a session is running on this machine."""
    lock = session_lock(folder, session)
    if not Path(lock.lock_file).exists():
        return False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
