"""Files of results, documents and tables of an ablation."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from stvg_core.errors import RunError, UsageError
from stvg_core.evaluation.ablation.document import (
    ALL,
    BETWEEN,
    LEAST_SURE,
    MOST_SURE,
    RIGHT_AT_FIRST,
    WRONG_AT_FIRST,
    AblationDocument,
    build_ablation,
    dump_ablation,
    schema_text,
)
from stvg_core.evaluation.ablation.evaluating import ACTION_ONLY, ATTRIBUTE_ONLY, EXTRAS, OWN, RANDOM, Measured
from stvg_core.evaluation.ablation.markdown import markdown
from stvg_core.evaluation.ablation.plan import Plan
from stvg_core.evaluation.ablation.plots import draw_plots
from stvg_core.evaluation.ablation.results import FOLDER, Header, ResultWriter, SampleLine, read_results
from stvg_core.evaluation.ablation.running import ModelRun, run_ablation
from stvg_core.evaluation.ablation.sources import DatasetSource
from stvg_core.evaluation.ablation.variants import Table, Variant
from stvg_core.evaluation.ablation.working import collect
from stvg_core.evaluation.comparison import Source
from stvg_core.evaluation.runs.evaluation import ModelChoice
from stvg_core.evaluation.runs.tasks import Failure
from stvg_core.inputs.tracks.noise import TrackNoise
from stvg_core.metrics import METRIC_NAMES, Bootstrap, find_protocol

SCHEMA = Path(__file__).parents[3] / "docs" / "schema" / "ablation-1.schema.json"
BOOTSTRAP = Bootstrap(300)
SOURCE = DatasetSource(Source("folder", Path("data")), find_protocol("stcat"))
FIRST, LAST = Variant("mean|of", controls=True), Variant("+ TAS", {"augment.enabled": True}, controls=True)
PLAN = Plan(
    "tiny:<b>",
    (Table("ladder", "The *ladder*", (FIRST, LAST)),),
    {("ladder", "mean|of"): "one", ("ladder", "+ TAS"): "two"},
    {"one": FIRST, "two": LAST},
    {"model": "made up"},
)


def cell(video_iou: float, controls: float = 0.1, **extras: float) -> Measured:
    scores = {OWN: (0.5, video_iou, 0.5, float(video_iou > 0.3), float(video_iou > 0.5))}
    scores |= dict.fromkeys((ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM), (0.1, controls, 0.1, 0.0, 0.0))
    return Measured(scores, tuple(extras.get(name) for name in EXTRAS))


def lines(count: int = 40) -> list[SampleLine]:
    """The second variant is .1 better, but for a last sample on which it fails."""
    generator = np.random.default_rng(1)
    made = []
    for number in range(count):
        base = float(generator.uniform(0.2, 0.6))
        better: Measured | Failure = cell(base + 0.1, seconds=0.2, attribute_points=1.0)
        if number == count - 1:
            better = Failure("TrackError", "no *track*")
        groups = ("easy",) if number % 2 else ("hard",)
        made.append(SampleLine(f"s{number:02d}", groups, {"one": cell(base, seconds=0.1), "two": better}))
    return made


def document(made: list[SampleLine]) -> AblationDocument:
    run = ModelRun(ModelChoice("tiny:<b>"), PLAN)
    return build_ablation([run], [{line.sample_id: line for line in made}], SOURCE, BOOTSTRAP, 5, ["abc"])


def write(out: Path, made: list[SampleLine], names: tuple[str, ...] = ("one", "two")) -> Path:
    with ResultWriter(out, Header(PLAN.configuration, names, {"git_commit": "abc"})) as writer:
        for line in made:
            writer.add(line)
    return writer.path


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    made = lines()
    write(tmp_path, made)
    ((header, back),) = read_results(tmp_path)
    assert header.configuration == PLAN.configuration
    for own, other in zip(made, back, strict=True):
        assert (own.sample_id, own.groups) == (other.sample_id, other.groups)
        for name in ("one", "two"):
            first, second = own.cells[name], other.cells[name]
            if isinstance(first, Failure):
                assert first == second
            else:
                assert isinstance(second, Measured)
                assert second.scores[OWN] == pytest.approx(first.scores[OWN], abs=1e-5)
                assert second.extras == first.extras


def test_files_of_many_processes_are_put_together_and_half_lines_left_out(tmp_path: Path) -> None:
    made = lines(6)
    torn = write(tmp_path, made[:3])
    with torn.open("a", encoding="utf-8") as file:
        file.write('{"id":"s05","groups":["easy"],"cel')
    write(tmp_path, made[2:5])
    write(tmp_path, made[5:], ("one",))
    (tmp_path / FOLDER / "empty.jsonl").touch()
    (tmp_path / FOLDER / "half.jsonl").write_text('{"format":1')
    found = collect(tmp_path, PLAN)
    assert sorted(found) == [line.sample_id for line in made]
    assert set(found["s05"].cells) == {"one"}
    assert all(set(found[name].cells) == {"one", "two"} for name in found if name != "s05")
    write(tmp_path, made[5:], ("two",))
    assert set(collect(tmp_path, PLAN)["s05"].cells) == {"one", "two"}


def test_a_result_without_the_controls_that_are_wanted_is_missing(tmp_path: Path) -> None:
    (line,) = lines(2)[:1]
    one = line.cells["one"]
    assert isinstance(one, Measured)
    bare = Measured({OWN: one.scores[OWN]}, one.extras)
    write(tmp_path, [SampleLine(line.sample_id, line.groups, {"one": bare, "two": bare})])
    assert collect(tmp_path, PLAN)[line.sample_id].cells == {}
    write(tmp_path, [line])
    assert set(collect(tmp_path, PLAN)[line.sample_id].cells) == {"one", "two"}
    compared = replace(PLAN, variants={"one": replace(FIRST, consistency=True), "two": LAST})
    assert set(collect(tmp_path, compared)[line.sample_id].cells) == {"two"}, "this one was run without the other view"


def test_results_of_another_configuration_are_not_counted(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, Header({"model": "another"}, ("one", "two"), {})) as writer:
        writer.add(lines(1)[0])
    assert collect(tmp_path, PLAN) == {}


def test_a_foreign_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    path = tmp_path / FOLDER / "other.jsonl"
    for text in ("[]\n", "{}\n", "nothing\n", '{"format":9}\n'):
        path.write_text(text)
        with pytest.raises(RunError, match=r"other\.jsonl"):
            list(read_results(tmp_path))


def test_scores_differences_and_checks_are_those_of_the_samples() -> None:
    made = lines()
    (table,) = document(made).models[0].tables
    first, *controls, last = table.rows[0], *table.rows[1:4], table.rows[4]
    assert [row.name for row in controls] == [ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM]
    own = np.array([line.cells["one"].scores[OWN] for line in made])  # type: ignore[union-attr]
    assert first.score is not None
    assert [first.score[name].mean for name in METRIC_NAMES] == pytest.approx(own.mean(axis=0))
    assert first.difference is None
    assert last.failed == 1
    assert last.error == "no *track*"
    # 39 samples are .1 better, the failed one counts as 0.
    wanted = (39 * 0.1 - own[-1, 1]) / 40
    assert last.difference is not None
    assert last.difference["m_vIoU"].mean == pytest.approx(wanted)
    assert last.step == last.difference
    checks = {(check.than, check.group): check for check in table.checks}
    assert checks["mean|of", ALL].difference == last.difference["m_vIoU"]
    assert checks["mean|of", ALL].holds == (last.difference["m_vIoU"].low > 0)
    assert checks[ACTION_ONLY, "easy"].samples == 20
    assert last.by_group["hard"]["samples"] == 20
    # gt_vIoU is .5 throughout: no track counts as right.
    assert RIGHT_AT_FIRST not in last.by_group
    assert last.by_group[WRONG_AT_FIRST] == {
        "samples": 40.0,
        **{name: last.score[name].mean for name in METRIC_NAMES},  # type: ignore[index]
    }
    assert last.measures == {"attribute_points": 1.0}
    assert (first.seconds, last.seconds) == (0.1, 0.2)


def test_samples_are_split_by_how_sure_the_model_was_before_any_prompt() -> None:
    made = []
    for line in lines(7):
        number = int(line.sample_id[1:])
        cells = {"one": cell(0.2), "two": cell(number / 10, attribute_margin_before=-float(number))}
        made.append(SampleLine(line.sample_id, line.groups, cells))
    made[3] = replace(made[3], cells=dict(made[3].cells) | {"two": Failure("TrackError", "none")})
    (table,) = document(made).models[0].tables
    groups = table.rows[4].by_group
    means = [groups[group]["m_vIoU"] for group in (LEAST_SURE, BETWEEN, MOST_SURE)]
    assert means == pytest.approx([0.55, 0.3, 0.05]), "samples 6 and 5, 4 and 2, 1 and 0; a failed one has no margin"
    checks = {check.group: check for check in table.checks if check.than == FIRST.name}
    assert checks[LEAST_SURE].samples == 2
    assert checks[LEAST_SURE].difference.mean == pytest.approx(0.35)
    (table,) = document(lines(7)).models[0].tables
    assert LEAST_SURE not in table.rows[0].by_group, "no row learns a prompt"


def test_a_row_tells_what_its_tracks_are_made_worse_by() -> None:
    worse = replace(LAST, noise=TrackNoise(jitter=0.2, switches=1))
    plan = replace(PLAN, tables=(Table("tracker", "Trackers", (FIRST, worse)),))
    plan = replace(plan, identifiers={("tracker", "mean|of"): "one", ("tracker", "+ TAS"): "two"})
    made = {line.sample_id: line for line in lines(3)}
    (model,) = build_ablation([ModelRun(ModelChoice("a"), plan)], [made], SOURCE, BOOTSTRAP, 5, ["abc"]).models
    noises = {row.name: row.noise for row in model.tables[0].rows if row.control_of is None}
    assert noises == {"mean|of": None, "+ TAS": "jitter 0.2, switches 1"}


def test_a_check_that_does_not_hold_is_told() -> None:
    worse = [
        SampleLine(line.sample_id, line.groups, {"one": line.cells["one"], "two": cell(0.05)}) for line in lines(12)
    ]
    (table,) = document(worse).models[0].tables
    assert not any(check.holds for check in table.checks)
    assert "does not |" in markdown(document(worse))


def test_the_document_fits_its_published_schema_and_the_order_of_files_has_no_say() -> None:
    made = lines()
    found = document(made)
    assert schema_text() == SCHEMA.read_text(encoding="utf-8")
    jsonschema.validate(found.model_dump(mode="json"), json.loads(schema_text()))
    assert dump_ablation(found) == dump_ablation(document(made[::-1]))


def test_markdown_holds_foreign_names_and_marks_differences() -> None:
    text = markdown(document(lines()))
    assert "mean\\|of" in text
    assert "tiny:\\<b\\>" in text
    assert "no \\*track\\*" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 4, "scores, measures, groups, checks"
    for rows in tables:
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1, rows


def test_models_stand_side_by_side() -> None:
    one = document(lines()).models[0]
    other = one.model_copy(
        update={"model": "other", "tables": [one.tables[0].model_copy(update={"rows": one.tables[0].rows[:1]})]}
    )
    text = markdown(document(lines()).model_copy(update={"models": [one, other]}))
    assert "| | tiny:\\<b\\> | other |" in text.replace("|  |", "| |")
    (first,) = [line for line in text.splitlines() if line.startswith("| mean\\|of | ") and line.count(" | ") == 2]
    mean = f"{100 * one.tables[0].rows[0].score['m_vIoU'].mean:.1f}"  # type: ignore[index]
    assert first == f"| mean\\|of | {mean} | {mean} |"
    assert any(line.startswith("| + TAS | ") and line.endswith("* |  |") for line in text.splitlines())


def test_a_model_that_could_not_be_opened_is_told() -> None:
    run = ModelRun(ModelChoice("gone"), None, "expected *a model*")
    found = build_ablation([run], [{}], SOURCE, BOOTSTRAP, 5)
    assert found.models[0].status == "failed"
    assert "expected \\*a model\\*" in markdown(found)


def test_without_results_there_are_rows_and_no_scores(tmp_path: Path) -> None:
    found = document([])
    (table,) = found.models[0].tables
    assert [row.score for row in table.rows] == [None, None]
    assert not table.checks
    markdown(found)
    assert draw_plots(found, tmp_path) == ()


def test_plots_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written = draw_plots(document(lines()), tmp_path)
    assert sorted(path.name for path in written) == ["table_ladder.png", "table_ladder.svg"]
    assert "mean|of" in (tmp_path / "table_ladder.svg").read_text()


def test_the_margin_s_rise_is_drawn_with_numbers_that_can_be_read(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cells = {"one": cell(0.4), "two": cell(0.5, attribute_margin_before=1.0, attribute_margin_after=4.0)}
    plan = replace(
        PLAN,
        tables=(Table("steps", "Steps", (FIRST, LAST)),),
        identifiers={("steps", "mean|of"): "one", ("steps", "+ TAS"): "two"},
    )
    made = {f"s{number}": SampleLine(f"s{number}", (), cells) for number in range(3)}
    found = build_ablation([ModelRun(ModelChoice("a"), plan)], [made], SOURCE, BOOTSTRAP, 5, ["abc"])
    written = {path.name: path for path in draw_plots(found, tmp_path)}
    drawn = written["gap_and_grounding.svg"].read_text()
    assert "rise of yes - no" in drawn
    assert "$" not in drawn, "no formula stands where a number should"


def test_wrong_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--model"):
        run_ablation([], SOURCE, (), tmp_path)
    with pytest.raises(UsageError, match="workers"):
        run_ablation([ModelChoice("a")], SOURCE, (), tmp_path, workers=0)
    with pytest.raises(UsageError, match="random"):
        run_ablation([ModelChoice("a")], SOURCE, (), tmp_path, random_seeds=0)
