"""`stvg score` as its users meet it: the documents, the exit codes, and files that nobody checked before."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_core.errors import ScoreError
from stvg_core.metrics import PROTOCOLS, SampleTruth, SampleTube, files
from stvg_core.metrics.files import read_annotations, read_predictions
from tests.support.score_folder import TRUE_BOX, Document, Folder, entry, everywhere


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path, monkeypatch, capsys)


TRUTHS = {"a": entry(), "b": entry()}
FOUND = {"a": everywhere(10, 19), "b": everywhere(15, 24)}


def test_the_document_of_the_contract(folder: Folder) -> None:
    code, out, error = folder.run(FOUND, TRUTHS, "--json")
    assert (code, error) == (0, "")
    document = json.loads(out)
    assert list(document)[:4] == ["protocol", "summary", "per_sample", "counts"]
    assert document["protocol"] == "tubedetr"
    assert document["summary"] == pytest.approx(
        {"m_tIoU": 2 / 3, "m_vIoU": 0.4, "gt_vIoU": 0.6, "vIoU@0.3": 0.5, "vIoU@0.5": 0.5}
    )
    assert document["per_sample"]["a"] == pytest.approx({"tIoU": 1, "vIoU": 0.6, "gt_vIoU": 0.6})
    assert document["per_sample"]["b"] == pytest.approx({"tIoU": 1 / 3, "vIoU": 0.2, "gt_vIoU": 0.6})
    assert document["counts"] == {"scored": 2, "missing": 0, "failed": 0}
    assert not {"bootstrap", "by"} & set(document)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_summary_is_the_mean_of_what_is_listed(protocol: str, folder: Folder) -> None:
    truths = TRUTHS | {"gone": entry(), "bad": entry()}
    code, out, error = folder.run(FOUND | {"bad": {}}, truths, "--json", protocol=protocol)
    document = json.loads(out)
    listed = document["per_sample"]
    drops = protocol not in ("tubedetr", "organiser")
    assert set(listed) == ({"a", "b", "bad"} if drops else set(truths))
    for mean, each in (("m_tIoU", "tIoU"), ("m_vIoU", "vIoU"), ("gt_vIoU", "gt_vIoU")):
        assert document["summary"][mean] == pytest.approx(sum(row[each] for row in listed.values()) / len(listed))
    assert document["counts"] == {"scored": 2, "missing": 1, "failed": 1}
    assert ("left out of the means" in error) is drops
    assert code == 1


# What is wrong with an entry; where the message says it is, and what else it holds.
WRONG: dict[str, tuple[Callable[[Document], object], str, str]] = {
    "nan": (lambda good: good | {"boxes": {"12": [0, 0, float("nan"), 1]}}, "boxes.12.2", "nan"),
    "infinite": (lambda good: good | {"boxes": {"12": [0, 0, float("inf"), 1]}}, "boxes.12.2", "inf"),
    "too far": (lambda good: good | {"boxes": {"12": [0, 0, 1e200, 1]}}, "boxes.12", "1e+200"),
    "reversed box": (lambda good: good | {"boxes": {"12": [9, 0, 5, 1]}}, "boxes.12", "[9.0, 0.0, 5.0, 1.0]"),
    "upside down": (lambda good: good | {"boxes": {"12": [0, 9, 1, 5]}}, "boxes.12", "[0.0, 9.0, 1.0, 5.0]"),
    "short box": (lambda good: good | {"boxes": {"12": [1, 2, 3]}}, "boxes.12", "[1, 2, 3]"),
    "long box": (lambda good: good | {"boxes": {"12": [1, 2, 3, 4, 5]}}, "boxes.12", "[1, 2, 3, 4, 5]"),
    "text in a box": (lambda good: good | {"boxes": {"12": [1, 2, 3, "4"]}}, "boxes.12.3", "'4'"),
    "truth in a box": (lambda good: good | {"boxes": {"12": [1, 2, 3, True]}}, "boxes.12.3", "True"),
    "boxes as a list": (lambda good: good | {"boxes": [TRUE_BOX]}, "boxes", "[[10, 20, 50, 100]]"),
    "word as frame": (lambda good: good | {"boxes": {"first": TRUE_BOX}}, "boxes", "'first'"),
    "fraction as frame": (lambda good: good | {"boxes": {"12.0": TRUE_BOX}}, "boxes", "'12.0'"),
    "padded frame": (lambda good: good | {"boxes": {"12": TRUE_BOX, "012": TRUE_BOX}}, "boxes", "'012'"),
    "foreign digits": (lambda good: good | {"boxes": {"\u0661\u0662": TRUE_BOX}}, "boxes", "frame numbers"),
    "endless frame": (lambda good: good | {"boxes": {"9" * 40: TRUE_BOX}}, "boxes", "'999"),
    "negative frame": (lambda good: good | {"boxes": {"-1": TRUE_BOX}}, "boxes", "'-1'"),
    "frame beyond": (lambda good: good | {"boxes": good["boxes"] | {"100": TRUE_BOX}}, "boxes.100", "100"),
    "negative start": (lambda good: good | {"start_frame": -1}, "start_frame", "-1"),
    "reversed span": (lambda good: good | {"end_frame": 9}, "end_frame", "got 9"),
    "span beyond": (lambda good: good | {"end_frame": 100}, "end_frame", "got 100"),
    "fraction as start": (lambda good: good | {"start_frame": 10.5}, "start_frame", "10.5"),
    "text as start": (lambda good: good | {"start_frame": "10"}, "start_frame", "'10'"),
    "no end": (lambda good: {key: value for key, value in good.items() if key != "end_frame"}, "end_frame", "equired"),
    "endless number": (lambda good: good | {"end_frame": 10**5000}, "end_frame", "inf"),
    "nothing": (lambda good: None, "", "None"),
    "a list": (lambda good: [1, 2], "", "[1, 2]"),
    "empty": (lambda good: {}, "start_frame", "equired"),
}
TRUTH_ALONE: dict[str, tuple[Callable[[Document], object], str, str]] = {
    "no count": (lambda good: {key: good[key] for key in good if key != "num_frames"}, "num_frames", "equired"),
    "no frame": (lambda good: good | {"num_frames": 0}, "num_frames", "got 0"),
    "months": (lambda good: good | {"num_frames": 10**12}, "num_frames", "1000000000000"),
    "no box": (lambda good: good | {"boxes": {}}, "boxes", "at least one"),
    "box outside": (lambda good: good | {"boxes": good["boxes"] | {"30": TRUE_BOX}}, "boxes.30", "10..19"),
    "endless type": (lambda good: good | {"query_type": "x" * 5000}, "query_type", "xxx"),
}


def dump(document: object) -> str:
    """Return JSON, also of numbers with more digits than Python writes."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(document)
    finally:
        sys.set_int_max_str_digits(limit)


def check_one_failure(ran: tuple[int, str, str], side: str, place: str, came: str) -> None:
    code, out, error = ran
    assert code == 1
    document = json.loads(out)
    assert document["counts"] == {"scored": 2, "missing": 0, "failed": 1}
    assert document["per_sample"]["wrong"] == {"tIoU": 0, "vIoU": 0, "gt_vIoU": 0}
    assert document["summary"]["m_tIoU"] == pytest.approx((1 + 1 / 3) / 3)
    lines = [line for line in error.splitlines() if line.startswith("sample ")]
    assert lines == [f"sample wrong: {document['problems']['wrong']}"]
    assert lines[0].startswith(f"sample wrong: {side}: {place}")
    assert came in lines[0]
    assert len(lines[0]) < 400
    assert error.splitlines()[-1].startswith("error: ")
    assert "1 of 3" in error


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_prediction_fails_alone(kind: str, folder: Folder) -> None:
    spoil, place, came = WRONG[kind]
    found = dump(FOUND | {"wrong": spoil(everywhere(10, 19) | {"boxes": entry()["boxes"]})})
    check_one_failure(folder.run(found, TRUTHS | {"wrong": entry()}, "--json"), "prediction", place, came)


@pytest.mark.parametrize("kind", [*WRONG, *TRUTH_ALONE])
def test_a_wrong_annotation_fails_alone(kind: str, folder: Folder) -> None:
    spoil, place, came = (WRONG | TRUTH_ALONE)[kind]
    truths = dump(TRUTHS | {"wrong": spoil(entry())})
    check_one_failure(folder.run(FOUND | {"wrong": everywhere(10, 19)}, truths, "--json"), "annotation", place, came)


@pytest.mark.parametrize(
    ("twice", "place"),
    [
        ('"start_frame": 10, "start_frame": 11, "end_frame": 19, "boxes": {"10": [1, 2, 3, 4]}', "'start_frame'"),
        ('"start_frame": 10, "end_frame": 19, "boxes": {"10": [1, 2, 3, 4], "10": [5, 6, 7, 8]}', "boxes.'10'"),
    ],
)
def test_a_key_given_twice_fails_its_sample(twice: str, place: str, folder: Folder) -> None:
    good = json.dumps(FOUND)[1:-1]
    text = f'{{{good}, "wrong": {{"num_frames": 100, {twice}}}}}'
    check_one_failure(folder.run(text, TRUTHS | {"wrong": entry()}, "--json"), "prediction", place, "several times")
    truths = f'{{{json.dumps(TRUTHS)[1:-1]}, "wrong": {{"num_frames": 100, {twice}}}}}'
    found = FOUND | {"wrong": everywhere(10, 19)}
    check_one_failure(folder.run(found, truths, "--json"), "annotation", place, "several times")


def test_a_sample_given_twice_fails(folder: Folder) -> None:
    one = json.dumps(everywhere(10, 19))
    text = f'{{{json.dumps(FOUND)[1:-1]}, "wrong": {one}, "wrong": {one}}}'
    check_one_failure(folder.run(text, TRUTHS | {"wrong": entry()}, "--json"), "prediction", "", "several times")


def test_a_code_that_stops_fails_the_sample_and_says_at_which_frame(folder: Folder) -> None:
    found = {"a": everywhere(10, 19), "b": entry(15, 24)}
    code, out, error = folder.run(found, TRUTHS, "--json", protocol="stcat")
    assert code == 1
    assert json.loads(out)["counts"] == {"scored": 1, "missing": 0, "failed": 1}
    assert "sample b: prediction: boxes: expected a predicted box at every frame of the truth" in error
    assert "frame 10 and 4 more" in error
    assert folder.run(found, TRUTHS, "--json", protocol="cg-stvg")[0] == 0


FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "as JSON"),
    "half": ('{"a": {"start_frame": 1', "as JSON"),
    "a list": ("[1, 2]", "an object of samples"),
    "a number": ("1", "an object of samples"),
    "deep": ("[" * 200_000, "nested too deeply"),
    "latin": ('{"caf\u00e9": 1}'.encode("latin-1"), "as JSON"),
    "zeros": (b"\0" * 64, "as JSON"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("which", ["--predictions", "--annotations"])
def test_a_file_that_is_none_is_one_line(kind: str, which: str, folder: Folder) -> None:
    content, message = FILES[kind]
    bad = folder.path / "bad.json"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    good = folder.write("good.json", TRUTHS)
    paths = {"--predictions": good, "--annotations": good} | {which: bad}
    code, out, error = folder.call(*(str(part) for pair in paths.items() for part in pair), "--protocol", "stcat")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert message in error
    assert "bad.json" in error


def test_missing_folders_and_huge_files(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    good = folder.write("good.json", TRUTHS)
    for path, message in ((folder.path / "absent.json", "is missing"), (folder.path, "is no file")):
        code, _, error = folder.call("-p", str(path), "-a", str(good), "--protocol", "stcat")
        assert code == 1
        assert message in error
    monkeypatch.setattr(files, "MOST_BYTES", 100)
    with pytest.raises(ScoreError, match="at most 100 bytes"):
        read_predictions(good)
    with pytest.raises(ScoreError, match="at least one sample"):
        read_annotations(folder.write("none.json", {}))


@settings(max_examples=60)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=5)
            | st.dictionaries(
                st.sampled_from(["start_frame", "end_frame", "num_frames", "boxes", "1", "2", "x"]), inner, max_size=5
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_in_a_file_is_a_tube_or_a_reason(
    value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "any.json"
    path.write_text(json.dumps({"sample": value}), encoding="utf-8")
    assert isinstance(read_predictions(path)["sample"], SampleTube | ScoreError)
    assert isinstance(read_annotations(path)["sample"], SampleTruth | ScoreError)


def test_wrong_usage_is_code_two(folder: Folder) -> None:
    for more, message in (
        (("--by", "colour"), "type, length, target-size"),
        (("--bootstrap", "0"), "resamples"),
        (("--bootstrap", "10", "--seed", "-1"), "seed"),
        (("--per-sample", str(folder.path / "predictions.json")), "another file"),
    ):
        code, out, error = folder.run(FOUND, TRUTHS, *more)
        assert (code, out) == (2, "")
        assert message in error
    assert folder.run(FOUND, TRUTHS, protocol="stcta")[0] == 2
    assert folder.call("--predictions", "p.json", "--annotations", "a.json")[0] == 2
    assert json.loads((folder.path / "predictions.json").read_text()) == FOUND


def test_odd_files_are_scored_with_a_warning(folder: Folder) -> None:
    found = FOUND | {"other": {}, "a": everywhere(10, 19) | {"num_frames": 10}}
    code, out, error = folder.run(found, TRUTHS | {"short": entry() | {"num_frames": 60}}, "--json")
    assert code == 0
    warnings = json.loads(out)["warnings"]
    assert [line[9:] for line in error.splitlines()] == warnings
    assert len(warnings) == 2
    assert "1 predictions are of no annotated sample" in warnings[0]
    assert "another num_frames" in warnings[1]
    short = folder.run({"s": everywhere(10, 19) | {"num_frames": None}}, {"s": entry() | {"num_frames": 99}}, "--json")
    assert short[0] == 1
    assert "boxes.99" in short[2]
    loud = folder.run(FOUND, TRUTHS, "--json", protocol="released-vidstg")
    assert "0.48" in loud[2]
    assert json.loads(loud[1])["thresholds"] == {"vIoU@0.3": 0.3, "vIoU@0.5": 0.48}


def test_files_that_name_samples_differently_are_an_error(folder: Folder) -> None:
    code, out, error = folder.run({"other": everywhere(10, 19)}, TRUTHS, "--json", protocol="stcat")
    assert code == 1
    assert json.loads(out)["summary"]["m_tIoU"] == 0
    assert "do both files name samples alike" in error


def test_a_table_of_samples(folder: Folder) -> None:
    target = folder.path / "samples.csv"
    truths = TRUTHS | {'=odd,"id"\n': entry(query_type="declarative"), "gone": entry()}
    code, out, _ = folder.run(
        FOUND | {'=odd,"id"\n': None}, truths, "--json", "--per-sample", str(target), protocol="ta-stvg"
    )
    assert code == 1
    with target.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["sample"] for row in rows] == list(truths)
    assert [row["status"] for row in rows] == ["scored", "scored", "failed", "missing"]
    assert [row["counted"] for row in rows] == ["yes", "yes", "yes", "no"]
    listed = json.loads(out)["per_sample"]
    for row in rows[:3]:
        assert {key: float(row[key]) for key in ("tIoU", "vIoU", "gt_vIoU")} == listed[row["sample"]]
    assert rows[2]["query_type"] == "declarative"
    assert "got None" in rows[2]["problem"]
    assert rows[3]["vIoU"] == ""
    code, _, error = folder.run(FOUND, TRUTHS, "--per-sample", str(folder.path))
    assert (code, error.count("\n")) == (1, 1)


def test_break_downs_and_intervals(folder: Folder) -> None:
    big = [0, 0, 96, 96]
    truths = {
        "asks": entry(query_type="interrogative"),
        "says": entry(0, 49, query_type="declarative"),
        "small": entry(0, 24, [0, 0, 31, 33]),
        "big": entry(0, 99, big),
        "unread": {},
    }
    found = {name: everywhere(10, 19) for name in truths} | {"big": entry(0, 99, big)}
    ran = [
        folder.run(found, truths, "--json", *(f"--by={name}" for name in ("type", "length", "target-size")), *more)
        for more in ((), ("--bootstrap", "200", "--seed", "7"), ("--bootstrap", "200", "--seed", "7"))
    ]
    plain, drawn, again = (json.loads(out) for _, out, _ in ran)
    assert drawn == again
    groups = plain["by"]
    assert {name: score["counts"] for name, score in groups["type"].items()} == {
        "declarative": {"scored": 1, "missing": 0, "failed": 0},
        "interrogative": {"scored": 1, "missing": 0, "failed": 0},
        "unknown": {"scored": 2, "missing": 0, "failed": 1},
    }
    assert list(groups["length"]) == ["below 1/4", "1/4 to 1/2", "1/2 and more", "unknown"]
    assert [sum(score["counts"].values()) for score in groups["length"].values()] == [1, 1, 2, 1]
    assert list(groups["target-size"]) == ["below 32x32", "32x32 to 96x96", "96x96 and more", "unknown"]
    assert groups["length"]["1/2 and more"]["summary"]["m_tIoU"] == pytest.approx((0.2 + 1) / 2)
    for scores in groups.values():
        total = sum(sum(score["counts"].values()) * score["summary"]["m_vIoU"] for score in scores.values())
        assert total / 5 == pytest.approx(plain["summary"]["m_vIoU"])
    bootstrap = drawn.pop("bootstrap")
    assert (bootstrap["resamples"], bootstrap["seed"], bootstrap["confidence"]) == (200, 7, 0.95)
    for name, (low, high) in bootstrap["intervals"].items():
        assert 0 <= low <= drawn["summary"][name] <= high <= 1
    assert drawn["by"]["type"]["unknown"]["intervals"]["m_tIoU"][0] == 0
    other = json.loads(folder.run(found, truths, "--json", "--bootstrap", "200", "--seed", "8")[1])
    assert other["bootstrap"]["intervals"] != bootstrap["intervals"]


def test_a_person_sees_the_numbers_and_the_rules(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    truths = TRUTHS | {"\x1b[31mred\u202e": entry()}
    found = FOUND | {"\x1b[31mred\u202e": {"start_frame": "[bold]\x1b[2J"}}
    code, out, error = folder.run(found, truths, "--bootstrap", "50", "--by", "length")
    assert code == 1
    for part in ("44.44", "26.67", "40.00", "33.33", "below 1/4", "mean over 3 of 3 samples", "0 missing, 1 failed"):
        assert part in out
    for part in ("seed 0", "5 frames per second of a 20 s clip", "antoyang/TubeDETR@d70c0ee", "vIoU > 0.5"):
        assert part in out
    assert not {"\x1b", "\u202e"} & set(out + error)
    assert "[31mred: prediction: start_frame" in error


def test_many_failures_are_cut_on_the_terminal_alone(folder: Folder) -> None:
    truths = {f"s{place}": entry() for place in range(50)}
    _, out, error = folder.run(dict.fromkeys(truths), truths, "--json")
    assert len(json.loads(out)["problems"]) == 50
    assert sum(line.startswith("sample ") for line in error.splitlines()) == 20
    assert "and 30 more" in error


def test_nothing_heavy_is_imported(folder: Folder) -> None:
    paths = [str(folder.write("p.json", FOUND)), str(folder.write("a.json", TRUTHS))]
    arguments = ["stvg", "score", "-p", paths[0], "-a", paths[1], "--protocol", "stcat", "--json", "--bootstrap", "10"]
    program = (
        "import sys\n"
        f"sys.argv = {arguments!r}\n"
        "from stvg_core.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'av', 'cv2', 'scipy', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["counts"]["scored"] == 2
