"""Every field of every format spoiled in every way: that sample is told of, and the others are read."""

import json
import math
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.datasets import (
    FORMATS,
    Format,
    Place,
    changed,
    kinds,
    places,
    usable,
    value_at,
    vidor,
    without,
)

DEEP: Final[list[Any]] = json.loads("[" * 40 + "]" * 40)

FOREIGN_TYPES: Final[dict[type, tuple[Any, ...]]] = {
    int: ("12", None, [], {}, True),
    float: ("1.5", None, [], {}, True),
    str: (5, None, [], {}, True),
    list: ("x", None, 5, {}),
    dict: ("x", None, 5, []),
}
FIRST: Final[dict[str, str | int]] = {
    "hcstvg-v1": "1_a.mp4",
    "hcstvg-v2": "1_a.mp4",
    "hcstvg-v2-thinned": "1_a.mp4",
    "vidstg": 0,
    "folder": 0,
}
OPTIONAL: Final = {"query_type", "fps", "width", "height", "tube"}
"""Fields of our own format that may be left out or null."""


def cases(name: str) -> list[Place]:
    """Return the places of the first sample of a format."""
    document = FORMATS[name].document()
    return [place for place in places(document) if place[0] == FIRST[name] and len(place) > 1]


def every_case() -> list[tuple[str, Place]]:
    return [(name, place) for name in FORMATS for place in cases(name)]


def every_number() -> list[tuple[str, Place]]:
    return [
        (name, place) for name, place in every_case() if type(value_at(FORMATS[name].document(), place)) in (int, float)
    ]


def ids(case: tuple[str, Place]) -> str:
    return f"{case[0]}:{'.'.join(map(str, case[1]))}"


def others(name: str) -> list[str]:
    """Return the ids of the samples that are not spoiled, sorted."""
    return {
        "vidstg": [
            f"{vid}_0000{n}_{kind}_0"
            for vid, n in (("100", 2), ("200", 1))
            for kind in ("declarative", "interrogative")
        ],
        "folder": ["second"],
    }.get(name, ["2_b"])


def check_spoiled(form: Format, root: Path, document: Any, wanted: set[str]) -> None:
    entries = form.entries(form.write(root, document))
    assert sorted(usable(entries)) == others(form.dataset)
    assert kinds(entries) & wanted, (kinds(entries), wanted)
    for entry in entries:
        for problem in entry.problems:
            assert problem.message.isprintable()
            assert len(problem.message) < 600


@pytest.mark.parametrize("case", every_case(), ids=ids)
def test_a_missing_field_is_told(case: tuple[str, Place], tmp_path: Path) -> None:
    name, place = case
    form = FORMATS[name]
    if name == "folder" and place[-1] in OPTIONAL:
        assert usable(form.entries(form.write(tmp_path, without(form.document(), place)))) == ["first", "second"]
    elif isinstance(place[-1], int) and isinstance(value_at(form.document(), place), list):
        # One box less is a shorter tube.
        assert usable(form.entries(form.write(tmp_path, without(form.document(), place)))) == ["1_a", "2_b"]
    elif place[-2:] == ("subject/objects", 0) or place[-2:] == ("subject/objects", 1):
        # The sentence about that object alone is lost.
        assert len(usable(form.entries(form.write(tmp_path, without(form.document(), place))))) == 5
    elif name == "vidstg" and place[-2:] in {("captions", 0), ("questions", 0)}:
        assert len(usable(form.entries(form.write(tmp_path, without(form.document(), place))))) == 5
    else:
        wanted = {"missing-field", "missing-boxes"} if isinstance(place[-1], str) else {"out-of-range"}
        check_spoiled(form, tmp_path, without(form.document(), place), wanted)


@pytest.mark.parametrize("case", every_case(), ids=ids)
def test_a_value_of_another_type_is_told(case: tuple[str, Place], tmp_path: Path) -> None:
    name, place = case
    form = FORMATS[name]
    document = form.document()
    for value in FOREIGN_TYPES[type(value_at(document, place))]:
        if value is None and name == "folder" and place[-1] in OPTIONAL:
            continue
        wanted = {"wrong-type"} if place[-1] != "query_type" else {"out-of-range"}
        if value is None:
            # Our own format lets most fields be null; frame_count is then missing beside a tube.
            wanted.add("missing-field")
        check_spoiled(form, tmp_path, changed(document, place, value), wanted)


@pytest.mark.parametrize("case", every_number(), ids=ids)
def test_numbers_that_cannot_be_are_told(case: tuple[str, Place], tmp_path: Path) -> None:
    name, place = case
    form = FORMATS[name]
    document = form.document()
    for value in (math.nan, math.inf, -math.inf):
        check_spoiled(form, tmp_path, changed(document, place, value), {"not-a-number", "wrong-type"})
    for value in (-(10**9), 10**12):
        check_spoiled(form, tmp_path, changed(document, place, value), {"out-of-range"})
    marked = json.dumps(changed(document, place, "HERE"))
    form.write(tmp_path)
    form.write_text(tmp_path, marked.replace('"HERE"', "9" * 6000))
    entries = form.entries(tmp_path)
    assert (sorted(usable(entries)), kinds(entries)) == (others(name), {"out-of-range"})


@pytest.mark.parametrize("case", every_case(), ids=ids)
def test_deep_nesting_and_repeated_keys_are_told(case: tuple[str, Place], tmp_path: Path) -> None:
    name, place = case
    form = FORMATS[name]
    check_spoiled(form, tmp_path, changed(form.document(), place, DEEP), {"too-deep"})
    if isinstance(place[-1], str):
        key, value = place[-1], value_at(form.document(), place)
        text = json.dumps(changed(form.document(), place, "HERE"))
        twice = f"{json.dumps(value)}, {json.dumps(key)}: {json.dumps(value)}"
        form.write_text(tmp_path, text.replace('"HERE"', twice))
        entries = form.entries(tmp_path)
        assert (sorted(usable(entries)), kinds(entries)) == (others(name), {"duplicate-key"})


TEXT_PLACES: Final = {
    "hcstvg-v1": ("1_a.mp4", "caption"),
    "hcstvg-v2": ("1_a.mp4", "English"),
    "hcstvg-v2-thinned": ("1_a.mp4", "English"),
    "vidstg": (0, "captions", 0, "description"),
    "folder": (0, "query"),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", ["\x1b[31mred", "a\u202eb", "\ud800", "a\x00b", "a\x9bb"])
def test_text_that_steers_a_terminal_is_told(name: str, text: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    place: Place = TEXT_PLACES[name]
    entries = form.entries(form.write(tmp_path, changed(form.document(), place, text)))
    assert kinds(entries) == {"control-characters"}
    assert len(usable(entries)) == len(entries) - 1
    assert all(problem.message.isprintable() for entry in entries for problem in entry.problems)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_query_of_nothing_is_told(name: str, text: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    entries = form.entries(form.write(tmp_path, changed(form.document(), TEXT_PLACES[name], text)))
    assert kinds(entries) == {"out-of-range"}


@pytest.mark.parametrize("text", ["a\x1b[31m", "a\u202eb", "\udc80"])
def test_an_id_that_steers_a_terminal_is_told(text: str, tmp_path: Path) -> None:
    form = FORMATS["folder"]
    entries = form.entries(form.write(tmp_path, changed(form.document(), (0, "id"), text)))
    assert (kinds(entries), usable(entries)) == ({"control-characters"}, ["second"])
    assert entries[0].sample_id.isprintable()
    clips = FORMATS["hcstvg-v1"].document()
    entries = FORMATS["hcstvg-v1"].entries(
        FORMATS["hcstvg-v1"].write(tmp_path, {text: clips["1_a.mp4"], "2_b.mkv": clips["2_b.mkv"]})
    )
    assert (kinds(entries), usable(entries)) == ({"control-characters"}, ["2_b"])
    assert all(entry.key.isprintable() and entry.sample_id.isprintable() for entry in entries)


@pytest.mark.parametrize("name", ["hcstvg-v1", "hcstvg-v2", "hcstvg-v2-thinned"])
def test_boxes_that_cannot_be_are_told(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    place = ("1_a.mp4", "bbox", 1)
    for box, wanted in (
        ([10, 20, -1, 40], "reversed-box"),
        ([10, 20, 30, -0.5], "reversed-box"),
        ([64, 20, 3, 3], "box-outside-picture"),
        ([-9, 20, 9, 3], "box-outside-picture"),
        ([10, 96, 3, 3], "box-outside-picture"),
        ([10, -9, 3, 4], "box-outside-picture"),
    ):
        check_spoiled(form, tmp_path, changed(form.document(), place, box), {wanted})


def test_a_box_over_the_edge_is_cut_and_counted(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    document = changed(form.document(), ("1_a.mp4", "bbox", 1), [-2, 20, 80, 100])
    cut = form.entries(form.write(tmp_path, document))[0]
    assert cut.sample is not None
    assert cut.sample.truth is not None
    assert cut.sample.truth.boxes_xyxy[1].tolist() == [0, 20, 64, 96]
    assert (cut.clipped_boxes, cut.problems) == (1, ())
    kept = form.entries(tmp_path, corrections=False)[0]
    assert kept.sample is not None
    assert kept.sample.truth is not None
    assert kept.sample.truth.boxes_xyxy[1].tolist() == [-2, 20, 78, 120]
    assert (kept.clipped_boxes, kinds([kept])) == (0, {"box-over-edge"})


def test_an_empty_box_is_told_and_kept(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    entry = form.entries(form.write(tmp_path, changed(form.document(), ("1_a.mp4", "bbox", 1), [3, 4, 0, 5])))[0]
    assert kinds([entry]) == {"empty-box"}
    assert entry.sample is not None


def test_times_the_wrong_way_round_are_told_and_kept(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    entry = form.entries(form.write(tmp_path, changed(form.document(), ("1_a.mp4", "ed_time"), 0.1)))[0]
    assert kinds([entry]) == {"times-reversed"}
    assert entry.sample is not None


@pytest.mark.parametrize(
    ("name", "place", "last_good", "kind"),
    [
        ("hcstvg-v1", ("1_a.mp4", "st_frame"), 18, "span-beyond-video"),
        ("hcstvg-v2", ("1_a.mp4", "st_frame"), 18, "span-beyond-video"),
        ("hcstvg-v2-thinned", ("1_a.mp4", "st_frame"), 17, "span-beyond-video"),
        ("vidstg", (0, "temporal_gt", "end_fid"), 12, "span-beyond-video"),
        ("vidstg", (0, "used_segment", "end_fid"), 11, "out-of-range"),
    ],
)
def test_a_span_may_end_with_the_video_and_no_later(
    name: str, place: Place, last_good: int, kind: str, tmp_path: Path
) -> None:
    form = FORMATS[name]
    whole = len(form.entries(form.write(tmp_path)))
    assert len(usable(form.entries(form.write(tmp_path, changed(form.document(), place, last_good))))) == whole
    check_spoiled(form, tmp_path, changed(form.document(), place, last_good + 1), {kind})


def test_a_tube_of_our_own_format_fits_its_frames(tmp_path: Path) -> None:
    form = FORMATS["folder"]
    tube = form.document()[0]["tube"]
    for change, kind in (
        ({"end_frame": 2}, "out-of-range"),
        ({"end_frame": 5}, "missing-boxes"),
        ({"start_frame": 4}, "out-of-range"),
        ({"boxes": tube["boxes"] | {"03": [1, 2, 3, 4]}}, "out-of-range"),
        ({"boxes": {}}, "out-of-range"),
        ({"start_frame": 19, "end_frame": 20, "boxes": {"19": [1, 2, 3, 4], "20": [1, 2, 3, 4]}}, "span-beyond-video"),
        ({"boxes": tube["boxes"] | {"3": [30, 2, 1, 40]}}, "reversed-box"),
        ({"boxes": tube["boxes"] | {"3": [64, 2, 70, 40]}}, "box-outside-picture"),
    ):
        check_spoiled(form, tmp_path, changed(form.document(), (0, "tube"), tube | change), {kind})
    check_spoiled(form, tmp_path, changed(form.document(), (0, "quiery"), "x"), {"unknown-field"})


def test_vidstg_spans_and_targets_are_checked(tmp_path: Path) -> None:
    form = FORMATS["vidstg"]
    for place, value, kind in (
        ((0, "temporal_gt", "end_fid"), 3, "out-of-range"),
        ((0, "temporal_gt", "begin_fid"), 0, "span-outside-segment"),
        ((0, "used_segment", "end_fid"), 4, "span-outside-segment"),
        ((0, "used_segment", "end_fid"), 0, "out-of-range"),
        ((0, "subject/objects", 1, "tid"), 0, "duplicate-id"),
    ):
        check_spoiled(form, tmp_path, changed(form.document(), place, value), {kind})
    neither = without(changed(form.document(), (0, "captions"), []), (0, "questions", 0))
    check_spoiled(form, tmp_path, neither, {"out-of-range"})
    entries = form.entries(form.write(tmp_path, changed(form.document(), (0, "captions", 0, "target_id"), 7)))
    assert (kinds(entries), len(usable(entries))) == ({"out-of-range"}, 5)


UNUSED: Final = {"generated", "tracker"}

TARGET: Final[Place] = ("trajectories", 3, 0)
"""Where the first video's boxes hold object 0 at the first frame of the first record's span."""


@pytest.mark.parametrize(
    "place",
    [
        TARGET[:1],
        TARGET[:2],
        TARGET,
        *((*TARGET, *rest) for rest in places(vidor()["trajectories"][3][0]) if rest[-1] not in UNUSED),
    ],
    ids=str,
)
def test_boxes_in_their_own_file_are_checked(place: Place, tmp_path: Path) -> None:
    form = FORMATS["vidstg"]
    spoiled = [changed(vidor(), place, DEEP)]
    if place != TARGET[:2]:
        # Without a frame all that follow move up, and nothing in the file could tell.
        spoiled.append(without(vidor(), place))
    original = value_at(vidor(), place)
    spoiled += [changed(vidor(), place, value) for value in FOREIGN_TYPES[type(original)] if value != []]
    if isinstance(original, int | float):
        spoiled += [changed(vidor(), place, value) for value in (math.nan, -(10**9), 10**12)]
    for boxes in spoiled:
        entries = form.entries(form.write(tmp_path, boxes=boxes))
        left = usable(entries)
        assert "100_00000_declarative_0" not in left
        assert left[-2:] == ["200_00001_declarative_0", "200_00001_interrogative_0"]
        assert kinds(entries) <= {
            "missing-boxes",
            "missing-field",
            "wrong-type",
            "not-a-number",
            "out-of-range",
            "duplicate-id",
        }
        assert all(problem.message.isprintable() for entry in entries for problem in entry.problems)


def test_a_repeated_key_in_a_file_of_boxes_is_told(tmp_path: Path) -> None:
    form = FORMATS["vidstg"]
    form.write(tmp_path)
    text = json.dumps(vidor())
    for key in ("trajectories", "tid", "bbox", "xmin", "ymax"):
        spoiled = text.replace(f'"{key}": ', f'"{key}": 1, "{key}": ', 1)
        (tmp_path / "bbox_annos/100.json").write_text(spoiled)
        entries = form.entries(tmp_path)
        assert (kinds(entries), len(usable(entries))) == ({"duplicate-key"}, 2), key
    escaped = text.replace('"xmin": ', '"xm\\u0069n": 1, "xmin": ', 1)
    (tmp_path / "bbox_annos/100.json").write_text(escaped)
    assert kinds(form.entries(tmp_path)) == {"duplicate-key"}


@pytest.mark.parametrize("text", ["", "{", "[]", "nonsense", "[" * 100_000, '{"trajectories": 5}', "\ufeff{}"])
def test_a_file_of_boxes_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    form = FORMATS["vidstg"]
    form.write(tmp_path)
    (tmp_path / "bbox_annos/100.json").write_text(text)
    entries = form.entries(tmp_path)
    assert kinds(entries) <= {"syntax", "wrong-type", "missing-field", "too-deep"}
    assert len(usable(entries)) == 2
    (tmp_path / "bbox_annos/100.json").unlink()
    assert kinds(form.entries(tmp_path)) == {"missing-boxes"}


def test_an_object_twice_in_a_frame_is_told(tmp_path: Path) -> None:
    form = FORMATS["vidstg"]
    entries = form.entries(form.write(tmp_path, boxes=changed(vidor(), ("trajectories", 3, 1, "tid"), 0)))
    assert kinds(entries) == {"duplicate-id", "missing-boxes"}


@pytest.mark.parametrize("name", FORMATS)
def test_an_id_twice_is_told_and_the_first_is_used(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    form.write(tmp_path)
    document = form.document()
    if name == "folder":
        form.write(tmp_path, changed(document, (1, "id"), "first"))
    elif name == "vidstg":
        # Ids are made of the place in the file: two records never share one.
        form.write(tmp_path, [document[0], document[0]])
        entries = form.entries(tmp_path)
        assert len(usable(entries)) == len(set(usable(entries))) == 4
        return
    else:
        first = json.dumps(document["1_a.mp4"])
        second = json.dumps(document["2_b.mkv"])
        form.write_text(tmp_path, f'{{"1_a.mp4": {first}, "1_a.mkv": {second}, "1_a.mp4": {second}}}')
    entries = form.entries(tmp_path)
    assert len(usable(entries)) == 1
    assert entries[0].sample is not None
    assert [kinds([entry]) for entry in entries[1:]] == [{"duplicate-id"}] * (len(entries) - 1)


def test_the_other_version_is_named(tmp_path: Path) -> None:
    one, two = FORMATS["hcstvg-v1"], FORMATS["hcstvg-v2"]
    for mine, other in ((one, two), (two, one)):
        entries = mine.entries(mine.write(tmp_path, other.document()))
        assert any(other.dataset in problem.message for problem in entries[0].problems)


def test_whole_numbers_may_be_written_with_a_point_but_not_with_a_fraction(tmp_path: Path) -> None:
    form = FORMATS["hcstvg-v1"]
    assert len(usable(form.entries(form.write(tmp_path, changed(form.document(), ("1_a.mp4", "st_frame"), 5.0))))) == 2
    check_spoiled(form, tmp_path, changed(form.document(), ("1_a.mp4", "st_frame"), 5.5), {"wrong-type"})
