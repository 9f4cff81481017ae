"""Large JSON files one element at a time, and JSON read strictly.

The outermost object or list is walked without being parsed: what is held is one element and one
block of the file. An element that is damaged, too deep or too large is told apart from a file that
is, so that one bad sample does not end a run.
"""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, Final

BLOCK_BYTES: Final = 2**20
MAXIMUM_ELEMENT_BYTES: Final = 2**25
"""Largest element that is held (32 MiB); records of the formats here take some kilobytes."""
MAXIMUM_DEPTH: Final = 16
"""Deepest nesting inside an element; the formats here have four."""

# A string, with its closing quote where the block holds it; or a bracket. Possessive, so that a long
# string without an end takes no more than one look.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}\[\]]', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^\s,\]}:]*")
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class JsonError(Exception):
    """JSON that cannot be used; `kind` is one of the kinds of problems."""

    def __init__(self, kind: str, message: str) -> None:
        """Keep the kind beside the message."""
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Element:
    """One element of the outermost list or object, not parsed yet.

    Attributes:
        index: place in its container, from 0.
        key: its key; None in a list.
        raw: its text; empty where it was too large to be held.
        depth: how deep it is nested; 0 for a number.
    """

    index: int
    key: str | None
    raw: bytes
    depth: int

    def parsed(self) -> Any:  # noqa: ANN401  # any JSON
        """Return the element as Python values.

        Raises:
            JsonError: too large, too deep, no JSON, or a key occurs twice.
        """
        if not self.raw:
            raise JsonError("too-large", f"expected a record of at most {MAXIMUM_ELEMENT_BYTES // 2**20} MiB, got more")
        if self.depth > MAXIMUM_DEPTH:
            raise JsonError("too-deep", f"expected at most {MAXIMUM_DEPTH} levels of nesting, got {self.depth}")
        return strict_json(self.raw)


def strict_json(raw: bytes) -> Any:  # noqa: ANN401  # any JSON
    """Return JSON as Python values; nan and infinity pass, for the record's own check to name them.

    Raises:
        JsonError: no JSON, no UTF-8, a key that occurs twice, or a number of thousands of digits.

    >>> strict_json(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    stvg_core.inputs.datasets.json_elements.JsonError: expected each key once, got 'a' twice
    """
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct)
    except UnicodeDecodeError as error:
        raise JsonError("syntax", f"expected UTF-8, got byte 0x{raw[error.start]:02x}") from error
    except json.JSONDecodeError as error:
        raise JsonError("syntax", f"expected JSON, got {error.msg.lower()} at character {error.pos}") from error
    except RecursionError as error:
        raise JsonError("too-deep", f"expected at most {MAXIMUM_DEPTH} levels of nesting, got far more") from error
    except ValueError as error:
        # Python refuses to read whole numbers of more than 4,300 digits.
        raise JsonError("out-of-range", "expected a number, got one of thousands of digits") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError("duplicate-key", f"expected each key once, got {twice[:60]!r} twice")
    return found


def iterate_elements(stream: BufferedIOBase) -> Iterator[Element]:
    """Yield the elements of the outermost JSON list or object, in the order of the file.

    Raises:
        JsonError: the file itself is damaged at this place: cut off, no list or object, or text after its end.
    """
    window = _Window(stream)
    opening = window.peek()
    if opening not in (b"{", b"["):
        raise JsonError(
            "syntax", "expected a JSON list or object, got another file" if opening else "the file is empty"
        )
    closing = b"}" if opening == b"{" else b"]"
    window.take(1)
    for index in itertools.count():
        if window.peek() == closing:
            break
        if index:
            window.expect(b",")
        key = None
        if closing == b"}":
            key = _key(window.value()[0], window)
            window.expect(b":")
        raw, depth = window.value()
        yield Element(index, key, raw, depth)
    window.take(1)
    if window.peek():
        raise JsonError("syntax", f"expected the end of the file, got more text {window.place}")


def iterate_lines(stream: BufferedIOBase) -> Iterator[Element]:
    """Yield the elements of a JSON Lines file; blank lines are skipped, yet counted."""
    index = 0
    while line := stream.readline(MAXIMUM_ELEMENT_BYTES + 1):
        raw = line
        while len(line) > MAXIMUM_ELEMENT_BYTES and not line.endswith(b"\n"):
            raw, line = b"", stream.readline(MAXIMUM_ELEMENT_BYTES + 1)
        text = raw.removeprefix(_BYTE_ORDER_MARK).strip() if index == 0 else raw.strip()
        if text or not raw:
            yield Element(index, None, text, _depth(text))
        index += 1


def _depth(raw: bytes) -> int:
    deepest = depth = 0
    for token in _TOKEN.finditer(raw):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _key(raw: bytes, window: "_Window") -> str:
    key = strict_json(raw) if raw.startswith(b'"') else None
    if not isinstance(key, str):
        raise JsonError("syntax", f"expected a key in quotes {window.place}")
    return key


class _Window:
    """The part of the file that is held: from the current place on."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._held = b""
        self._dropped = 0
        self._at = 0
        self._ended = False
        self._fill()
        if self._held.startswith(_BYTE_ORDER_MARK):
            self._at = len(_BYTE_ORDER_MARK)

    @property
    def place(self) -> str:
        return f"at byte {self._dropped + self._at}"

    def _fill(self) -> None:
        """Drop what was taken and hold more; twice as much each time, so that nothing is copied often."""
        kept = self._held[self._at :]
        more = self._stream.read(max(BLOCK_BYTES, len(kept)))
        self._ended = not more
        self._dropped += self._at
        self._held, self._at = kept + more, 0

    def peek(self) -> bytes:
        """Return the next byte that is no white space; empty at the end of the file."""
        while True:
            space = _SPACE.match(self._held, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._held) or self._ended:
                return self._held[self._at : self._at + 1]
            self._fill()

    def take(self, count: int) -> bytes:
        taken = self._held[self._at : self._at + count]
        self._at += count
        return taken

    def expect(self, wanted: bytes) -> None:
        got = self.peek()
        if got != wanted:
            found = repr(got.decode("latin-1")) if got else "the end of the file (is it cut off?)"
            raise JsonError("syntax", f"expected {wanted.decode()!r} {self.place}, got {found}")
        self.take(1)

    def value(self) -> tuple[bytes, int]:
        """Take one value: its text (empty where it is too large) and how deep it is nested."""
        first = self.peek()
        if first in (b"{", b"[", b'"'):
            return self._nested()
        while True:
            scalar = _SCALAR.match(self._held, self._at)
            length = scalar.end() - self._at if scalar else 0
            if self._at + length < len(self._held) or self._ended:
                break
            if length > MAXIMUM_ELEMENT_BYTES:
                raise JsonError("too-large", f"expected a shorter number than what begins {self.place}")
            self._fill()
        if not length:
            found = repr(first.decode("latin-1")) if first else "the end of the file (is it cut off?)"
            raise JsonError("syntax", f"expected a value {self.place}, got {found}")
        return self.take(length), 0

    def _nested(self) -> tuple[bytes, int]:
        depth = deepest = 0
        length = 0
        too_large = False
        while True:
            for token in _TOKEN.finditer(self._held, self._at + length):
                text = token[0]
                if text.startswith(b'"'):
                    if not token[1]:
                        # The string goes on in the next block: look at it again with more.
                        length = token.start() - self._at
                        if len(self._held) - token.start() > MAXIMUM_ELEMENT_BYTES:
                            raise JsonError("too-large", f"expected shorter text than what begins {self.place}")
                        break
                else:
                    depth += 1 if text in b"{[" else -1
                    deepest = max(deepest, depth)
                length = token.end() - self._at
                if depth == 0:
                    taken = self.take(length)
                    return (b"" if too_large or length > MAXIMUM_ELEMENT_BYTES else taken), deepest
            else:
                length = len(self._held) - self._at
            if self._ended:
                raise JsonError("syntax", f"expected the end of what begins {self.place}, got the end of the file")
            if length > MAXIMUM_ELEMENT_BYTES:
                self.take(length)
                length, too_large = 0, True
            self._fill()
