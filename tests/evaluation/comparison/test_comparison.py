"""`stvg compare`: rows, processes that fail, differences with intervals, tables that hold foreign text."""

import csv
import io
import json
import os
import re
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from stvg_core.errors import UsageError
from stvg_core.evaluation.comparison import (
    LADDER,
    ComparisonRow,
    Source,
    build_comparison,
    clip_source,
    compare,
    product_of,
    read_rows,
)
from stvg_core.evaluation.comparison.document import ComparisonDocument, schema_text
from stvg_core.evaluation.comparison.plots import draw_plots
from stvg_core.evaluation.comparison.row_process import greeting
from stvg_core.evaluation.comparison.rows import checked
from stvg_core.evaluation.comparison.running import RowRun, RowRunner
from stvg_core.evaluation.comparison.tables import csv_table, markdown
from stvg_core.evaluation.runs import score_run, summarize_run
from stvg_core.evaluation.runs.tasks import Outcome, Task
from stvg_core.metrics import METRIC_NAMES, Bootstrap, find_protocol
from stvg_core.settings import load_settings
from tests.support.command_line import Run
from tests.support.runs import CONFIGURATION, MadeUpEngine, answer, work, write_dataset

SCHEMA = Path(__file__).parents[3] / "docs" / "schema" / "comparison-1.schema.json"
STCAT = find_protocol("stcat")
SETTINGS = {"preset": "paper", "sampling": {"frame_count": 20}, "tracker": "regions", "decomposer": "rules"}
BOOTSTRAP = Bootstrap(200)


def better(task: Task) -> Outcome:
    """The made-up model with a tube that covers the truth."""
    found = answer(task)
    if found.failure:
        return found
    document = json.loads(found.document or "")
    document["tube"] |= {"start_frame": 5, "end_frame": 14}
    corners = [float(task.video.strip("video.mp4")), 0.0, 31.0, 40.0]
    track = {"frames": [0, 29], "boxes_xyxy": [corners, corners]}
    return Outcome(task.sample_id, json.dumps(document), json.dumps(track), None, 0.1)


def a_run(tmp_path: Path, name: str, speak: Any = answer, **settings: object) -> RowRun:
    configuration = CONFIGURATION | {"model": {"id": name}, "settings": SETTINGS | settings}
    dataset = write_dataset(tmp_path / "data", queries=8)
    run = tmp_path / "out" / "runs" / name
    work(run, dataset, MadeUpEngine(speak=speak), configuration=configuration)
    return RowRun(ComparisonRow(name, f"tiny:{name}"), run, summarize_run(run, STCAT))


def a_comparison(tmp_path: Path) -> ComparisonDocument:
    runs = [
        a_run(tmp_path, "plain"),
        a_run(tmp_path, "better", better),
        RowRun(
            ComparisonRow("gone|<b>", "gone"),
            tmp_path / "out" / "runs" / "gone",
            None,
            "expected *a model*, got `none`",
        ),
    ]
    return build_comparison(runs, Source("folder", tmp_path / "data"), STCAT, BOOTSTRAP)


def test_a_product_has_a_row_per_model_and_preset() -> None:
    assert [row.name for row in product_of(["a", "b"])] == ["a", "b"]
    assert [(row.name, row.preset) for row in product_of(["a"], ["paper", "released"], device="cpu")] == [
        ("a, paper", "paper"),
        ("a, released", "released"),
    ]
    with pytest.raises(UsageError, match="expected 1 to 500 rows, got 0"):
        product_of([])


def test_the_ladder_adds_one_component_after_another() -> None:
    rows = product_of(["a"], ["paper"], {"prompt.steps": 3}, ladder=True)
    assert [row.name for row in rows] == [f"a, {step.name}" for step in LADDER]
    found = [load_settings("paper", overrides=row.overrides) for row in rows]
    parts = [
        (one.spatial.tokens.rule, one.temporal.tokens.rule, one.spatial.tune, one.temporal.tune, one.augment.enabled)
        for one in found
    ]
    assert parts == [
        ("mean", "mean", False, False, False),
        ("max_activation", "max_activation", False, False, False),
        ("max_activation", "max_activation", True, False, False),
        ("max_activation", "max_activation", False, True, False),
        ("max_activation", "max_activation", True, True, False),
        ("max_activation", "max_activation", True, True, True),
    ]
    assert {one.prompt.steps for one in found} == {3}


def test_rows_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.toml"
    path.write_text(
        '[[row]]\nmodel = "a"\npreset = "paper"\n[row.set]\n"prompt.steps" = 0\n'
        '[[row]]\nname = "mine"\nmodel = "b"\ntracks = "attention"\n'
    )
    first, second = read_rows(path)
    assert first == ComparisonRow("a, paper", "a", "paper", {"prompt.steps": 0})
    assert second == ComparisonRow("mine", "b", tracks="attention")
    for text, words in (
        ("[[row]]\nname = 'x'", "Field required"),
        ("[[row]]\nmodel = 'x'\ncolour = 1", "row.0.colour"),
        ("row = 5", "valid list"),
        ("[[row", "expected TOML"),
        ("", "Field required"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=re.escape(words)):
            read_rows(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_rows(tmp_path / "none.toml")


def test_rows_with_one_name_or_folder_are_refused() -> None:
    with pytest.raises(UsageError, match="'a' twice"):
        checked([ComparisonRow("a", "x"), ComparisonRow("a", "y")])
    with pytest.raises(UsageError, match="different folder names"):
        checked([ComparisonRow("a b", "x"), ComparisonRow("A-b", "y")])
    for name in ("../../etc", "a/b\0c", "...", "x" * 300, "-rf"):
        assert re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,79}", ComparisonRow(name, "m").folder)


SPEAKS = """
import json, sys
greeting = {greeting}
print(json.dumps(greeting), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    print(json.dumps(answer(job)), flush=True)
"""


def a_python(path: Path, body: str, told: dict[str, object] | None = None) -> str:
    """An interpreter that ignores what it is told to run; with an `answer(job)` in its body it speaks the protocol."""
    speaks = SPEAKS.format(greeting=greeting() | (told or {})) if "def answer" in body else ""
    path.write_text(f"#!{sys.executable}\nimport os, sys\n{body}\n{speaks}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def run_row(row: ComparisonRow, source: Source, out: Path, **options: bool) -> RowRun:
    with RowRunner(source, out, "stcat", **options) as runner:
        return runner.run(row)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def answer(job): return {'error': 'expected a model,\\ngot none'}", "expected a model, got none"),
        ("def answer(job): return {}", "it answered without a summary"),
        ("def answer(job): os._exit(3)", "the run ended with exit code 3: it said nothing"),
        ("os.kill(os.getpid(), 9)", "the run ended with killed by signal 9: it said nothing"),
        ("raise KeyError('x')", "the run ended with exit code 1: KeyError: 'x'"),
        ("print('no json')", "expected an answer of PYTHON, got no json"),
        ("print('[1]')", "expected an answer of PYTHON, got [1]"),
        (
            "sys.exit('PYTHON: No module named stvg_core')",
            f"expected stvg-core {greeting()['stvg_core']} in the environment of PYTHON, found none or an older one; "
            f"install stvg-core=={greeting()['stvg_core']} there",
        ),
    ],
)
def test_a_row_that_cannot_run_has_its_reason(body: str, words: str, tmp_path: Path) -> None:
    row = ComparisonRow("a", "m", python=a_python(tmp_path / "python", body))
    found = run_row(row, Source("folder", tmp_path), tmp_path / "out")
    assert (found.summary, found.error.replace(str(row.python), "PYTHON")) == (None, words)


@pytest.mark.parametrize(("name", "title"), [("stvg_core", "stvg-core"), ("protocol", "row protocol")])
def test_an_environment_of_another_version_is_told(name: str, title: str, tmp_path: Path) -> None:
    python = a_python(tmp_path / "python", "def answer(job): return {'summary': {}}", {name: "9.9"})
    found = run_row(ComparisonRow("a", "m", python=python), Source("folder", tmp_path), tmp_path / "out")
    assert found.summary is None
    assert f"expected {title} {greeting()[name]} in the environment of {python} as here, got 9.9" in found.error


def test_a_row_without_its_interpreter_has_its_reason(tmp_path: Path) -> None:
    row = ComparisonRow("a", "m", python=str(tmp_path / "none"))
    found = run_row(row, Source("folder", tmp_path), tmp_path / "out")
    assert found.error.startswith("cannot start")


def test_a_row_is_run_with_everything_it_names(tmp_path: Path) -> None:
    python = a_python(tmp_path / "python", "def answer(job): return {'summary': job}")
    row = ComparisonRow("a", "m", "paper", {"prompt.steps": 0}, "attention", device="cpu", python=python)
    source = Source("folder", tmp_path, split="val", limit=3, corrections=False)
    found = run_row(row, source, tmp_path / "out", retry_failed=True)
    assert found.summary == {
        "run": str(tmp_path / "out" / "runs" / "a"),
        "log": str(tmp_path / "out" / "runs" / "a" / "log.txt"),
        "row": {
            "model": "m",
            "preset": "paper",
            "tracks": "attention",
            "decomposer": None,
            "backend": None,
            "device": "cpu",
            "dtype": "auto",
            "overrides": {"prompt.steps": 0},
        },
        "source": {
            "dataset": "folder",
            "split": "val",
            "limit": 3,
            "corrections": False,
            "root": str(tmp_path),
            "annotations": None,
            "video_root": None,
        },
        "tracks_folder": str(tmp_path / "out" / "tracks"),
        "protocol": "stcat",
        "retry_failed": True,
        "keep_maps": False,
    }


def test_rows_of_one_model_share_a_process_until_one_fails(tmp_path: Path) -> None:
    body = (
        "def answer(job):\n"
        "    return {'error': 'no'} if job['row']['preset'] == 'bad' else {'summary': {'process': os.getpid()}}"
    )
    python = a_python(tmp_path / "python", body)
    rows = [("a", "m", None), ("b", "m", None), ("c", "m", "bad"), ("d", "m", None), ("e", "n", None)]
    with RowRunner(Source("folder", tmp_path), tmp_path / "out", "stcat") as runner:
        found = [runner.run(ComparisonRow(name, model, preset, python=python)) for name, model, preset in rows]
    a, b, c, d, e = (run.summary and run.summary["process"] for run in found)
    assert a == b
    assert c is None
    assert len({a, d, e}) == 3
    for process in (a, d, e):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_row_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    """However that ended; the run it works on is stopped as `kill` stops one, and gives back what it had taken."""
    script = (
        "import sys, time\n"
        "from stvg_core.evaluation.comparison import row_process\n"
        "from stvg_core.evaluation.runs.runner import stopping_cleanly\n"
        "def run(job, sessions):\n"
        "    with stopping_cleanly():\n"
        "        print('begun', flush=True)\n"
        "        time.sleep(60)\n"
        "row_process._run = run\n"
        "row_process.main()\n"
    )
    log = tmp_path / "log.txt"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    assert json.loads(child.stdout.readline()) == greeting()
    child.stdin.write(json.dumps({"log": str(log)}) + "\n")
    child.stdin.flush()
    while not log.exists() or "begun" not in log.read_text():
        assert child.poll() is None
        time.sleep(0.05)
    child.stdin.close()
    assert json.loads(child.stdout.readline()) == {"error": "the run was stopped; run the same command to go on"}
    assert child.wait(timeout=50) == 0
    child.stdout.close()


def test_differences_are_paired_and_their_intervals_drawn_together(tmp_path: Path) -> None:
    document = a_comparison(tmp_path)
    plain, other, gone = document.rows
    assert (plain.difference, gone.score, gone.difference) == (None, None, None)
    scores = {}
    for name in ("plain", "better"):
        results = score_run(tmp_path / "out" / "runs" / name, STCAT).results
        scores[name] = {result.sample_id: result.scores.video_iou for result in results}
    pairs = np.array([scores["better"][name] - scores["plain"][name] for name in sorted(scores["plain"])])
    assert other.difference is not None
    found = other.difference["m_vIoU"]
    assert found.mean == pytest.approx(pairs.mean())
    generator = np.random.default_rng(0)
    means = [pairs[generator.integers(len(pairs), size=len(pairs))].mean() for _ in range(4000)]
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    assert plain.score is not None
    assert found.high - found.low < 0.5
    # Failures count as zero in both.
    assert plain.samples is not None
    assert plain.samples["failed"] == plain.counts["failed"] > 0  # type: ignore[index]
    assert plain.score["m_vIoU"].mean == pytest.approx(np.mean(list(scores["plain"].values())))


def test_the_document_follows_its_schema(tmp_path: Path) -> None:
    document = a_comparison(tmp_path)
    assert schema_text() == SCHEMA.read_text(encoding="utf-8")
    jsonschema.validate(document.model_dump(mode="json"), json.loads(schema_text()))


def test_foreign_text_stays_text_in_markdown_and_csv(tmp_path: Path) -> None:
    document = a_comparison(tmp_path)
    text = markdown(document)
    assert "gone\\|\\<b\\> (did not run)" in text
    assert "expected \\*a model\\*, got \\`none\\`" in text
    widths = {
        len(re.findall(r"(?<!\\)\|", line)) for line in text.split("## Against")[0].splitlines() if line.startswith("|")
    }
    assert widths == {len(METRIC_NAMES) + 7}
    rows = list(csv.DictReader(io.StringIO(csv_table(document))))
    assert [row["name"] for row in rows] == ["plain", "better", "gone|<b>"]
    assert float(rows[1]["m_vIoU"]) == pytest.approx(document.rows[1].score["m_vIoU"].mean)  # type: ignore[index]
    assert (rows[0]["m_vIoU_difference"], rows[2]["m_vIoU"]) == ("", "")


def test_a_difference_that_is_one_is_marked(tmp_path: Path) -> None:
    text = markdown(a_comparison(tmp_path)).split("## Against plain")[1]
    (line,) = [line for line in text.splitlines() if line.startswith("| better")]
    assert line.count("*") >= 1


def test_rows_that_share_too_little_are_told(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, "one"), a_run(tmp_path, "two", sampling={"frame_count": 8}, tracker="attention")]
    document = build_comparison(runs, Source("folder", tmp_path / "data"), STCAT, BOOTSTRAP)
    assert [warning.split(":")[0] for warning in document.warnings] == [
        "rows differ in the frames that are sampled",
        "rows differ in the tracker",
    ]
    assert "To be kept in mind" in markdown(document)


def test_rows_say_which_versions_they_ran_under_and_that_these_differ(tmp_path: Path) -> None:
    runs = []
    for name, number in (("one", "5.17.0"), ("two", "5.23.0")):
        run = a_run(tmp_path, name)
        sessions = [{"versions": {"transformers": "old"}}, {"versions": {"transformers": number, "torch": "2.13.0"}}]
        runs.append(replace(run, summary=(run.summary or {}) | {"sessions": sessions}))
    document = build_comparison(runs, Source("folder", tmp_path / "data"), STCAT, BOOTSTRAP)
    assert [(row.versions or {})["transformers"] for row in document.rows] == ["5.17.0", "5.23.0"]
    assert document.warnings == [
        "rows ran under transformers 5.17.0 and 5.23.0: a difference may be the library's",
    ]


def test_scores_by_query_type_have_intervals(tmp_path: Path) -> None:
    (row,) = build_comparison([a_run(tmp_path, "one")], Source("folder", tmp_path), STCAT, BOOTSTRAP).rows
    assert row.by_type is not None
    assert row.by_type_estimates is not None
    assert row.score is not None
    assert row.by_type_estimates == {"unknown": row.score}
    assert row.by_type["unknown"]["m_vIoU"] == pytest.approx(row.score["m_vIoU"].mean)


def test_plots_are_drawn_for_what_has_numbers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "plots").mkdir()
    document = a_comparison(tmp_path)
    names = sorted(path.name for path in draw_plots(document, tmp_path / "plots"))
    assert names == ["quality_and_cost.png", "quality_and_cost.svg", "rows.png", "rows.svg"]
    drawn = (tmp_path / "plots" / "rows.svg").read_text(encoding="utf-8")
    assert "better" in drawn
    assert "gone" not in drawn
    nothing = document.model_copy(update={"rows": document.rows[2:]})
    assert draw_plots(nothing, tmp_path / "plots") == ()


def test_one_clip_with_queries_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "clip's <b>.mp4").write_bytes(b"")
    source = clip_source(tmp_path / "clip's <b>.mp4", ["The man walks.", "who sits?"], tmp_path / "out")
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert [sample["query"] for sample in samples] == ["The man walks.", "who sits?"]
    assert source.root == tmp_path
    for video, queries in ((tmp_path / "none.mp4", ["a man"]), (tmp_path / "clip's <b>.mp4", [])):
        with pytest.raises(UsageError):
            clip_source(video, queries, tmp_path / "out")


def test_one_failing_row_stops_no_other(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    bad = a_python(tmp_path / "bad", "def answer(job): return {'error': 'expected CUDA, got none'}")
    rows = [ComparisonRow(name, "m", python=bad) for name in ("a", "b")]
    seen: list[str] = []
    document = compare(
        rows,
        Source("folder", tmp_path / "data"),
        tmp_path / "out",
        STCAT,
        BOOTSTRAP,
        on_row=lambda row, _: seen.append(row.name),
    )
    assert seen == ["a", "b"]
    assert [(row.name, row.status) for row in document.rows] == [("a", "failed"), ("b", "failed")]
    assert {row.error for row in document.rows} == {"expected CUDA, got none"}
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == document.model_dump(mode="json")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("folder",),
        ("folder", "--root", ".", "--video", "a.mp4"),
        ("--video", "a.mp4"),
        ("folder", "--root", ".", "--model", "m", "--rows", "rows.toml"),
    ],
)
def test_wrong_usage_is_told_before_anything_runs(arguments: tuple[str, ...], stvg: Run, tmp_path: Path) -> None:
    ran = stvg("compare", *arguments, "--out", tmp_path / "out")
    assert (ran.code, ran.out) == (2, "")
    assert not (tmp_path / "out").exists()
