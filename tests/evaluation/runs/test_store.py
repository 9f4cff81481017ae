"""What a run folder keeps, and what it refuses."""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from stvg_core.errors import OutputError, RunError
from stvg_core.evaluation.runs.database import (
    FILE_NAME,
    is_alive,
    open_database,
    pack,
    transaction,
    unpack,
)
from stvg_core.evaluation.runs.store import RunStore, StoredSample
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task
from tests.support.runs import answer

FAILED = Outcome("a", None, None, Failure("VideoError", "expected a video", ""), 0.2)


def opened(folder: Path, *names: str, per_video: int = 1) -> RunStore:
    store = RunStore(folder)
    store.begin_configuration({"model": "m"})
    store.add_samples(
        StoredSample(name, place, Task(name, f"{place // per_video}.mp4", "a man walks"))
        for place, name in enumerate(names)
    )
    return store


def good(name: str) -> Outcome:
    return Outcome(name, '{"tube": 1}', '{"frames": []}', None, 0.5)


def test_a_result_is_kept_and_read_again(tmp_path: Path) -> None:
    with opened(tmp_path, "a", "b") as store:
        store.begin_session({"host": "here"})
        assert [task.sample_id for task in store.claim_group()] == ["a"]
        store.record(good("a"))
        assert store.counts() == {"ok": 1, "failed": 0, "pending": 1}
    with RunStore(tmp_path, write=False) as store:
        (result,) = store.results()
        assert (result.sample_id, result.document, result.track) == ("a", {"tube": 1}, {"frames": []})
        assert (result.attempt, result.session, result.seconds, result.failure) == (1, 1, 0.5, None)
        assert store.configuration() == {"model": "m"}
        (session,) = store.sessions()
        assert session.environment == {"host": "here"}
        assert session.ended is not None


def test_what_is_done_stays_and_a_failure_can_be_mended(tmp_path: Path) -> None:
    with opened(tmp_path, "a") as store:
        store.begin_session({})
        store.record(FAILED)
        store.record(FAILED)
        assert [(row.attempt, row.failure) for row in store.results()] == [(2, FAILED.failure)]
        store.record(good("a"))
        store.record(FAILED)
        assert [(row.attempt, row.failure, row.document) for row in store.results()] == [(3, None, {"tube": 1})]


def test_a_failed_sample_is_pending_for_a_later_session_that_retries(tmp_path: Path) -> None:
    with opened(tmp_path, "a") as store:
        store.begin_session({})
        store.claim_group()
        store.record(FAILED)
        assert store.claim_group(retry=True) == ()
    with RunStore(tmp_path) as store:
        store.begin_session({})
        assert store.claim_group() == ()
        assert store.count_pending(retry=True) == 1
        assert [task.sample_id for task in store.claim_group(retry=True)] == ["a"]
        store.record(FAILED)
        assert store.claim_group(retry=True) == ()


@hypothesis.settings(max_examples=20)
@hypothesis.given(count=strategies.integers(1, 12), per_video=strategies.integers(1, 4), turns=strategies.randoms())
def test_two_stores_never_claim_one_sample(
    tmp_path_factory: pytest.TempPathFactory, count: int, per_video: int, turns: object
) -> None:
    folder = tmp_path_factory.mktemp("run")
    names = [f"s{place:02}" for place in range(count)]
    with opened(folder, *names, per_video=per_video) as first, RunStore(folder) as second:
        for store in (first, second):
            store.begin_session({})
        claimed: list[str] = []
        while group := turns.choice([first, second]).claim_group():  # type: ignore[attr-defined]
            assert len({task.video for task in group}) == 1
            claimed += [task.sample_id for task in group]
        assert first.claim_group() == second.claim_group() == ()
    assert sorted(claimed) == names


def test_claims_of_the_dead_are_free_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    with opened(tmp_path, "a", "b") as living:
        living.begin_session({})
        living.claim_group()
        process = os.fork()
        if not process:
            other = RunStore(tmp_path)
            other.begin_session({})
            other.claim_group()
            os.kill(os.getpid(), 9)
        assert os.waitpid(process, 0)[1] == 9
        with RunStore(tmp_path) as third:
            third.begin_session({})
            assert [task.sample_id for task in third.claim_group()] == ["b"]
            assert third.claim_group() == ()


def test_a_session_lives_as_long_as_its_lock(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.begin_session({})
        assert is_alive(tmp_path, 1)
    assert not is_alive(tmp_path, 1)
    assert not is_alive(tmp_path, 7)
    assert list((tmp_path / "sessions").iterdir()) == []


def test_a_stopped_session_gives_its_claims_back(tmp_path: Path) -> None:
    def stop() -> None:
        with opened(tmp_path, "a") as store:
            store.begin_session({})
            store.claim_group()
            raise InterruptedError

    with pytest.raises(InterruptedError):
        stop()
    with RunStore(tmp_path) as store:
        store.begin_session({})
        assert len(store.claim_group()) == 1


def test_reading_changes_nothing_and_works_without_leave_to_write(tmp_path: Path) -> None:
    with opened(tmp_path / "run", "a") as store:
        store.begin_session({})
        store.record(good("a"))
    shutil.rmtree(tmp_path / "run" / "sessions")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert set(before) == {FILE_NAME}
    with RunStore(tmp_path / "run", write=False) as store:
        assert store.counts()["ok"] == 1
        with pytest.raises(OutputError, match="nothing recorded is lost"):
            store.record(FAILED)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}.keys() >= before.keys()
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == before[FILE_NAME]


def test_a_full_disk_is_told_and_what_was_recorded_stays(tmp_path: Path) -> None:
    names = [f"s{place}" for place in range(40)]

    def fill() -> None:
        with opened(tmp_path, *names) as store:
            store.begin_session({})
            # SQLite says that the disk is full, in the same words as where it is.
            pages = store.database.execute("PRAGMA page_count").fetchone()[0]
            store.database.execute(f"PRAGMA max_page_count = {pages + 2}")
            for name in names:
                store.record(Outcome(name, '{"a": "' + os.urandom(1500).hex() + '"}', "{}", None, 0.1))

    with pytest.raises(OutputError, match="free some space, then run the same command"):
        fill()
    with RunStore(tmp_path) as store:
        kept = [row.sample_id for row in store.results()]
        assert kept == names[: len(kept)] != names
        store.begin_session({})
        while group := store.claim_group():
            for task in group:
                store.record(answer(task))
        assert [row.sample_id for row in store.results()] == names


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose another folder with --run"):
        RunStore(Path("/proc/stvg-run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder with --run"):
        RunStore(tmp_path / "file" / "run")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"got no run\.sqlite"):
        RunStore(tmp_path, write=False)
    (tmp_path / FILE_NAME).write_bytes(b"SQLite format 3\0" + b"\1" * 5000)
    for write in (True, False):
        with pytest.raises(RunError, match="damaged"):
            RunStore(tmp_path, write=write)
    (tmp_path / FILE_NAME).write_bytes(b"")
    with pytest.raises(RunError, match="empty"):
        RunStore(tmp_path, write=False)


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(RunError, match=r"expected a run of format 1 .* got 99"):
        RunStore(tmp_path)


def test_a_transaction_is_whole_or_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path)

    def write() -> None:
        with transaction(database):
            database.execute("INSERT INTO run VALUES ('a', '1')")
            database.execute("INSERT INTO run VALUES ('a', '2')")

    with pytest.raises(sqlite3.IntegrityError):
        write()
    assert database.execute("SELECT count(*) FROM run").fetchone() == (0,)
    database.close()


def test_a_document_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stvg_core.evaluation.runs.database.MOST_DOCUMENT_BYTES", 1000)
    assert unpack(pack('{"a": "b"}'), tmp_path) == {"a": "b"}
    with pytest.raises(RunError, match="larger than any"):
        unpack(pack(json.dumps({"a": "b" * 5000})), tmp_path)
    with pytest.raises(RunError, match="damaged"):
        unpack(b"no zlib", tmp_path)


def test_a_second_configuration_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.begin_configuration({"model": "m"})
        with pytest.raises(RunError, match="use another --run"):
            store.begin_configuration({"model": "n"})
