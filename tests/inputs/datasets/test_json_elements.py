"""A file is walked element by element as a whole parser would read it, whatever the size of a block."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.inputs.datasets import json_elements
from stvg_core.inputs.datasets.json_elements import JsonError, iterate_elements, iterate_lines

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(
    document=st.lists(VALUES, max_size=6) | st.dictionaries(TEXT, VALUES, max_size=6),
    indent=st.sampled_from([None, 1, "\t"]),
    ascii_only=st.booleans(),
    block=st.integers(1, 40),
)
def test_elements_are_those_of_a_whole_parser(document: Any, indent: Any, ascii_only: bool, block: int) -> None:
    raw = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_elements, "BLOCK_BYTES", block)
        found = list(iterate_elements(io.BytesIO(raw)))
    if isinstance(document, dict):
        assert {element.key: element.parsed() for element in found} == document
    else:
        assert [element.parsed() for element in found] == document
        assert all(element.key is None for element in found)
    assert [element.index for element in found] == list(range(len(document)))


@given(document=st.lists(st.dictionaries(TEXT, VALUES, max_size=3), min_size=1, max_size=4), data=st.data())
def test_a_file_that_is_cut_off_is_told(document: list[Any], data: st.DataObject) -> None:
    raw = json.dumps(document).encode()
    end = data.draw(st.integers(0, len(raw) - 1))
    elements = iterate_elements(io.BytesIO(raw[:end]))
    found: list[Any] = []
    with pytest.raises(JsonError):
        found.extend(element.parsed() for element in elements)
    assert found == document[: len(found)]


@pytest.mark.parametrize(
    "text", ["", "  ", "5", '"text"', "nonsense", "[1] 2", "[1 2]", "[1,]", '{"a" 1}', "{5: 1}", "[1", "]"]
)
def test_what_is_no_list_or_object_is_told(text: str) -> None:
    with pytest.raises(JsonError, match=r"expected|empty") as caught:
        list(iterate_elements(io.BytesIO(text.encode())))
    assert caught.value.kind == "syntax"


def test_an_element_that_is_damaged_leaves_its_neighbours() -> None:
    raw = b'[{"a": 1}, {"a": nan}, {"a": 1, "a": 2}, [{]}, {"b": "\xff"}, {"c": 3}]'
    found: list[Any] = []
    for element in iterate_elements(io.BytesIO(raw)):
        try:
            found.append(element.parsed())
        except JsonError as error:
            found.append(error.kind)
    assert found == [{"a": 1}, "syntax", "duplicate-key", "syntax", "syntax", {"c": 3}]


def test_deep_and_large_elements_are_skipped_without_being_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_elements, "BLOCK_BYTES", 64)
    monkeypatch.setattr(json_elements, "MAXIMUM_ELEMENT_BYTES", 1000)
    deep = b"[" * 17 + b"]" * 17
    raw = b"[1, " + deep + b", " + json.dumps(list(range(1000))).encode() + b", " + b"[" * 16 + b"]" * 16 + b"]"
    for found in (
        list(iterate_elements(io.BytesIO(raw))),
        list(
            iterate_lines(
                io.BytesIO(b"\n".join([b"1", deep, json.dumps(list(range(1000))).encode(), b"[" * 16 + b"]" * 16]))
            )
        ),
    ):
        kinds = []
        for element in found:
            try:
                element.parsed()
                kinds.append("ok")
            except JsonError as error:
                kinds.append(error.kind)
        assert kinds == ["ok", "too-deep", "too-large", "ok"]
        assert max(len(element.raw) for element in found) <= 1000


def test_text_without_an_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_elements, "BLOCK_BYTES", 64)
    monkeypatch.setattr(json_elements, "MAXIMUM_ELEMENT_BYTES", 1000)
    stream = io.BytesIO(b'["' + b"a" * 100_000)
    with pytest.raises(JsonError, match="expected shorter text"):
        list(iterate_elements(stream))
    assert stream.tell() < 10_000


def test_a_byte_order_mark_is_no_text() -> None:
    assert [element.parsed() for element in iterate_elements(io.BytesIO(b"\xef\xbb\xbf[1]"))] == [1]
    assert [element.parsed() for element in iterate_lines(io.BytesIO(b"\xef\xbb\xbf{}\n"))] == [{}]
