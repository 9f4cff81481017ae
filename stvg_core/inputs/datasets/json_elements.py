"""Large JSON files one element at a time, and JSON read strictly.

The outermost object or list is split at its commas without being parsed: one element and one block of the file are
in memory. An element that is damaged, too deep or too large, or that holds NaN, leaves its neighbours usable;
incremental parsers such as ijson stop at the first of them.
"""

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

# A string, with its closing quote where the block holds it; or a mark of structure. Possessive, so that a long
# string without an end takes no more than one look.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}\[\],]', re.DOTALL)
_KEY: Final = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*:\s*(.*)', re.DOTALL)
_DEPTH_CHANGES: Final = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
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
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError("duplicate-key", f"expected each key once, got {twice[:60]!r} twice")
    return content


def iterate_elements(stream: BufferedIOBase) -> Iterator[Element]:
    """Yield the elements of the outermost JSON list or object, in the order of the file.

    Raises:
        JsonError: the file itself is damaged at this place: cut off, no list or object, or text after its end.
    """
    start = stream.read(BLOCK_BYTES)
    while len(start) < len(_BYTE_ORDER_MARK) or start.removeprefix(_BYTE_ORDER_MARK).isspace():
        more = stream.read(BLOCK_BYTES)
        if not more:
            break
        start += more
    start = start.removeprefix(_BYTE_ORDER_MARK).lstrip()
    opening = start[:1]
    if opening not in (b"{", b"["):
        raise JsonError(
            "syntax", "expected a JSON list or object, got another file" if opening else "the file is empty"
        )
    for index, (raw, depth) in enumerate(_split(stream, start[1:], b"}" if opening == b"{" else b"]")):
        key, value = (None, raw) if opening == b"[" else _key_and_value(raw, index)
        # Two numbers without a comma between them are no element; nested values are checked when they are parsed.
        if value[:1] not in (b"{", b"[", b'"') and len(value.split()) > 1:
            raise JsonError("syntax", f"expected a comma after record {index}, got none")
        oversize = len(raw) > MAXIMUM_ELEMENT_BYTES
        yield Element(index, key, b"" if oversize else value, depth)


def _split(stream: BufferedIOBase, text: bytes, closing: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the text between the commas of a list or object, and how deep it is nested.

    Of an element that is too large, its first MAXIMUM_ELEMENT_BYTES + 1 bytes are yielded.

    Args:
        stream: the rest of the file.
        text: of the file behind the opening bracket, what was read already.
        closing: the bracket that ends the list or object.
    """
    head = b""  # of an element that is too large
    scanned = depth = deepest = count = 0
    while True:
        begin = 0
        for token in _TOKEN.finditer(text, scanned):
            mark = token[0]
            if mark.startswith(b'"') and not token[1]:
                if len(text) - token.start() > MAXIMUM_ELEMENT_BYTES:
                    raise JsonError("too-large", f"expected shorter text in record {count}")
                scanned = token.start()  # it goes on in the next block
                break
            scanned = token.end()
            if mark in _DEPTH_CHANGES and (depth or mark in b"{["):
                depth += _DEPTH_CHANGES[mark]
                deepest = max(deepest, depth)
            elif depth == 0 and not mark.startswith(b'"'):
                element = head or text[begin : token.start()].strip()
                if mark not in (b",", closing) or (not element and (count or mark == b",")):
                    raise JsonError("syntax", f"expected a value or {closing.decode()!r} at record {count}")
                if element:
                    yield element, deepest
                if mark == closing:
                    return _expect_end(stream, text[token.end() :])
                head, begin, deepest, count = b"", token.end(), 0, count + 1
        else:
            scanned = len(text)
        held = text[begin:scanned].lstrip()
        if len(held) > MAXIMUM_ELEMENT_BYTES:
            head, held = head or held[: MAXIMUM_ELEMENT_BYTES + 1], b""
        # Twice as much each time, so that nothing is copied often.
        more = stream.read(max(BLOCK_BYTES, len(held)))
        if not more:
            raise JsonError("syntax", f"expected the end of record {count}, got the end of the file (is it cut off?)")
        text, scanned = held + text[scanned:] + more, len(held)


def _expect_end(stream: BufferedIOBase, rest: bytes) -> None:
    while not rest.strip():
        rest = stream.read(BLOCK_BYTES)
        if not rest:
            return
    raise JsonError("syntax", "expected the end of the file, got more text")


def _key_and_value(raw: bytes, index: int) -> tuple[str, bytes]:
    match = _KEY.match(raw)
    if match is None or not (match[2] or len(raw) > MAXIMUM_ELEMENT_BYTES):
        raise JsonError("syntax", f"expected a key in quotes, a colon and a value at record {index}")
    return str(strict_json(match[1])), match[2]


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
        depth += _DEPTH_CHANGES.get(token[0], 0)
        deepest = max(deepest, depth)
    return deepest
