"""Runs that are stopped, killed, shared and gone on with come to what an unbroken run comes to."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from stvg_core.errors import RunError
from stvg_core.evaluation.runs import RunStore, Selection, Shard, merge_runs, score_run, summarize_run
from stvg_core.evaluation.runs.runner import register_samples, stopping_cleanly
from stvg_core.inputs.datasets import open_dataset
from stvg_core.metrics import find_protocol
from tests.support.runs import CONFIGURATION, MadeUpEngine, answer, begin, rows, work, write_dataset

ORGANISER = find_protocol("organiser")


def test_every_sample_has_one_row_and_videos_come_together(tmp_path: Path) -> None:
    engine = work(tmp_path / "run", write_dataset(tmp_path / "data"))
    assert engine.asked == [f"v{video}-q{query}" for video in range(4) for query in range(3)]
    assert engine.most_waiting == engine.capacity
    # Results come in the order of the data set.
    assert [row[0] for row in rows(tmp_path / "run")] == [f"v{v}-q{q}" for q in range(3) for v in range(4)]


def test_going_on_does_only_what_is_left(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    work(tmp_path / "unbroken", dataset)

    class StopError(Exception):
        pass

    def stop_at_seven(engine: MadeUpEngine) -> None:
        def speak(task: object) -> object:
            if len(engine.asked) == 7:
                raise StopError
            return answer(task)  # type: ignore[arg-type]

        engine.speak = speak  # type: ignore[assignment]

    first = MadeUpEngine()
    stop_at_seven(first)
    with pytest.raises(StopError):
        work(tmp_path / "run", dataset, first)
    second = work(tmp_path / "run", dataset)
    assert first.asked[:6] + second.asked == work(tmp_path / "other", dataset).asked
    assert rows(tmp_path / "run") == rows(tmp_path / "unbroken")
    assert work(tmp_path / "run", dataset).asked == []


def _killed_once(run: Path, data: Path, seconds: float, delay_seconds: float) -> None:
    """Work on a run in a process of its own, and kill it after a while."""
    process = os.fork()
    if not process:
        try:
            work(run, open_dataset("folder", data), MadeUpEngine(delay_seconds))
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


@pytest.mark.parametrize("deaths", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_many_moments_it_comes_to_the_same(deaths: int, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", videos=50, queries=4)
    work(tmp_path / "unbroken", dataset)
    begin(tmp_path / "run", dataset)
    moments = random.Random(0)
    for _ in range(deaths):
        _killed_once(tmp_path / "run", tmp_path / "data", moments.uniform(0.001, 0.2), 0.03)
    with RunStore(tmp_path / "run", write=False) as store:
        # Or the deaths came before anything was done, or when nothing was left to do.
        assert 0 < store.counts()["pending"] < 200
    work(tmp_path / "run", dataset)
    assert rows(tmp_path / "run") == rows(tmp_path / "unbroken")
    assert len(rows(tmp_path / "run")) == 200
    for part in ("samples", "score", "failures"):
        assert summarize_run(tmp_path / "run", ORGANISER)[part] == summarize_run(tmp_path / "unbroken", ORGANISER)[part]


def test_two_processes_on_one_folder_share_the_work(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", videos=20)
    work(tmp_path / "unbroken", dataset)
    processes = []
    for _ in range(2):
        process = os.fork()
        if not process:
            try:
                work(tmp_path / "run", dataset, MadeUpEngine(0.005))
                os._exit(0)
            finally:
                os._exit(1)
        processes.append(process)
    assert [os.waitpid(process, 0)[1] for process in processes] == [0, 0]
    assert rows(tmp_path / "run") == rows(tmp_path / "unbroken")
    with RunStore(tmp_path / "run", write=False) as store:
        results = list(store.results())
    assert {result.attempt for result in results} == {1}
    assert {result.session for result in results} == {1, 2}


def test_other_settings_or_another_model_are_refused_with_the_difference(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    work(tmp_path / "run", dataset)
    changed = {"model": {"id": "other"}, "settings": {"prompt": {"steps": 3}}}
    with pytest.raises(RunError) as error:
        work(tmp_path / "run", dataset, configuration=changed)
    assert 'model.id: "made-up" in the run, "other" in this command' in str(error.value)
    assert "settings.prompt.steps: 2 in the run, 3 in this command" in str(error.value)


def test_a_limit_can_grow_and_not_shrink(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    assert len(work(tmp_path / "run", dataset, selection=Selection(5)).asked) == 5
    assert len(work(tmp_path / "run", dataset, selection=Selection(7)).asked) == 2
    with pytest.raises(RunError, match="expected --limit of at least 7"):
        work(tmp_path / "run", dataset, selection=Selection(6))
    assert len(work(tmp_path / "run", dataset).asked) == 5
    with pytest.raises(RunError, match="expected no --limit"):
        work(tmp_path / "run", dataset, selection=Selection(7))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_merged_are_the_whole_run(tmp_path: Path, count: int) -> None:
    dataset = write_dataset(tmp_path / "data")
    work(tmp_path / "unbroken", dataset)
    asked: list[str] = []
    for number in range(1, count + 1):
        asked += work(tmp_path / str(number), dataset, selection=Selection(shard=Shard(number, count))).asked
    assert sorted(asked) == sorted(row[0] for row in rows(tmp_path / "unbroken"))
    with pytest.raises(RunError, match=f"are missing: {count};"):
        merge_runs([tmp_path / str(number) for number in [*range(1, count), 1]], tmp_path / "merged")
    counts = merge_runs([tmp_path / str(number) for number in range(1, count + 1)], tmp_path / "merged")
    assert sum(counts.values()) == 12
    assert rows(tmp_path / "merged") == rows(tmp_path / "unbroken")
    merged, unbroken = (summarize_run(tmp_path / name, ORGANISER) for name in ("merged", "unbroken"))
    assert (merged["score"], merged["failures"]) == (unbroken["score"], unbroken["failures"])
    # It is a run like any other.
    assert work(tmp_path / "merged", dataset).asked == []


def test_an_unfinished_shard_is_gone_on_with_after_the_merge(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    work(tmp_path / "unbroken", dataset)
    work(tmp_path / "1", dataset, selection=Selection(shard=Shard(1, 2)))
    with pytest.raises(ZeroDivisionError):
        work(tmp_path / "2", dataset, MadeUpEngine(speak=lambda task: 1 / 0), selection=Selection(shard=Shard(2, 2)))  # type: ignore[arg-type, return-value]
    merge_runs([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    assert work(tmp_path / "merged", dataset).asked
    assert rows(tmp_path / "merged") == rows(tmp_path / "unbroken")


def test_runs_that_differ_are_not_merged(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    work(tmp_path / "1", dataset, selection=Selection(shard=Shard(1, 2)))
    work(
        tmp_path / "2",
        dataset,
        selection=Selection(shard=Shard(2, 2)),
        configuration=CONFIGURATION | {"model": {"id": "other"}},
    )
    with pytest.raises(RunError, match=r"model\.id"):
        merge_runs([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_another_shard_of_the_same_folder_is_refused(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    work(tmp_path / "run", dataset, selection=Selection(shard=Shard(1, 2)))
    with pytest.raises(RunError, match="expected the shard 1/2"):
        work(tmp_path / "run", dataset, selection=Selection(shard=Shard(2, 2)))
    with pytest.raises(RunError, match="divided otherwise"):
        work(tmp_path / "run", dataset, selection=Selection(3, Shard(1, 2)))


def test_results_of_deleted_samples_are_not_counted(tmp_path: Path) -> None:
    work(tmp_path / "run", write_dataset(tmp_path / "data"))
    with RunStore(tmp_path / "run") as store:
        store.database.execute("PRAGMA foreign_keys = OFF")
        store.database.execute("DELETE FROM samples WHERE sample_id IN ('v0-q0', 'v1-q0')")
        counts = store.counts()
    assert (sum(counts.values()), counts["pending"]) == (10, 0)
    assert summarize_run(tmp_path / "run", ORGANISER)["samples"]["pending"] == 0


def test_failed_samples_are_tried_again_when_asked(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", queries=8)
    work(tmp_path / "run", dataset)
    failed = {row[0] for row in rows(tmp_path / "run") if row[3] is not None}
    assert failed
    assert work(tmp_path / "run", dataset).asked == []
    assert set(work(tmp_path / "run", dataset, retry=True).asked) == failed
    with RunStore(tmp_path / "run", write=False) as store:
        assert {row.sample_id for row in store.results() if row.attempt == 2} == failed


def test_an_unusable_annotation_is_a_failed_sample_until_it_is_mended(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    path = tmp_path / "data" / "samples.json"
    whole = json.loads(path.read_text())
    broken = json.loads(path.read_text())
    broken[3]["tube"]["boxes"]["7"] = [9, 9, 1, 1]
    del broken[5]["query"]
    broken[8]["id"] = broken[7]["id"]
    path.write_text(json.dumps(broken))
    assert len(work(tmp_path / "run", dataset).asked) == 9
    summary = summarize_run(tmp_path / "run", ORGANISER)
    assert summary["samples"]["pending"] == 0
    assert summary["score"]["counts"]["failed"] == summary["samples"]["failed"] >= 3
    told = {failure["kind"]: failure for failure in summary["failures"]}
    assert told["annotation"]["count"] == 3
    assert told["annotation"]["sample"] == "v3-q0"
    assert "reversed-box" in told["annotation"]["error"]
    path.write_text(json.dumps(whole))
    with RunStore(tmp_path / "run") as store:
        register_samples(store, dataset, Selection(), corrections=True, reread_unusable=True)
    assert sorted(work(tmp_path / "run", dataset).asked) == ["v0-q2", "v1-q1", "v3-q0"]
    work(tmp_path / "unbroken", dataset)
    assert rows(tmp_path / "run") == rows(tmp_path / "unbroken")


def test_a_stop_by_signal_is_one_line_and_gives_claims_back(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    before = signal.getsignal(signal.SIGTERM)

    def speak(task: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return answer(task)  # type: ignore[arg-type]

    with pytest.raises(RunError, match="run the same command to go on"), stopping_cleanly():
        work(tmp_path / "run", dataset, MadeUpEngine(speak=speak))  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGTERM) is before
    work(tmp_path / "run", dataset)
    assert len(rows(tmp_path / "run")) == 12


def test_failures_count_as_zero_and_the_pending_as_missing(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", queries=8)
    work(tmp_path / "run", dataset)
    failed = sum(row[3] is not None for row in rows(tmp_path / "run"))
    # By a protocol whose code drops what it has no prediction of.
    report = score_run(tmp_path / "run", find_protocol("stcat"))
    assert report.score.counts == {"scored": 32 - failed, "missing": 0, "failed": failed}
    scored = [result.scores.video_iou for result in report.results if result.status == "scored"]
    assert report.score.summary["m_vIoU"] == pytest.approx(sum(scored) / 32)


def test_a_merged_result_names_the_session_that_made_it(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    for number in (1, 2, 3):
        work(tmp_path / str(number), dataset, selection=Selection(shard=Shard(number, 3)), process=number)
        with RunStore(tmp_path / str(number)) as store:
            store.database.execute("UPDATE sessions SET peak_host_bytes = ?", (number,))
    merge_runs([tmp_path / "1", tmp_path / "2", tmp_path / "3"], tmp_path / "merged")
    with RunStore(tmp_path / "merged", write=False) as store:
        process = {session.session: session.environment["process"] for session in store.sessions()}
        assert [session.peak_host_bytes for session in store.sessions()] == [1, 2, 3]
        made = {result.sample_id: process[result.session] for result in store.results()}
    for number in (1, 2, 3):
        assert {name for name, maker in made.items() if maker == number} == {
            row[0] for row in rows(tmp_path / str(number))
        }


def test_shards_that_lack_a_sample_are_not_merged(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    for number in (1, 2):
        work(tmp_path / str(number), dataset, selection=Selection(shard=Shard(number, 2)))
    with RunStore(tmp_path / "2") as store:
        (name,) = store.database.execute("SELECT sample_id FROM samples LIMIT 1").fetchone()
        store.database.execute("DELETE FROM results WHERE sample_id = ?", (name,))
        store.database.execute("DELETE FROM samples WHERE sample_id = ?", (name,))
    with pytest.raises(RunError, match="expected 12 samples of the data set together, got 11"):
        merge_runs([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_mended_annotation_brings_no_sample_of_another_shard(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    path = tmp_path / "data" / "samples.json"
    whole = json.loads(path.read_text())
    broken = json.loads(path.read_text())
    broken[3]["tube"]["boxes"]["7"] = [9, 9, 1, 1]
    path.write_text(json.dumps(broken))
    halves = [Selection(shard=Shard(number, 2)) for number in (1, 2)]
    for half in halves:
        work(tmp_path / str(half.shard)[0], dataset, selection=half)
    path.write_text(json.dumps(whole))
    for half in halves:
        with RunStore(tmp_path / str(half.shard)[0]) as store:
            register_samples(store, dataset, half, corrections=True, reread_unusable=True)
        work(tmp_path / str(half.shard)[0], dataset, selection=half)
    found = [{row[0] for row in rows(tmp_path / name)} for name in "12"]
    assert not found[0] & found[1]
    assert len(found[0] | found[1]) == 12


def test_work_of_a_process_that_dies_meanwhile_is_taken_over(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    begin(tmp_path / "run", dataset)
    ready, told = os.pipe()
    process = os.fork()
    if not process:
        other = RunStore(tmp_path / "run")
        other.begin_session({})
        other.claim_group()
        os.write(told, b".")
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    os.read(ready, 1)
    # Nine samples of others' videos first, so that the other is dead when they are done.
    work(tmp_path / "run", dataset, MadeUpEngine(0.2))
    os.waitpid(process, 0)
    assert len(rows(tmp_path / "run")) == 12


def test_a_recorded_sample_is_claimed_no_more(tmp_path: Path) -> None:
    begin(tmp_path / "run", write_dataset(tmp_path / "data"))
    with RunStore(tmp_path / "run") as first, RunStore(tmp_path / "run") as second:
        first.begin_session({})
        second.begin_session({})
        tasks = first.claim_group()
        assert second.free_dead_claims() == len(tasks) == 3
        first.record(answer(tasks[0]))
        assert second.free_dead_claims() == 2
