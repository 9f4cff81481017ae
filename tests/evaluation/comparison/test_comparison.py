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
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import RunError, UsageError
from stvg_core.evaluation.comparison import (
    LADDER,
    ComparisonRow,
    RowRun,
    Source,
    build_comparison,
    clip_source,
    compare,
    named_rows,
    read_rows,
)
from stvg_core.evaluation.comparison.document import ComparisonDocument, schema_text
from stvg_core.evaluation.comparison.markdown import csv_table, markdown
from stvg_core.evaluation.comparison.plots import draw_plots
from stvg_core.evaluation.comparison.rows import checked, run_names
from stvg_core.evaluation.comparison.running import evaluate_rows
from stvg_core.evaluation.runs import Selection, score_run, summarize_run
from stvg_core.metrics import METRIC_NAMES, Bootstrap, find_protocol
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import load_settings
from tests.support.command_line import Run
from tests.support.runs import CONFIGURATION, MadeUpEngine, answer, better, work, write_dataset

SCHEMA = Path(__file__).parents[3] / "docs" / "schema" / "comparison-1.schema.json"
STCAT = find_protocol("stcat")
SETTINGS = {"preset": "paper", "sampling": {"frame_count": 20}, "tracker": "regions", "decomposer": "rules"}
BOOTSTRAP = Bootstrap(200)


def a_run(tmp_path: Path, name: str, speak: Any = answer, **settings: object) -> RowRun:
    configuration = CONFIGURATION | {"model": {"id": name}, "settings": SETTINGS | settings}
    dataset = write_dataset(tmp_path / "data", queries=8)
    run = tmp_path / "out" / "runs" / name
    work(run, dataset, MadeUpEngine(speak=speak), configuration=configuration)
    return RowRun(ComparisonRow(name, RunSpec(f"tiny:{name}")), run, summarize_run(run, STCAT))


def a_comparison(tmp_path: Path) -> ComparisonDocument:
    runs = [
        a_run(tmp_path, "plain"),
        a_run(tmp_path, "better", better),
        RowRun(
            ComparisonRow("gone|<b>", RunSpec("gone")),
            tmp_path / "out" / "runs" / "gone",
            None,
            "expected *a model*, got `none`",
        ),
    ]
    return build_comparison(runs, Source("folder", tmp_path / "data"), STCAT, BOOTSTRAP)


def test_rows_are_named_by_what_specs_of_a_model_do_not_share() -> None:
    specs = [RunSpec("a"), RunSpec("b"), RunSpec.of("a", quantization="4bit"), RunSpec.of("a", revision="next")]
    assert [row.name for row in named_rows(specs)] == ["a", "b", "a, quantization 4bit", "a, revision next"]
    steps = [RunSpec("a", overrides={"prompt.steps": count, "prompt.step_size": 0.1}) for count in (0, 1)]
    assert [row.name for row in named_rows(steps)] == ["a, prompt.steps 0", "a, prompt.steps 1"]
    with pytest.raises(UsageError, match="expected 1 to 5000 rows, got 0"):
        named_rows([])
    with pytest.raises(UsageError, match="'a' twice"):
        named_rows([RunSpec("a"), RunSpec("a")])


def test_the_ladder_adds_one_component_after_another() -> None:
    rows = named_rows([RunSpec("a", preset="paper", overrides={"prompt.steps": 3})], ladder=True)
    assert [row.name for row in rows] == [f"a, {component}" for component in LADDER]
    found = [load_settings("paper", overrides=row.spec.overrides) for row in rows]
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
        '[[run]]\nmodel = "a"\npreset = "paper"\n[run.set]\n"prompt.steps" = 0\n'
        '[[run]]\nname = "mine"\nmodel = "b"\ntracks = "attention"\nquantization = "4bit"\npython = "/there/python"\n'
        '[[run]]\nmodel = "b"\nladder = true\n'
    )
    first, second, *ladder = read_rows(path)
    assert first == ComparisonRow("a", RunSpec("a", preset="paper", overrides={"prompt.steps": 0}))
    assert second == ComparisonRow(
        "mine", RunSpec("b", load=LoadOptions(quantization="4bit"), tracks="attention"), "/there/python"
    )
    assert [row.spec.overrides for row in ladder] == list(LADDER.values())
    for text, words in (
        ("[[run]]\nname = 'x'", "expected a run's model"),
        ("[[run]]\nmodel = 'x'\ncolour = 1", "expected a run's colour"),
        ("[[run]]\nmodel = 'x'\nladder = 'yes'", "got 'yes' at ladder"),
        ("[[run]]\nmodel = 'x'\nname = 5", "got 5 at name"),
        ("[[row", "expected a TOML file"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=re.escape(words)):
            read_rows(path)


def test_rows_with_one_name_or_folder_are_refused() -> None:
    with pytest.raises(UsageError, match="'a' twice"):
        checked([ComparisonRow("a", RunSpec("x")), ComparisonRow("a", RunSpec("y"))])
    with pytest.raises(UsageError, match="different folder names"):
        checked([ComparisonRow("a b", RunSpec("x")), ComparisonRow("A-b", RunSpec("y"))])
    for name in ("../../etc", "a/b\0c", "...", "x" * 300, "-rf"):
        assert re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,79}", ComparisonRow(name, RunSpec("m")).folder)


def a_python(path: Path, body: str) -> str:
    """An interpreter that ignores what it is told to run; `job` is what it is asked, `end(row)` writes an outcome."""
    path.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib, sys\njob = json.loads(sys.stdin.readline())\n"
        "def end(row, error=''):\n"
        "    pathlib.Path(row['run'], 'row.json').write_text(json.dumps({'error': error}))\n"
        f"{body}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def row_of(name: str, python: str | None, model: str = "m", **fields: Any) -> ComparisonRow:
    return ComparisonRow(name, RunSpec(model, **fields), python)


def run_rows(rows: Sequence[ComparisonRow], tmp_path: Path, **options: Any) -> list[RowRun]:
    return list(evaluate_rows(rows, Source("folder", tmp_path / "data"), tmp_path / "out", STCAT, **options))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("end(job['rows'][0], 'expected a model,\\ngot none')", "expected a model, got none"),
        ("os._exit(3)", "the process ended with exit code 3: it printed nothing"),
        ("os.kill(os.getpid(), 9)", "the process ended with killed by signal 9: it printed nothing"),
        ("raise KeyError('x')", "the process ended with exit code 1: KeyError: 'x'"),
        ("pathlib.Path(job['rows'][0]['run'], 'row.json').write_text('[]')", "the process ended with exit code 0"),
        (
            "sys.exit('PYTHON: No module named stvg_core')",
            f"expected stvg-core {version('stvg-core')} in the environment of PYTHON, got none or an older one; "
            f"install stvg-core=={version('stvg-core')} there",
        ),
    ],
)
def test_a_row_that_cannot_run_has_its_reason(body: str, words: str, tmp_path: Path) -> None:
    python = a_python(tmp_path / "python", body)
    (found,) = run_rows([row_of("a", python)], tmp_path)
    assert found.summary is None
    assert found.error.replace(python, "PYTHON").startswith(words)


def test_an_environment_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9")
    (found,) = run_rows([row_of("a", sys.executable)], tmp_path)
    assert f"expected stvg-core 9.9 in the environment of {sys.executable}, got " in found.error


def test_a_row_without_its_interpreter_has_its_reason(tmp_path: Path) -> None:
    (found,) = run_rows([row_of("a", str(tmp_path / "none"))], tmp_path)
    assert found.error.startswith("cannot start")


def test_a_row_is_evaluated_with_everything_it_names(tmp_path: Path) -> None:
    python = a_python(tmp_path / "python", "end(job['rows'][0], json.dumps(job))")
    row = row_of("a", python, preset="paper", load=LoadOptions(quantization="4bit"), revision="next")
    source = Source("folder", tmp_path, split="val", limit=3, corrections=False)
    (found,) = evaluate_rows([row], source, tmp_path / "out", STCAT, retry_failed=True, keep_maps=True)
    assert json.loads(found.error) == {
        "stvg_core": version("stvg-core"),
        "source": {
            "dataset": "folder",
            "split": "val",
            "limit": 3,
            "corrections": False,
            "root": str(tmp_path),
            "annotations": None,
            "video_root": None,
        },
        "protocol": "stcat",
        "retry_failed": True,
        "keep_maps": True,
        "tracks_folder": str(tmp_path / "out" / "tracks"),
        "rows": [
            {
                "run": str(tmp_path / "out" / "runs" / "a"),
                "spec": {"model": "m", "revision": "next", "preset": "paper", "quantization": "4bit"},
            }
        ],
    }


def test_rows_of_one_model_share_a_process_until_one_fails(tmp_path: Path) -> None:
    data, out = write_dataset(tmp_path / "data"), tmp_path / "out"
    for name in "abde":
        work(out / "runs" / name, data)
    log = tmp_path / "processes.txt"
    body = (
        f"log = open({str(log)!r}, 'a')\n"
        "print(os.getpid(), *(pathlib.Path(row['run']).name for row in job['rows']), file=log, flush=True)\n"
        "for row in job['rows']:\n"
        "    bad = row['spec'].get('preset') == 'fast'\n"
        "    end(row, 'no' if bad else '')\n"
        "    if bad: break"
    )
    python = a_python(tmp_path / "python", body)
    rows = [("a", "m", None), ("b", "m", None), ("c", "m", "fast"), ("d", "m", None), ("e", "n", None)]
    found = run_rows([row_of(name, python, model, preset=preset) for name, model, preset in rows], tmp_path)
    assert [(run.row.name, run.error) for run in found] == [("a", ""), ("b", ""), ("c", "no"), ("d", ""), ("e", "")]
    assert all((run.summary is None) == (run.row.name == "c") for run in found)
    started = [line.split() for line in log.read_text().splitlines()]
    assert [names for _, *names in started] == [["a", "b", "c", "d"], ["d"], ["e"]]
    for process, *_ in started:
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_row_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    """However that ended; the run it works on is stopped as `kill` stops one, and gives back what it had claimed."""
    script = (
        "import sys, time\n"
        "from stvg_core.evaluation.comparison import row_process\n"
        "from stvg_core.evaluation.runs.runner import stopping_cleanly\n"
        "def run(job, row, sessions):\n"
        "    with stopping_cleanly():\n"
        "        print('begun', flush=True)\n"
        "        time.sleep(60)\n"
        "row_process._evaluate = run\n"
        "row_process.main()\n"
    )
    log = tmp_path / "log.txt"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, text=True)
    assert child.stdin is not None
    child.stdin.write(json.dumps({"rows": [{"run": str(tmp_path)}]}) + "\n")
    child.stdin.flush()
    while not log.exists() or "begun" not in log.read_text():
        assert child.poll() is None
        time.sleep(0.05)
    child.stdin.close()
    assert child.wait(timeout=50) == 0
    outcome = json.loads((tmp_path / "row.json").read_text())
    assert outcome == {"error": "the run was stopped; run the same command to go on"}


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


def test_finished_runs_are_compared_wherever_they_lie(tmp_path: Path) -> None:
    plain, other = (a_run(tmp_path, name, speak).run for name, speak in (("plain", answer), ("better", better)))
    out = tmp_path / "elsewhere"
    document = compare([plain, other], None, out, STCAT, BOOTSTRAP)
    rows = a_comparison(tmp_path).rows
    assert [(row.name, row.model) for row in document.rows] == [("plain", "plain"), ("better", "better")]
    assert [(row.score, row.difference) for row in document.rows] == [(row.score, row.difference) for row in rows[:2]]
    assert [out / row.run for row in document.rows] == [out / "../out/runs/plain", out / "../out/runs/better"]
    assert document.differing == {"model.id": ["plain", "better"]}
    assert "| model.id | " in (out / "comparison.md").read_text()
    assert json.loads((out / "comparison.json").read_text()) == document.model_dump(mode="json")
    assert (out / "index.html").is_file()
    assert run_names([plain, tmp_path / "x" / "plain"]) == ["runs/plain", "x/plain"]
    with pytest.raises(UsageError, match="one twice"):
        compare([plain, plain], None, out, STCAT, BOOTSTRAP)
    with pytest.raises(UsageError, match="got both"):
        compare([plain, RunSpec("a")], None, out, STCAT, BOOTSTRAP)  # type: ignore[list-item]
    with pytest.raises(UsageError, match="expected samples"):
        compare([RunSpec("a")], None, out, STCAT, BOOTSTRAP)
    with pytest.raises(RunError):
        compare([tmp_path / "none"], None, out, STCAT, BOOTSTRAP)


def test_the_process_of_a_row_gets_paths_that_do_not_depend_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    python = a_python(tmp_path / "python", f"pathlib.Path({str(tmp_path)!r}, 'job.json').write_text(json.dumps(job))")
    source = Source("folder", Path("data"), annotations=Path("data", "a.json"), video_root=Path("videos"))
    list(evaluate_rows([ComparisonRow("a", RunSpec("m"), python)], source, Path("out"), STCAT))
    job = json.loads((tmp_path / "job.json").read_text())
    names = {"root": "data", "annotations": "data/a.json", "video_root": "videos"}
    assert {name: job["source"][name] for name in names} == {name: str(tmp_path / at) for name, at in names.items()}
    assert (job["tracks_folder"], job["rows"][0]["run"]) == (str(tmp_path / "out/tracks"), str(tmp_path / "out/runs/a"))


def test_runs_without_maps_have_no_controls_and_it_is_said(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, name).run for name in ("one", "two")]
    document = compare(runs, None, tmp_path / "elsewhere", STCAT, BOOTSTRAP, controls=True)
    assert [row.control_of for row in document.tables[0].rows] == [None, None]
    (warning,) = [warning for warning in document.warnings if "controls" in warning]
    assert warning.startswith("no controls for one, two: ")


@pytest.mark.parametrize(
    "configuration",
    [
        {"settings": "x"},
        {"model": 5},
        {"settings": {"preset": float("nan")}},
        {"model": {"id": {}}, "settings": {"preset": ["x"], "sampling": 5}},
    ],
)
def test_hostile_runs_are_refused_or_shown_as_far_as_they_go(configuration: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "out" / "runs" / "hostile"
    work(run, write_dataset(tmp_path / "data"), configuration=configuration)
    try:
        document = compare([run, a_run(tmp_path, "plain").run], None, tmp_path / "out", STCAT, BOOTSTRAP)
    except RunError as error:
        assert "damaged configuration" in str(error)  # noqa: PT017  # either is right
    else:
        assert (document.rows[0].name, document.rows[0].preset) == ("hostile", None)
        markdown(document)


def test_runs_of_other_samples_are_compared_on_those_they_share_and_it_is_said(tmp_path: Path) -> None:
    whole = a_run(tmp_path, "whole", better)
    part = tmp_path / "out" / "runs" / "part"
    work(part, write_dataset(tmp_path / "data", queries=8), configuration=CONFIGURATION, selection=Selection(limit=20))
    document = compare([whole.run, part], None, tmp_path / "out", STCAT, BOOTSTRAP)
    (warning,) = [warning for warning in document.warnings if "same samples" in warning]
    assert ": 20 are in all" in warning
    first, second = (
        {result.sample_id: result.scores.video_iou for result in score_run(run, STCAT).results}
        for run in (whole.run, part)
    )
    found = document.rows[1].difference
    assert found is not None
    assert found["m_vIoU"].mean == pytest.approx(np.mean([second[name] - first[name] for name in second]))


def test_one_failing_row_stops_no_other(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    bad = a_python(tmp_path / "bad", "end(job['rows'][0], 'expected CUDA, got none')")
    rows = [row_of(name, bad) for name in ("a", "b")]
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
        ("folder", "--root", "."),
        ("folder", "other", "--root", ".", "--model", "m"),
        (".", "--model", "m"),
        ("folder", "--root", ".", "--video", "a.mp4"),
        ("--video", "a.mp4"),
        ("folder", "--root", ".", "--model", "m", "--rows", "rows.toml"),
        ("no-such-data-set", "--root", ".", "--model", "m"),
    ],
)
def test_wrong_usage_is_told_before_anything_runs(arguments: tuple[str, ...], stvg: Run, tmp_path: Path) -> None:
    ran = stvg("compare", *arguments, "--out", tmp_path / "out")
    assert (ran.code, ran.out) == (2, "")
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_is_not_there_is_one_error_and_no_failed_rows(stvg: Run, tmp_path: Path) -> None:
    models = ("--model", "m", "--model", "n")
    ran = stvg("compare", "folder", "--root", tmp_path / "no", *models, "--out", tmp_path / "out")
    assert (ran.code, ran.out) == (1, "")
    assert "--root" in ran.error
    assert not (tmp_path / "out").exists()
