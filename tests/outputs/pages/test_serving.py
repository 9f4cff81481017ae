"""The server of `stvg view`: this machine alone, one folder alone, ranges as RFC 9110 has them."""

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.errors import OutputError
from stvg_core.outputs.serving import PageServer, UnsatisfiableRangeError, requested_bytes, serving

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.html").write_text("secret")
    root = tmp_path / "root"
    (root / "pages" / "media").mkdir(parents=True)
    (root / "index.html").write_text("entry")
    (root / "pages" / "media" / "a.mp4").write_bytes(CONTENT)
    (root / "pages" / "000000.js").write_text("stvg")
    (root / "rows.svg").write_text("<svg/>")
    (root / "run.sqlite").write_text("database")
    (root / ".draft.mp4").write_text("draft")
    (root / "out.html").symlink_to(tmp_path / "secret.html")
    (root / "in.html").symlink_to(root / "index.html")
    (tmp_path / "rooted").mkdir()
    (tmp_path / "rooted" / "a.html").write_text("beside")
    return root


@pytest.fixture
def server(root: Path) -> Iterator[PageServer]:
    with serving(root, "index.html") as opened:
        thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_pages_are_served_with_their_type(server: PageServer) -> None:
    for path, body, kind in (
        ("/", b"entry", "text/html; charset=utf-8"),
        ("/index.html?x=1", b"entry", "text/html; charset=utf-8"),
        ("/in.html", b"entry", "text/html; charset=utf-8"),
        ("/pages/000000.js", b"stvg", "text/javascript; charset=utf-8"),
        ("/pages/media/a.mp4", CONTENT, "video/mp4"),
    ):
        status, headers, found = ask(server, path)
        assert (status, found, headers["Content-Type"]) == (200, body, kind)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Accept-Ranges"] == "bytes"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "sandbox" in ask(server, "/rows.svg")[1]["Content-Security-Policy"]
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        "/secret.html",
        "/../secret.html",
        "/%2e%2e/secret.html",
        "/pages/../../secret.html",
        "/pages/..%2f..%2fsecret.html",
        "/..%5csecret.html",
        "/out.html",
        "/run.sqlite",
        "/.draft.mp4",
        "/pages",
        "/pages/",
        "/pages/media/",
        "//etc/passwd",
        "/%00index.html",
        "/index.html/",
        "/%ff.html",
        "/../rooted/a.html",
    ],
)
def test_nothing_else_is_served(path: str, server: PageServer) -> None:
    status, _, body = ask(server, path)
    assert (status, body) == (404, b"")


def test_other_names_of_this_machine_are_refused(server: PageServer) -> None:
    port = server.server_port
    assert ask(server, "/", Host=f"localhost:{port}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
        assert ask(server, "/", Host=host)[0] == 403
    assert ask(server, "/", "POST")[0] == 501
    status, headers, body = ask(server, "/pages/media/a.mp4", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "1024", b"")


def test_other_addresses_of_this_machine_do_not_answer(server: PageServer) -> None:
    own = socket.gethostbyname(socket.gethostname())
    if own.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError):  # noqa: PT011
        socket.create_connection((own, server.server_port), timeout=1)


def plain_range(first: int | None, last: int | None, size: int) -> "bytes | None":
    """What a single range means, said with lists."""
    numbers = list(range(size))
    if first is None:
        kept = numbers[-last:] if last else []
    else:
        kept = [number for number in numbers if number >= first and (last is None or number <= last)]
    return bytes(number % 256 for number in kept) or None


@given(st.none() | st.integers(0, 40), st.none() | st.integers(0, 40), st.integers(0, 30))
def test_ranges_are_what_they_say(first: int | None, last: int | None, size: int) -> None:
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if (first is None and last is None) or (first is not None and last is not None and last < first):
        assert requested_bytes(header, size) is None
        return
    expected = plain_range(first, last, size)
    if expected is None:
        with pytest.raises(UnsatisfiableRangeError):
            requested_bytes(header, size)
        return
    found = requested_bytes(header, size)
    assert found is not None
    assert bytes(range(size))[found[0] : found[1] + 1] == expected
    assert found[1] - found[0] + 1 == len(expected)


@pytest.mark.parametrize(
    "header", [None, "", "bytes", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=5-2"]
)
def test_other_headers_get_the_whole_file(header: str | None, server: PageServer) -> None:
    assert requested_bytes(header, 10) is None
    if header:
        assert ask(server, "/pages/media/a.mp4", Range=header)[::2] == (200, CONTENT)


def test_ranges_over_the_wire(server: PageServer) -> None:
    status, headers, body = ask(server, "/pages/media/a.mp4", Range="bytes=10-19")
    assert (status, headers["Content-Range"], body) == (206, "bytes 10-19/1024", CONTENT[10:20])
    status, headers, body = ask(server, "/pages/media/a.mp4", Range="bytes=1000-")
    assert (status, headers["Content-Length"], body) == (206, "24", CONTENT[1000:])
    status, headers, body = ask(server, "/pages/media/a.mp4", Range="bytes=1024-")
    assert (status, headers["Content-Range"], body) == (416, "bytes */1024", b"")


def test_a_port_that_is_taken_is_told(root: Path, server: PageServer) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*; choose another --port"),
        serving(root, "index.html", server.server_port),
    ):
        pass
