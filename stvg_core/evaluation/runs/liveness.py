"""Whether a process that works on a run is still alive: it holds a lock that the system frees at its death."""

import contextlib
from pathlib import Path

from filelock import FileLock, Timeout

_FOLDER = "sessions"
_PATIENCE_SECONDS = 10.0


class SessionLock:
    """The lock of one session; held until `release`, or until the process ends in whatever way."""

    def __init__(self, folder: Path, session: int) -> None:
        """Take the lock of a new session.

        Raises:
            OSError: the folder cannot be written to.
        """
        self._path = _path(folder, session)
        self._path.parent.mkdir(exist_ok=True)
        # Another process that asks whether this session lives holds the lock for a moment.
        self._lock = FileLock(self._path, timeout=_PATIENCE_SECONDS)
        self._lock.acquire()

    def release(self) -> None:
        """Let go, and remove the file."""
        self._lock.release()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def is_alive(folder: Path, session: int) -> bool:
    """Return whether the process of a session still runs, on this machine."""
    path = _path(folder, session)
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def _path(folder: Path, session: int) -> Path:
    return folder / _FOLDER / f"{session}.lock"
