"""What pages are made of: query parts, times, kept maps, safe text, numbers from documents of anywhere."""

import base64
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.errors import RunError
from stvg_core.evaluation.runs.tasks import Task
from stvg_core.outputs.report.kept_maps import check_maps, decode_values, dump_maps, encode_values
from stvg_core.outputs.report.pages.sample import (
    found_part,
    frame_times,
    query_parts,
    truth_of_annotation,
    truth_of_tube,
)
from stvg_core.outputs.report.pages.writing import markup_safe, render_page, sample_script
from tests.support.groundings import a_grounding, a_tube
from tests.support.pages import HOSTILE, answer, maps_record

ASSETS = Path(__file__).parents[3] / "stvg_core" / "outputs" / "report" / "pages" / "assets"


@given(st.text(), st.text(), st.text())
def test_the_pieces_of_a_query_are_the_query(text: str, attribute: str, action: str) -> None:
    pieces = query_parts(text, attribute, action)
    assert "".join(piece for piece, _ in pieces) == text
    assert all(piece for piece, _ in pieces)
    assert all(one[1] != other[1] for one, other in itertools.pairwise(pieces))


@pytest.mark.parametrize(
    ("text", "attribute", "action", "expected"),
    [
        (
            "A woman in red sits down, then the man in blue stands up.",
            "the man in blue",
            "the man stands up",
            [
                ("A woman in red sits down, then ", ""),
                ("the man in blue", "attribute"),
                (" ", ""),
                ("stands up", "action"),
                (".", ""),
            ],
        ),
        (
            "Who opens the door?",
            "who",
            "the person opens the door",
            [("Who", "attribute"), (" ", ""), ("opens the door", "action"), ("?", "")],
        ),
        ("Nothing of it.", "xyz", "qrs", [("Nothing of it.", "")]),
    ],
)
def test_parts_of_real_queries(text: str, attribute: str, action: str, expected: list[tuple[str, str]]) -> None:
    assert query_parts(text, attribute, action) == expected


@given(st.lists(st.floats(0.001, 2.0), min_size=1, max_size=60), st.floats(0, 5), st.booleans())
def test_frame_times_are_those_of_the_file(steps: list[float], first: float, even: bool) -> None:
    gaps = [steps[0]] * len(steps) if even else steps
    seconds = first + np.concatenate([[0.0], np.cumsum(gaps)])
    times = frame_times(seconds)
    said = times.get("seconds") or [times["first"] + frame * times["step"] for frame in range(times["count"])]
    assert np.abs(np.array(said) - seconds).max() < 0.0006


@given(
    st.lists(st.floats(-1e3, 1e6), min_size=8, max_size=8),
)
def test_kept_values_are_within_half_a_step(numbers: list[float]) -> None:
    values = np.array(numbers).reshape(2, 2, 2)
    low, high, codes = encode_values(values)
    back = decode_values(low, high, codes)
    shares = np.sqrt(np.clip((values - low) / max(high - low, 1e-300), 0, 1))
    step = (high - low) * ((shares + 0.51 / 255) ** 2 - shares**2)
    assert (np.abs(back - values) <= step + 1e-9 * max(abs(low), abs(high))).all()


def test_kept_maps_hold_both_branches_in_source_order() -> None:
    grounding = a_grounding(6)
    record = json.loads(dump_maps(grounding))
    check_maps(record)
    assert record["frames"] == grounding.frames.indices.tolist()
    assert record["seconds"] == pytest.approx(grounding.frames.seconds.tolist())
    assert [branch["name"] for branch in record["branches"]] == ["attribute", "action"]
    kept = record["branches"][0]["prompted"]
    codes = np.frombuffer(base64.b64decode(kept["codes"]), np.uint8).reshape(6, 8, 8)
    assert np.array_equal(codes == 255, grounding.spatial_maps.values == 1.0)
    assert record["branches"][0]["unprompted"] is None


NOTHING = {"tokens": [], "low": 0.0, "high": 0.0, "codes": ""}


def spoil(change: Any) -> dict[str, Any]:
    record = maps_record()
    change(record)
    return record


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["frames"].pop(),
        lambda record: record["branches"][0]["prompted"].update(codes="AAAA"),
        lambda record: record["branches"][0]["prompted"].update(codes="<script>"),
        lambda record: record["branches"][1]["unprompted"].update(low="0"),
        lambda record: record["branches"][1]["unprompted"].update(high=float("inf")),
        lambda record: record["branches"][0].update(name="<b>"),
        lambda record: record["branches"][0].update(rows="x"),
        lambda record: record["branches"][0].update(rows=0, prompted=NOTHING, unprompted=None),
        lambda record: record.update(frames=[], seconds=[], branches=[]),
        lambda record: record["branches"][0]["prompted"].update(tokens=[1]),
        lambda record: record["seconds"].__setitem__(0, "now"),
        lambda record: record.pop("branches"),
    ],
)
def test_damaged_maps_are_refused(change: Any) -> None:
    check_maps(maps_record())
    with pytest.raises(RunError, match="expected attention maps"):
        check_maps(spoil(change))


def document() -> dict[str, Any]:
    return dict(json.loads(answer(Task("a", "clip.mp4", "The man walks away.")).document or ""))


def set_in(place: Any, *path: Any) -> None:
    *keys, last, value = path
    for key in keys:
        place = place[key]
    place[last] = value


@pytest.mark.parametrize(
    "path",
    [
        ("tube", "start_frame", "8"),
        ("tube", "start_frame", -1),
        ("tube", "start_frame", 9),
        ("tube", "start_seconds", None),
        ("tube", "boxes", 0, "xyxy", ["<b>", 0, 1, 1]),
        ("tube", "boxes", 0, "xyxy", [0.0, 0.0, 1.0]),
        ("tube", "boxes", 0, "xyxy", [0.0, 0.0, 1.0, float("nan")]),
        ("scores", "frames", 0, "score", "1"),
        ("scores", "frames", 0, "frame", 1.5),
        ("query", "attribute", ["x"]),
        ("diagnostics", "spatial_margin_step_0", {}),
        ("diagnostics", "prompts", "spatial", "margin_after", "<b>"),
        ("warnings", [3]),
    ],
)
def test_a_document_that_is_none_is_refused_before_the_page(path: tuple[Any, ...]) -> None:
    found_part(document(), None)
    spoiled = document()
    set_in(spoiled, *path)
    with pytest.raises((KeyError, TypeError, ValueError)):
        found_part(spoiled, None)


def test_true_tubes_are_in_source_frames() -> None:
    annotation = {"start_frame": 2, "end_frame": 4, "boxes": {"4": [1, 2, 3, 4.04], "2": [0, 0, 1, 1]}}
    assert truth_of_annotation(annotation, 5) == {
        "start": 10,
        "end": 20,
        "frames": [10, 20],
        "boxes": [0, 0, 10, 10, 10, 20, 30, 40],
    }
    info = a_grounding().frames.info
    assert truth_of_tube(a_tube(info, 3, 4, (1.0, 2.0, 3.0, 4.0)))["boxes"] == [10, 20, 30, 40] * 2


class Reader(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.tags[-1][0] if self.tags else "", data))


@given(st.text(max_size=40))
def test_any_text_in_a_page_stays_data(text: str) -> None:
    plain, page = render_page("x", {"query": "x"}), render_page(HOSTILE + text, {"query": HOSTILE + text})
    readers = []
    for written in (plain, page):
        reader = Reader()
        reader.feed(written)
        readers.append(reader)
    names = [[tag for tag, _ in reader.tags] for reader in readers]
    assert names[0] == names[1]
    found = re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = found.group(1)
    assert json.loads(data) == {"query": HOSTILE + text}


@given(st.text())
def test_any_text_in_a_sample_s_script_is_one_string(text: str) -> None:
    script = sample_script(7, {"query": text, "__proto__": {"polluted": True}})
    assert script.isascii()
    assert not set("<>&") & set(script)
    assert script.count("\n") == 1
    match = re.fullmatch(r"stvg\.receive\(7, (.*)\);\n", script)
    assert match is not None
    assert json.loads(json.loads(match.group(1)))["query"] == text


@given(st.text())
def test_markup_safe_changes_no_value(text: str) -> None:
    assert json.loads(markup_safe(json.dumps(text))) == text


def test_every_script_and_style_has_the_page_s_nonce_and_no_other_page_has_it() -> None:
    first, second = render_page("a", {}), render_page("a", {})
    nonces = []
    for page in (first, second):
        reader = Reader()
        reader.feed(page)
        own = [attributes for tag, attributes in reader.tags if tag in ("script", "style")]
        given_nonces = {attributes.get("nonce") for attributes in own if attributes.get("type") != "application/json"}
        assert len(given_nonces) == 1
        nonces += given_nonces
        (policy,) = [attributes["content"] for _, attributes in reader.tags if attributes.get("http-equiv")]
        assert f"script-src 'nonce-{nonces[-1]}'" in str(policy)
        assert "unsafe" not in str(policy)
        assert "default-src 'none'" in str(policy)
        assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
        assert not [attributes for _, attributes in reader.tags if "style" in attributes]
    assert nonces[0] != nonces[1]


def test_our_own_scripts_make_no_markup_and_hold_no_end_tag() -> None:
    for path in ASSETS.iterdir():
        written = path.read_text(encoding="utf-8")
        if path.suffix in (".js", ".css"):
            assert "</" not in written, path.name
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "http:",
            "https:",
        ):
            allowed = word == "http:" and path.name == "elements.js"
            assert allowed or word not in written, (path.name, word)
