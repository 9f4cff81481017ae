"""`stvg ablate` as its users meet it, and one process of it on a data set with damaged videos."""

import json
from pathlib import Path

import pytest

from stvg_core.evaluation.ablation.results import FOLDER, read_results
from stvg_core.evaluation.ablation.sources import DatasetSource
from stvg_core.evaluation.ablation.working import Job, collect, run_job
from stvg_core.evaluation.comparison import Source
from stvg_core.evaluation.runs.evaluation import ModelChoice
from stvg_core.evaluation.runs.tasks import Failure
from stvg_core.metrics import find_protocol
from tests.support.command_line import Run
from tests.support.runs import write_data


def job(tmp_path: Path, tables: tuple[str, ...] = ("join",), shard: int = 0, shards: int = 1, limit: int = 9) -> Job:
    source = DatasetSource(
        Source("folder", write_data(tmp_path / "data"), annotations=tmp_path / "data" / "samples.json", limit=limit),
        find_protocol("stcat"),
    )
    return Job(ModelChoice("scripted"), source, tables, tmp_path / "out", shard, shards, 2, None)


@pytest.mark.usefixtures("scripted")
def test_a_damaged_video_is_a_failure_of_every_variant_and_a_sample_without_a_truth_is_left_out(tmp_path: Path) -> None:
    outcome = run_job(job(tmp_path))
    assert outcome.error == ""
    assert outcome.plan is not None
    found = collect(tmp_path / "out", outcome.plan)
    assert sorted(found) == ["1", "2", "4", "5"]
    for name, line in found.items():
        failed = {isinstance(cell, Failure) for cell in line.cells.values()}
        assert failed == {name in ("4", "5")}, name
        assert len(line.cells) == len(outcome.plan.variants) == 6


@pytest.mark.usefixtures("scripted")
def test_shards_and_later_calls_run_what_is_missing_and_nothing_twice(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for shard in (1, 0, 1):
        run_job(job(tmp_path, shard=shard, shards=2))
    first = [line.sample_id for _, lines in read_results(out) for line in lines]
    assert sorted(first) == ["1", "2", "4", "5"]
    outcome = run_job(job(tmp_path, tables=("join", "relative")))
    written = {header.variants: len(lines) for header, lines in read_results(out)}
    added = {variants: count for variants, count in written.items() if len(variants) < 6}
    assert list(added.values()) == [4], "the new table's variants alone"
    assert outcome.plan is not None
    assert all(set(line.cells) == set(outcome.plan.variants) for line in collect(out, outcome.plan).values())


@pytest.mark.usefixtures("scripted")
def test_a_limit_counts_samples_that_have_a_truth(tmp_path: Path) -> None:
    assert [sample.task.sample_id for sample in job(tmp_path, limit=3).source.samples()] == ["1", "2", "4"]


def test_wrong_usage_is_one_line(stvg: Run, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    common = ("ablate", "folder", "--root", data, "--out", tmp_path / "out")
    assert stvg(*common).code == 2
    ran = stvg(*common, "--model", "a", "--protocol", "nothing")
    assert (ran.code, ran.error.count("\n")) == (2, 1)


def test_a_model_that_cannot_be_opened_is_told_and_files_are_written(stvg: Run, tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    ran = stvg("ablate", "folder", "--root", data, "--out", out, "--model", tmp_path / "gone", "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert [model["status"] for model in document["models"]] == ["failed"]
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
        *(
            "--model",
            "tiny:llava-next",
            "--table",
            "ladder",
            "--table",
            "span",
            "--device",
            "cpu",
            "--protocol",
            "cg-stvg",
        ),
    )
    ran = stvg(*arguments, "--json")
    assert ran.code == 0, ran.error
    (model,) = json.loads(ran.out)["models"]
    assert [table["name"] for table in model["tables"]] == ["ladder", "span"]
    assert all(row["samples"] == 1 and row["failed"] == 0 for table in model["tables"] for row in table["rows"])
    files = sorted((out / FOLDER).iterdir())
    assert stvg(*arguments).code == 0
    assert sorted((out / FOLDER).iterdir()) == files, "nothing is run twice"
    assert stvg(*arguments, "--report-only").code == 0
