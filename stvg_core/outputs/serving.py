"""Shows a folder of pages to browsers of this machine: loopback only, ranges for players, nothing outside the folder.

`http.server` of the standard library, with what it lacks: byte ranges (a player cannot seek without), and a look at
the Host header, so that a page elsewhere cannot reach these files through a name of its own (DNS rebinding).
"""

import contextlib
import re
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from stvg_core.errors import OutputError

LOOPBACK: Final = "127.0.0.1"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
}
"""Endings that are served; a run's database is none of them."""

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_BLOCK_BYTES: Final = 2**18
_IDLE_SECONDS: Final = 60.0
_HEADERS: Final = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PICTURE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


class UnsatisfiableRangeError(ValueError):
    """A range that begins behind the file's end."""


def requested_bytes(header: str | None, size: int) -> tuple[int, int] | None:
    """Return first and last byte (inclusive) of a Range header; None: the whole file.

    A header that says something else than one range of bytes is left alone, as RFC 9110 has it.

    Raises:
        UnsatisfiableRangeError: no byte of the file is in the range.

    >>> requested_bytes("bytes=2-3", 10), requested_bytes("bytes=8-", 10), requested_bytes("bytes=-3", 10)
    ((2, 3), (8, 9), (7, 9))
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
    if start >= size or end < start:
        raise UnsatisfiableRangeError(header)
    return start, end


def find_file(root: Path, address: str, entry: str) -> Path | None:
    """Return the file of an address; None where there is none that may be shown.

    Args:
        root: folder that nothing may lie outside of; resolved.
        address: path of the request, quoted.
        entry: name of the page that stands for the folder itself.
    """
    try:
        name = unquote(urlsplit(address).path, errors="strict").removeprefix("/") or entry
        parts = name.split("/")
        # Hidden files are drafts, and a backslash is a separator elsewhere.
        if "\\" in name or any(not part or part.startswith(".") for part in parts):
            return None
        path = root.joinpath(*parts).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    allowed = path.is_relative_to(root) and path.suffix.lower() in TYPES and path.is_file()
    return path if allowed else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    server: "PageServer"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def version_string(self) -> str:
        return "stvg"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing: stderr is the command's."""

    def _answer(self, *, body: bool) -> None:
        if self.headers.get("Host", "") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        path = find_file(self.server.root, self.path, self.server.entry)
        if path is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        try:
            file = path.open("rb")
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        with file, contextlib.suppress(ConnectionError, TimeoutError):
            self._send(file, path, body=body)

    def _send(self, file: BinaryIO, path: Path, *, body: bool) -> None:
        size = path.stat().st_size
        try:
            requested = requested_bytes(self.headers.get("Range"), size)
        except UnsatisfiableRangeError:
            self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
            return
        start, end = requested or (0, size - 1)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if requested else HTTPStatus.OK)
        headers = _HEADERS | {"Content-Type": TYPES[path.suffix.lower()], "Content-Length": str(end - start + 1)}
        if requested:
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        if path.suffix.lower() == ".svg":
            headers["Content-Security-Policy"] = _PICTURE_POLICY
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            file.seek(start)
            self._copy(file, end - start + 1)

    def _copy(self, file: BinaryIO, count: int) -> None:
        while count > 0:
            block = file.read(min(_BLOCK_BYTES, count))
            if not block:
                # The file was cut meanwhile: the length that was announced is no longer right.
                self.close_connection = True
                return
            self.wfile.write(block)
            count -= len(block)

    def _refuse(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ((headers or {}) | {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()


class PageServer(ThreadingHTTPServer):
    """Serves one folder on 127.0.0.1.

    Attributes:
        root: the folder.
        entry: name of the page that stands for the folder.
        hosts: what browsers of this machine may call the server.
    """

    daemon_threads = True
    # Another program must not be able to listen beside us.
    allow_reuse_port = False

    def __init__(self, root: Path, entry: str, port: int = 0) -> None:
        """Listen.

        Args:
            root: the folder.
            entry: name of a page in it.
            port: 0: a free one.

        Raises:
            OutputError: the port cannot be had.
        """
        self.root = root.resolve()
        self.entry = entry
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            raise OutputError(f"cannot listen on {LOOPBACK}:{port}: {error}; choose another --port") from error
        self.hosts = frozenset(f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost"))

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.entry}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave a connection that broke alone."""


@contextlib.contextmanager
def serving(root: Path, entry: str, port: int = 0) -> Iterator[PageServer]:
    """Listen while inside; `serve_forever` answers.

    Raises:
        OutputError: the port cannot be had.
    """
    with PageServer(root, entry, port) as server:
        yield server
