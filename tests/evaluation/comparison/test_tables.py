"""Tables of a comparison: paired differences, groups, checks and controls against independent computation."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stvg_core.api.run_spec import RunSpec
from stvg_core.evaluation.comparison import ComparisonRow, RowRun, Table, TableRow, build_comparison
from stvg_core.evaluation.comparison import intervals as intervals_module
from stvg_core.evaluation.comparison.controls import BEST_TRACK
from stvg_core.evaluation.comparison.document import ComparisonDocument
from stvg_core.evaluation.comparison.markdown import markdown
from stvg_core.evaluation.comparison.plots import draw_plots
from stvg_core.evaluation.comparison.table_parts import (
    ALL,
    BETWEEN,
    LEAST_SURE,
    MOST_SURE,
    RIGHT_AT_FIRST,
    WRONG_AT_FIRST,
    CheckPart,
    TablePart,
)
from stvg_core.evaluation.runs import score_run, summarize_run
from stvg_core.evaluation.runs.tasks import ACTION_ONLY, ATTRIBUTE_ONLY, RANDOM, Failure, Outcome, Task
from stvg_core.metrics import METRIC_NAMES, Bootstrap, find_protocol
from tests.support.runs import CONFIGURATION, MadeUpEngine, answer, better, work, write_dataset

STCAT = find_protocol("stcat")
BOOTSTRAP = Bootstrap(300)


def number_of(sample_id: str) -> int:
    return sum(map(ord, sample_id))


def confident(task: Task) -> Outcome:
    """The better model, whose margin before the prompt falls with the sample's place; one more sample fails."""
    if task.sample_id == "v1-q5":
        return Outcome(task.sample_id, None, None, Failure("TrackError", "no *track*"), 0.1)
    found = better(task)
    if found.document is None:
        return found
    document = json.loads(found.document)
    margin = -float(number_of(task.sample_id))
    document["diagnostics"] = {
        "prompts": {"spatial": {"margin_before": margin, "margin_after": 1.0, "prompt_norm_share": 0.5}}
    }
    return replace(found, document=json.dumps(document))


def a_run(tmp_path: Path, name: str, speak: Any) -> RowRun:
    run = tmp_path / "runs" / name
    configuration = CONFIGURATION | {"model": {"id": name}}
    work(run, write_dataset(tmp_path / "data", queries=8), MadeUpEngine(speak=speak), configuration=configuration)
    return RowRun(ComparisonRow(name, RunSpec("tiny:<b>")), run, summarize_run(run, STCAT))


@pytest.fixture
def controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run's controls score .1 on every sample."""

    def scored(folder: Path, *_: object) -> dict[str, dict[str, np.ndarray]]:
        names = [result.sample_id for result in score_run(folder, STCAT).results]
        same = {name: np.full(len(METRIC_NAMES), 0.1) for name in names}
        return dict.fromkeys((ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM, BEST_TRACK), same)

    monkeypatch.setattr(intervals_module, "score_controls", scored)


def a_document(tmp_path: Path, name: str = "ladder") -> ComparisonDocument:
    rows = (TableRow("mean|of", "plain", controls=True), TableRow("+ TAS", "confident", controls=True))
    runs = [a_run(tmp_path, "plain", answer), a_run(tmp_path, "confident", confident)]
    table = Table(name, "The *ladder*", rows, "tiny:<b>")
    return build_comparison(runs, None, STCAT, BOOTSTRAP, [table])


def ious(tmp_path: Path, name: str) -> dict[str, float]:
    return {result.sample_id: result.scores.video_iou for result in score_run(tmp_path / "runs" / name, STCAT).results}


@pytest.mark.usefixtures("controls")
def test_rows_differences_and_checks_are_those_of_the_samples(tmp_path: Path) -> None:
    document = a_document(tmp_path)
    (table,) = document.tables
    assert [(row.name, row.control_of) for row in table.rows] == [
        ("mean|of", None),
        *((name, "mean|of") for name in (ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM, BEST_TRACK)),
        ("+ TAS", None),
        *((name, "+ TAS") for name in (ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM, BEST_TRACK)),
    ]
    first, control, last = table.rows[0], table.rows[1], table.rows[5]
    plain, other = ious(tmp_path, "plain"), ious(tmp_path, "confident")
    assert first.difference is None
    assert last.difference is not None
    assert last.difference["m_vIoU"].mean == pytest.approx(np.mean([other[name] - plain[name] for name in plain]))
    assert last.difference == last.step == document.rows[1].difference
    assert control.difference is not None
    assert control.difference["m_vIoU"].mean == pytest.approx(0.1 - np.mean(list(plain.values())))
    assert last.failed == document.rows[1].samples["failed"] > first.failed > 0  # type: ignore[index,operator]
    checks = {(check.than, check.group): check for check in table.checks}
    assert {than for than, _ in checks} == {"mean|of", ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM}, "no upper bound"
    assert checks["mean|of", ALL].difference == last.difference["m_vIoU"]
    assert checks["mean|of", ALL].holds == (last.difference["m_vIoU"].low > 0)
    assert checks[RANDOM, ALL].difference.mean == pytest.approx(np.mean(list(other.values())) - 0.1)


def test_groups_are_the_right_and_wrong_tracks_of_the_first_row_and_thirds_by_margin(tmp_path: Path) -> None:
    (table,) = a_document(tmp_path).tables
    results = score_run(tmp_path / "runs" / "plain", STCAT).results
    right = [result.sample_id for result in results if result.scores.truth_video_iou > 0.5]
    first, last = table.rows
    other = ious(tmp_path, "confident")
    assert 0 < len(right) < len(results)
    assert last.by_group[RIGHT_AT_FIRST]["samples"] == len(right)
    assert last.by_group[RIGHT_AT_FIRST]["m_vIoU"] == pytest.approx(np.mean([other[name] for name in right]))
    wrong = [name for name in other if name not in right]
    assert last.by_group[WRONG_AT_FIRST]["m_vIoU"] == pytest.approx(np.mean([other[name] for name in wrong]))
    # The margin falls with the number; failed samples have none.
    with_margin = sorted(
        (
            result.sample_id
            for result in score_run(tmp_path / "runs" / "confident", STCAT).results
            if result.status == "scored"
        ),
        key=number_of,
        reverse=True,
    )
    for group, part in zip((LEAST_SURE, BETWEEN, MOST_SURE), np.array_split(with_margin, 3), strict=True):
        assert first.by_group[group]["samples"] == len(part)
    checks = {check.group: check for check in table.checks}
    least = np.array_split(with_margin, 3)[0]
    plain = ious(tmp_path, "plain")
    assert checks[MOST_SURE].samples == len(np.array_split(with_margin, 3)[2])
    assert abs(checks[LEAST_SURE].difference.mean - np.mean([other[name] - plain[name] for name in least])) < 0.2


def test_measures_are_means_over_samples_that_have_them(tmp_path: Path) -> None:
    (table,) = a_document(tmp_path).tables
    names = [name for name, value in ious(tmp_path, "confident").items() if value or name]
    scored = [
        result.sample_id
        for result in score_run(tmp_path / "runs" / "confident", STCAT).results
        if result.status == "scored"
    ]
    assert len(scored) < len(names)
    assert table.rows[0].measures == {}
    assert table.rows[1].measures == pytest.approx(
        {
            "attribute_margin_before": -np.mean([number_of(name) for name in scored]),
            "attribute_margin_after": 1.0,
            "prompt_norm": 0.5,
        }
    )


def test_a_check_that_does_not_hold_is_told(tmp_path: Path) -> None:
    document = a_document(tmp_path)
    (table,) = document.tables
    estimate = table.checks[0].difference.model_copy(update={"low": -0.1})
    checks = [CheckPart(better="a", than="b", group=ALL, samples=3, difference=estimate, holds=False)]
    text = markdown(document.model_copy(update={"tables": [table.model_copy(update={"checks": checks})]}))
    assert "does not |" in text
    assert "holds" not in text


@pytest.mark.usefixtures("controls")
def test_markdown_holds_foreign_names_and_every_table_is_whole(tmp_path: Path) -> None:
    text = markdown(a_document(tmp_path))
    assert "## tiny:\\<b\\>: The \\*ladder\\*" in text
    assert "mean\\|of" in text
    assert f"_{ATTRIBUTE_ONLY}_" in text
    assert "no \\*track\\*" in text
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 5, "rows, differences, the table, measures, groups, checks"
    for rows in blocks:
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1, rows


def test_a_table_of_rows_that_failed_has_no_scores(tmp_path: Path) -> None:
    gone = RowRun(ComparisonRow("gone", RunSpec("gone")), tmp_path / "gone", None, "expected *a model*")
    table = Table("ladder", "A ladder", (TableRow("first", "gone", controls=True),))
    document = build_comparison([gone], None, STCAT, BOOTSTRAP, [table])
    (part,) = document.tables
    assert (part.rows[0].score, part.rows[0].error, part.checks) == (None, "expected *a model*", [])
    assert "expected \\*a model\\*" in markdown(document)
    assert draw_plots(document, tmp_path) == ()


def test_tables_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    document = a_document(tmp_path)
    names = {path.name for path in draw_plots(document, tmp_path)}
    assert {"rows.svg", "table_ladder.png", "table_ladder.svg"} <= names
    assert "mean|of" in (tmp_path / "table_ladder.svg").read_text()
    (table,) = document.tables
    other = TablePart.model_validate(table.model_dump() | {"model": "other"})
    names = {path.name for path in draw_plots(document.model_copy(update={"tables": [table, other]}), tmp_path)}
    assert {"table_ladder_1.svg", "table_ladder_2.svg"} <= names
