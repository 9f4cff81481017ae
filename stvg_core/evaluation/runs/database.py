"""The SQLite file of a run: its tables, how it is opened, and what its errors mean.

Knows nothing of samples. SQLite in WAL mode: readers never wait for a writer, a process that is killed
leaves whole transactions alone, and several processes of one machine may write.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stvg_core.errors import OutputError, RunError

FILE_NAME: Final = "run.sqlite"
FORMAT: Final = 1
"""Version of the tables; a file of another version is refused."""

_WAIT_SECONDS: Final = 60.0

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
"""Attention maps of results; runs that were begun before there were any get the table when they are gone on with."""

KEEP_MAPS: Final = "INSERT OR REPLACE INTO maps VALUES (?, ?, ?)"
"""Adds the maps of a result."""

SESSION_COLUMNS: Final = (
    "configuration",
    "started",
    "ended",
    "circumstances",
    "busy_seconds",
    "waited_seconds",
    "peak_host_bytes",
    "peak_device_bytes",
)

RESULT_COLUMNS: Final = (
    "sample_id",
    "configuration",
    "status",
    "attempt",
    "session",
    "finished",
    "seconds",
    "document",
    "track",
    "error_kind",
    "error",
    "traceback",
)

KEEP_RESULT: Final = (
    f"INSERT INTO results ({', '.join(RESULT_COLUMNS)}) VALUES ({', '.join('?' for _ in RESULT_COLUMNS)}) "  # noqa: S608
    "ON CONFLICT (sample_id, configuration) DO UPDATE SET "
    f"{', '.join(f'{name} = excluded.{name}' for name in RESULT_COLUMNS[2:])} WHERE results.status = 'failed'"
)
"""Adds a result, in the place of an earlier failure; a sample that is done stays as it is."""


def open_database(folder: Path) -> sqlite3.Connection:
    """Open the run of a folder for writing; the folder and its tables are made where they are missing.

    Raises:
        OutputError: the folder cannot be written to.
        RunError: there is something else of the same name, or a run of another version.
    """
    with own_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        database = _connect(f"{(folder / FILE_NAME).resolve().as_uri()}?mode=rwc")
        database.execute("PRAGMA journal_mode = WAL")
        # A commit is on the disk when it returns: a machine that loses power loses nothing that was told.
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        with transaction(database):
            if not _has_tables(database):
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {FORMAT}")
            database.execute(_MAPS_TABLE)
        _check_version(database, folder)
    return database


def read_database(folder: Path) -> sqlite3.Connection:
    """Open the run of a folder for reading; works where the folder may not be written to.

    Raises:
        RunError: there is no run, or one of another version.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise RunError(f"expected a run in {folder}, got no {FILE_NAME}; name the folder that stvg evaluate wrote to")
    with own_errors(folder):
        uri = path.resolve().as_uri()
        try:
            database = _connect(f"{uri}?mode=ro")
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            if path.with_name(f"{FILE_NAME}-wal").exists():
                raise
            # WAL needs a file beside the database, which a read-only folder refuses; nobody writes there either.
            database = _connect(f"{uri}?immutable=1")
        if not _has_tables(database):
            raise RunError(f"expected a run in {folder}, got an empty {FILE_NAME}; run stvg evaluate again")
        _check_version(database, folder)
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write everything inside, or nothing; other writers wait."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # SQLite itself rolls back where the disk is full.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


@contextmanager
def own_errors(folder: Path) -> Iterator[None]:
    """Turn errors of SQLite and the file system into one that names the folder and the cure.

    Raises:
        OutputError: the folder cannot be written to.
        RunError: the file is damaged, or held by somebody else.
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
    # Transactions are ours; threads take turns through the one that owns the store.
    return sqlite3.connect(uri, uri=True, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)


def has_maps(database: sqlite3.Connection) -> bool:
    """Return whether a run has a place for maps; one of before there were any, opened for reading, has none."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'maps'").fetchone() is not None


def _has_tables(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'results'").fetchone() is not None


def _check_version(database: sqlite3.Connection, folder: Path) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise RunError(f"expected a run of format {FORMAT} in {folder}, got {version}; use the version that wrote it")
