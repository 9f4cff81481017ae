"""`stvg ablate`: variants as rows of a comparison; each distinct one is evaluated once."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import UsageError
from stvg_core.evaluation.ablation import TABLE_NAMES, ablate
from stvg_core.evaluation.ablation.tables import TABLES, Variant
from stvg_core.evaluation.comparison import ComparisonDocument, ComparisonRow, RowRun, Source, comparing
from stvg_core.evaluation.comparison.running import finished_run
from stvg_core.evaluation.runs import RunStore
from stvg_core.metrics import Bootstrap, ScoringProtocol, find_protocol
from stvg_core.settings import FamilyPresets, Settings, load_settings
from tests.support.command_line import Run
from tests.support.runs import CONFIGURATION, work, write_dataset

STCAT = find_protocol("stcat")
MODEL = "tiny:qwen2-vl"


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[ComparisonRow]:
    """Rows as they are evaluated, by a made-up model; one of a model that is gone fails."""
    rows: list[ComparisonRow] = []

    def evaluate(
        wanted: Sequence[ComparisonRow], source: Source, out: Path, protocol: ScoringProtocol, **_: object
    ) -> Iterator[RowRun]:
        for row in wanted:
            rows.append(row)
            run = out / "runs" / row.folder
            if "gone" in row.spec.model:
                yield RowRun(row, run, None, "expected a model, got none")
                continue
            work(run, write_dataset(source.root), configuration=CONFIGURATION | {"row": row.folder})
            yield finished_run(row, run, protocol)

    monkeypatch.setattr(comparing, "evaluate_rows", evaluate)
    return rows


def run_tables(tmp_path: Path, *tables: str, specs: Sequence[RunSpec] = (), **options: Any) -> ComparisonDocument:
    source = Source("folder", tmp_path / "data")
    return ablate(
        specs or [RunSpec(MODEL, preset="paper")], source, tables, tmp_path / "out", STCAT, Bootstrap(50), **options
    )


def test_variants_that_are_the_same_are_evaluated_once(evaluated: list[ComparisonRow], tmp_path: Path) -> None:
    document = run_tables(tmp_path, "ladder", "objective")
    ladder, objective = document.tables
    assert [(part.model, part.name) for part in document.tables] == [(MODEL, "ladder"), (MODEL, "objective")]
    rows = {row.name: row.row for part in document.tables for row in part.rows}
    assert rows["+ identification"] == rows["no prompt"] == f"{MODEL}, ladder: + identification"
    assert len(evaluated) == len(document.rows) < len(ladder.rows) + len(objective.rows)
    folders = [row.folder for row in evaluated]
    again = run_tables(tmp_path, "objective", "ladder")
    assert {row.folder for row in evaluated[len(folders) :]} == set(folders), "whichever table shows them first"
    by_name = {row.name: row.score for row in again.tables[1].rows}
    assert by_name == {row.name: row.score for row in ladder.rows}
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"ablation.json", "ablation.md", "index.html"}
    written = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert written == again.model_dump(mode="json")


def test_a_run_is_of_the_settings_that_decide_it(evaluated: list[ComparisonRow], tmp_path: Path) -> None:
    run_tables(tmp_path, "relative")
    run_tables(tmp_path, "relative", specs=[RunSpec(MODEL, preset="paper", overrides={"sampling.frame_count": 8})])
    run_tables(tmp_path, "relative", specs=[RunSpec.of(MODEL, preset="paper", quantization="4bit")])
    assert len({row.folder for row in evaluated}) == len(evaluated) == 9
    both = [RunSpec(MODEL, preset="paper"), RunSpec.of(MODEL, preset="paper", quantization="4bit")]
    document = run_tables(tmp_path, "relative", specs=both)
    assert [part.model for part in document.tables] == [MODEL, f"{MODEL}, quantization 4bit"]


def test_a_model_that_cannot_be_opened_is_a_row_with_its_reason(evaluated: list[ComparisonRow], tmp_path: Path) -> None:
    document = run_tables(tmp_path, "relative", specs=[RunSpec("tiny:gone"), RunSpec(MODEL)])
    assert (document.rows[0].name, document.rows[0].status) == ("tiny:gone", "failed")
    assert document.rows[0].error == "expected a model, got none"
    assert [row.status for row in document.rows[1:]] == ["ok"] * 3
    assert [part.model for part in document.tables] == [MODEL]


def test_a_report_alone_evaluates_nothing(evaluated: list[ComparisonRow], tmp_path: Path) -> None:
    run_tables(tmp_path, "relative")
    count = len(evaluated)
    document = run_tables(tmp_path, "relative", "join", report_only=True)
    assert len(evaluated) == count
    relative, join = document.tables
    assert all(row.score for row in relative.rows)
    assert [row.score is None for row in join.rows].count(True) == len(join.rows) - 1, "one is in both tables"


def test_true_tracks_are_shown_where_they_are_named(evaluated: list[ComparisonRow], tmp_path: Path) -> None:
    (table,) = run_tables(tmp_path, "tracker").tables
    assert [row.name for row in table.rows] == ["own", "attention"]
    (table,) = run_tables(tmp_path, "tracker", true_tracks="file:true").tables
    assert [row.name for row in table.rows] == ["own", "attention", "true tracks of all objects"]
    assert [row.spec.tracks for row in evaluated[2:]] == ["regions", "attention", "file:true"]


def test_wrong_names_are_refused_before_anything_runs(evaluated: list[ComparisonRow], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a table"):
        run_tables(tmp_path, "nothing")
    with pytest.raises(UsageError, match="--model"):
        ablate([], Source("folder", tmp_path), (), tmp_path / "out", STCAT)
    with pytest.raises(UsageError, match="complete settings"):
        run_tables(tmp_path, "join", specs=[RunSpec(MODEL, settings=load_settings("paper"))])
    assert not evaluated


def settings(**overrides: Any) -> Settings:
    base = {"sampling.frame_count": 10, "joint.span_frame_count": 3}
    return load_settings("paper", overrides=base | overrides)


@pytest.mark.parametrize("preset", ["paper", "released", "fast"])
def test_every_table_is_possible_for_every_preset(preset: str) -> None:
    for table, made in TABLES.items():
        variants = made.variants(load_settings(preset), None)
        names = [variant.name for variant in variants]
        assert len(names) == len(set(names)), table
        for variant in variants:
            load_settings(preset, overrides=variant.overrides)


def with_overrides(variant: Variant) -> Settings:
    return settings(**variant.overrides)


def by_name(table: str, base: Settings, family: FamilyPresets | None = None) -> dict[str, Variant]:
    return {variant.name: variant for variant in TABLES[table].variants(base, family)}


def test_presets_are_those_of_the_models_family() -> None:
    family = FamilyPresets("stvg-x:x", {"released": {"augment.enabled": False, "joint.span_share": 0.3}})
    released = with_overrides(by_name("presets", settings(), family)["released"])
    assert (released.augment.enabled, released.joint.span_share) == (False, 0.3)


def test_half_and_double_the_frames_have_half_and_double_the_span() -> None:
    for overrides in ({"joint.span_frame_count": 4}, {"joint.span_frame_count": None, "joint.span_share": 0.4}):
        base = settings(**overrides)
        made = [settings(**overrides | dict(variant.overrides)) for variant in by_name("frames", base).values()]
        lengths = {one.sampling.frame_count: one.joint.span_length(one.sampling.frame_count) for one in made}
        assert lengths == {10: 4, 5: 2, 20: 8}


def test_tables_take_one_step_where_the_settings_take_none() -> None:
    for steps, taken in ((0, 1), (3, 3)):
        ladder = by_name("ladder", settings(**{"prompt.steps": steps}))
        assert {with_overrides(variant).prompt.steps for variant in ladder.values()} == {taken}


@pytest.mark.parametrize("layer_count", [1, 4, 28, 80])
def test_every_part_of_the_layers_has_layers_at_every_depth(layer_count: int) -> None:
    found = [with_overrides(variant).spatial.layers for variant in by_name("layers", settings()).values()]
    assert all(layers.layers(layer_count) for layers in found)
    parts = {layer for layers in found[4:12] for layer in layers.layers(layer_count)}
    assert parts == set(range(layer_count)), "together the eighths are all layers"


def test_wrong_usage_is_one_line(stvg: Run, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    common = ("ablate", "folder", "--root", tmp_path / "data", "--out", tmp_path / "out")
    assert stvg(*common).code == 2
    ran = stvg(*common, "--model", "a", "--protocol", "nothing")
    assert (ran.code, ran.error.count("\n")) == (2, 1)


def test_a_model_that_cannot_be_opened_is_told_and_files_are_written(stvg: Run, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    out = tmp_path / "out"
    ran = stvg("ablate", "folder", "--root", tmp_path / "data", "--out", out, "--model", tmp_path / "gone", "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert [row["status"] for row in document["rows"]] == ["failed"]
    assert "gone" in ran.error
    assert json.loads((out / "ablation.json").read_text()) == document
    assert (out / "ablation.md").is_file()


@pytest.mark.slow
def test_a_tiny_model_on_a_written_benchmark(stvg: Run, tmp_path: Path) -> None:
    from stvg_tiny.benchmark import write_benchmark

    write_benchmark(tmp_path / "benchmark", 1)
    out = tmp_path / "out"
    arguments = (
        *("ablate", "hcstvg-v2", "--root", tmp_path / "benchmark", "--split", "easy_declarative", "--out", out),
        *("--model", "tiny:llava-next", "--table", "ladder", "--table", "span", "--device", "cpu"),
        *("--protocol", "cg-stvg"),
    )
    ran = stvg(*arguments, "--json")
    assert ran.code == 0, ran.error
    document = json.loads(ran.out)
    assert [table["name"] for table in document["tables"]] == ["ladder", "span"]
    rows = [row for table in document["tables"] for row in table["rows"]]
    assert all(row["samples"] == 1 and row["failed"] == 0 for row in rows)
    assert {"attribute only", "best track, true span"} <= {row["name"] for row in rows if row["control_of"]}
    finished = {}
    for run in (out / "runs").iterdir():
        with RunStore(run, write=False) as store:
            finished[run.name] = [result.finished for result in store.results()]
    assert stvg(*arguments).code == 0
    for run in (out / "runs").iterdir():
        with RunStore(run, write=False) as store:
            assert [result.finished for result in store.results()] == finished[run.name], "nothing is run twice"
    assert stvg(*arguments, "--report-only").code == 0


def test_tables_keep_the_order_of_the_docs() -> None:
    assert TABLE_NAMES[:3] == ("ladder", "ladder-paper-join", "objective")
    assert TABLE_NAMES[-4:] == ("presets", "ours", "doubt", "prompts")


def test_a_report_of_no_runs_is_one_line_and_writes_nothing(stvg: Run, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data")
    out = tmp_path / "out"
    common = ("--root", tmp_path / "data", "--out", out, "--model", MODEL, "--preset", "paper", "--table", "relative")
    ran = stvg("ablate", "folder", *common, "--report-only")
    assert (ran.code, ran.error.count("\n")) == (1, 1)
    assert "leave out --report-only" in ran.error
    assert not out.exists()
