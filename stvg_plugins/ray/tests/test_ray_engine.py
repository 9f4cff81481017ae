"""Two Ray workers find what one process finds; whatever dies, nothing is lost."""

import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import RunError, UsageError
from stvg_core.evaluation.runs.engine import EngineChoice
from stvg_core.evaluation.runs.evaluation import ModelChoice, Step, evaluate
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task
from stvg_core.inputs.datasets import Dataset, open_dataset
from stvg_core.metrics import find_protocol
from stvg_core.plugin.model_reference import LoadOptions
from stvg_ray.engine import RayEngine, allocate_workers
from stvg_ray.pool import WorkerDescription
from stvg_ray.remote_worker import DriverContext, RemoteWorker, Report
from tests.support.ray_doubles import ORGANISER, DeadlyChoice, is_running, processes, results, write_clips

ROOT = Path(__file__).parents[3]
RAY = EngineChoice("ray", 2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster that the engine finds and joins; starting one takes seconds."""
    import ray

    with contextlib.chdir(ROOT):
        ray.init(
            address="local", num_cpus=4, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False
        )
    yield
    ray.shutdown()


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def grounded(
    dataset: Dataset, run: Path, marks: Path, engine: EngineChoice | None = None, **options: Any
) -> dict[str, Any]:
    choice = DeadlyChoice(RunSpec("scripted"), marks=marks, **options)
    return evaluate(dataset, run, choice, ORGANISER, engine=engine)


# Without Ray


def test_everything_that_travels_can_be_pickled() -> None:
    outcome = Outcome("a", "{}", "{}", None, 1.0)
    for value in (
        ModelChoice(
            RunSpec("tiny:qwen2-vl", overrides={"prompt.steps": 0}, load=LoadOptions("cpu"), extensions=("a",))
        ),
        Task("a", "a.mp4", "a man", (0, 9), 2, 30),
        outcome,
        Failure("ModelError", "expected weights", "trace"),
        Report(outcome, 1.0, 2.0),
        DriverContext("/folder", {"STVG_A": "b"}),
        WorkerDescription("host", {"model": {}}, {"platform": "x"}),
    ):
        assert pickle.loads(pickle.dumps(value)) == value


def test_errors_of_the_project_can_be_pickled() -> None:
    assert str(pickle.loads(pickle.dumps(RunError("the device stopped")))) == "the device stopped"


def test_a_worker_reports_sample_by_sample(tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "stvg_core.evaluation.runs.worker.read_video", __import__("stvg_core.inputs.video", fromlist=["x"]).read_video
    )
    write_clips(tmp_path / "data", videos=2)
    remote = RemoteWorker(DeadlyChoice(RunSpec("scripted"), marks=marks), tmp_path / "data", DriverContext.current())
    description = remote.open()
    assert isinstance(description, WorkerDescription)
    assert description.model["model"]["id"] == "scripted"
    for video in range(2):
        remote.submit(tuple(Task(f"v{video}-q{query}", f"video{video}.mp4", "The man walks.") for query in range(2)))
    reports = [report for _ in range(2) for report in remote.work()]
    names = [report.outcome.sample_id if report.outcome else None for report in reports]
    assert names == [None, "v0-q0", "v0-q1", None, "v1-q0", "v1-q1"]
    assert all(report.outcome.document for report in reports if report.outcome)
    # Reports tell of what came since the last one: together, of everything.
    assert remote._worker is not None
    assert sum(report.busy_seconds for report in reports) == pytest.approx(remote._worker.busy_seconds)
    assert sum(report.waited_seconds for report in reports) == pytest.approx(remote._worker.waited_seconds)
    assert all(report.busy_seconds > 0 for report in reports)


def test_a_worker_without_a_model_says_why(marks: Path) -> None:
    remote = RemoteWorker(DeadlyChoice(RunSpec("scripted"), marks=marks, refuses=True), marks, DriverContext.current())
    assert remote.open() == Failure("ModelError", "expected weights in the folder, got none; download them")
    with pytest.raises(RunError, match=r"expected a worker with a model"):
        remote.submit(())


def test_a_worker_takes_on_folder_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_PLUGIN_FILES", "a.py")
    monkeypatch.chdir(tmp_path)
    there = DriverContext.current()
    assert there.variables["STVG_PLUGIN_FILES"] == "a.py"
    assert not [name for name in there.variables if not name.startswith("STVG_")]
    monkeypatch.delenv("STVG_PLUGIN_FILES")
    monkeypatch.chdir("/")
    there.apply()
    assert (os.environ["STVG_PLUGIN_FILES"], Path.cwd()) == ("a.py", tmp_path)
    # A machine that lacks the folder tells of the files that it cannot find there.
    DriverContext("/no such folder", {}).apply()
    assert Path.cwd() == tmp_path


def test_workers_are_as_many_as_devices() -> None:
    assert allocate_workers({"CPU": 8.0, "GPU": 3.0}, None, "auto") == (3, 1)
    assert allocate_workers({"CPU": 8.0, "GPU": 3.0}, 2, "cuda") == (2, 1)
    assert allocate_workers({"CPU": 8.0, "GPU": 3.0}, 5, "cpu") == (5, 0)
    for resources, workers, device, message in (
        ({"CPU": 8.0, "GPU": 3.0}, 4, "auto", "at most 3 workers, for the Ray cluster has 3 CUDA devices, got 4"),
        ({"CPU": 2.0}, 3, "auto", "at most 2 workers, for the Ray cluster has 2 CPU cores, got 3"),
        ({"CPU": 2.0}, None, "cuda", "expected CUDA devices in the Ray cluster, got none"),
    ):
        with pytest.raises(RunError, match=message):
            allocate_workers(resources, workers, device)


def test_there_is_at_least_one_worker() -> None:
    with pytest.raises(UsageError, match=r"expected --workers of at least 1, got 0"):
        EngineChoice("ray", 0)


def test_a_device_cannot_be_named(tmp_path: Path) -> None:
    choice = ModelChoice(RunSpec("tiny:qwen2-vl", load=LoadOptions("cuda:1")))
    with pytest.raises(UsageError, match=r"Ray assigns devices"), RayEngine().open(RAY, choice, tmp_path):
        pass


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "refused"),
        ("ray://127.0.0.1:10001", "expected auto or HOST:PORT; run stvg on a machine of the cluster"),
        ("somewhere", "expected auto or HOST:PORT"),
    ],
)
def test_a_cluster_that_cannot_be_joined(address: str, reason: str, tmp_path: Path) -> None:
    start = time.monotonic()
    engine, choice = EngineChoice("ray", 1, address), ModelChoice(RunSpec("tiny:qwen2-vl"))
    with (
        pytest.raises(RunError, match=rf"cannot join the Ray cluster '{address}' \(see ray status\): .*{reason}"),
        RayEngine().open(engine, choice, tmp_path),
    ):
        pass
    # Ray itself would knock for minutes.
    assert time.monotonic() - start < 60


def test_without_the_package_the_command_says_how_to_get_it(
    tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r"expected Ray, got .*; pip install ray"):
        grounded(write_clips(tmp_path / "data"), tmp_path / "run", marks, RAY)


def test_the_local_engine_imports_no_ray(tmp_path: Path, marks: Path) -> None:
    write_clips(tmp_path / "data", videos=1)
    code = (
        "import sys\n"
        "from tests.support.ray_doubles import *\n"
        f"evaluate(open_dataset('folder', Path({str(tmp_path / 'data')!r})), Path({str(tmp_path / 'run')!r}), "
        f"DeadlyChoice(RunSpec('scripted'), marks=Path({str(marks)!r})), ORGANISER)\n"
        "assert 'stvg_core.evaluation.runs.worker' in sys.modules and 'ray' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# With Ray


def test_two_workers_find_what_one_process_finds(cluster: None, tmp_path: Path, marks: Path) -> None:
    dataset = write_clips(tmp_path / "data", adjectives={"v1-q0": "slow"})
    grounded(dataset, tmp_path / "local", marks)
    before = len(processes(marks))
    summary = grounded(dataset, tmp_path / "ray", marks, RAY)
    assert results(tmp_path / "ray") == results(tmp_path / "local")
    assert len(results(tmp_path / "ray")) == 8
    assert len(processes(marks)) - before == 2
    assert summary["sessions"][0]["engine"] == {"name": "ray", "workers": 2, "nodes": 1}
    assert summary["sessions"][0]["device"] == "cpu"
    assert summary["sessions"][0]["busy_seconds"] > 0.3
    assert summary["warnings"] == []


def test_who_names_a_cluster_does_not_get_another_one(cluster: None, tmp_path: Path, marks: Path) -> None:
    choice = DeadlyChoice(RunSpec("scripted"), marks=marks)
    with (
        pytest.raises(RunError, match=r"cannot join the Ray cluster '127.0.0.1:1'"),
        RayEngine().open(EngineChoice("ray", 1, "127.0.0.1:1"), choice, tmp_path),
    ):
        pass
    assert not processes(marks)


@pytest.mark.slow
def test_a_run_is_gone_on_with_by_the_other_engine(cluster: None, tmp_path: Path, marks: Path) -> None:
    dataset = write_clips(tmp_path / "data")
    grounded(dataset, tmp_path / "whole", marks)
    for first, second in ((RAY, None), (None, RAY)):
        run = tmp_path / f"{first and first.name}"
        _stopped_after(3, dataset, run, marks, first)
        with RunStore(run, write=False) as store:
            assert 3 <= store.counts()["ok"] < 8
        grounded(dataset, run, marks, second)
        assert results(run) == results(tmp_path / "whole")
        with RunStore(run, write=False) as store:
            assert len(store.sessions()) == 2


@pytest.mark.slow
def test_a_run_that_is_stopped_leaves_no_worker_in_the_cluster(cluster: None, tmp_path: Path, marks: Path) -> None:
    """Ray lets an actor that nobody needs any more end its work first, which may be long."""
    dataset = write_clips(tmp_path / "data", adjectives={"v1-q0": "endless"})
    _stopped_after(2, dataset, tmp_path / "run", marks, RAY)


def _stopped_after(count: int, dataset: Dataset, run: Path, marks: Path, engine: EngineChoice | None) -> None:
    def stop(step: Step) -> None:
        if step.done == count:
            raise KeyboardInterrupt

    with pytest.raises(RunError, match=r"the run was stopped"):
        evaluate(dataset, run, DeadlyChoice(RunSpec("scripted"), marks=marks), ORGANISER, engine=engine, on_step=stop)
    if engine is not None:
        _wait_until(lambda: not any(is_running(process) for process in processes(marks) if process != os.getpid()))


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_loses_nothing(cluster: None, tmp_path: Path, marks: Path) -> None:
    adjectives = {f"v{video}-q0": "slow" for video in range(6)}
    dataset = write_clips(tmp_path / "data", videos=6, adjectives=adjectives)
    grounded(dataset, tmp_path / "whole", marks)
    (marks / f"opened-{os.getpid()}").unlink()
    killed: list[int] = []

    def kill(step: Step) -> None:
        if step.done == 3:
            killed.append(processes(marks)[0])
            os.kill(killed[0], signal.SIGKILL)

    choice = DeadlyChoice(RunSpec("scripted"), marks=marks)
    summary = evaluate(dataset, tmp_path / "run", choice, ORGANISER, engine=RAY, on_step=kill)
    assert results(tmp_path / "run") == results(tmp_path / "whole")
    assert len(results(tmp_path / "run")) == 12
    # Whether the new worker was ready before the other one was done is chance.
    assert 2 <= len(processes(marks)) <= 3
    assert summary["warnings"] == ["1 workers died and what they had was tried again"]
    with RunStore(tmp_path / "run", write=False) as store:
        # Every sample was recorded once.
        assert {row.attempt for row in store.results()} == {1}


@pytest.mark.slow
def test_poison_fails_alone_and_accidents_do_not(cluster: None, tmp_path: Path, marks: Path) -> None:
    dataset = write_clips(
        tmp_path / "data", videos=5, adjectives={"v1-q0": "poisoned", "v2-q1": "unlucky", "v3-q0": "broken"}
    )
    summary = grounded(dataset, tmp_path / "run", marks, RAY)
    found = results(tmp_path / "run")
    assert len(found) == 10
    assert {name for name, (_, _, failure) in found.items() if failure} == {"v1-q0"}
    failure = found["v1-q0"][2]
    assert failure.kind == "WorkerDied"
    assert "3 workers died at this sample" in failure.message
    assert "exit" in failure.message
    assert summary["warnings"] == ["5 workers died and what they had was tried again"]
    assert summary["samples"] | {"left_out": 0} == {"ok": 9, "failed": 1, "pending": 0, "left_out": 0}
    # The others are what they are without any death.
    write_clips(tmp_path / "data", videos=5, adjectives={"v2-q1": "unlucky", "v3-q0": "broken"})
    grounded(open_dataset("folder", tmp_path / "data"), tmp_path / "local", marks)
    local = results(tmp_path / "local")
    assert {name: row for name, row in found.items() if name != "v1-q0"} == {
        name: row for name, row in local.items() if name != "v1-q0"
    }


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_run_with_its_own_words(
    cluster: None, tmp_path: Path, marks: Path
) -> None:
    dataset = write_clips(tmp_path / "data", videos=1)
    with pytest.raises(RunError, match=r"^expected weights in the folder, got none; download them$"):
        grounded(dataset, tmp_path / "run", marks, RAY, refuses=True)
    assert len(processes(marks)) <= 2
    with pytest.raises(RunError, match=r'model.id: "scripted-[0-9]+" in the worker on '):
        grounded(dataset, tmp_path / "run", marks, RAY, differs=True)


# With Ray, in a process of its own


def _started(tmp_path: Path, marks: Path, *, address: str = "", run: str = "run") -> "subprocess.Popen[str]":
    environment = {**os.environ, **({"RAY_AUTH_MODE": "disabled"} if address else {})}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.ray_doubles", tmp_path / "data", tmp_path / run, marks, address],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def _done(run: Path) -> int:
    try:
        with RunStore(run, write=False) as store:
            return store.counts()["ok"]
    except RunError:
        return 0


@pytest.mark.slow
def test_a_cluster_is_joined_by_its_address_and_left_as_it_was(tmp_path: Path, marks: Path) -> None:
    write_clips(tmp_path / "data", videos=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Ray notes the last cluster of a machine there; and a socket's path must be short.
    notes = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": notes}
    head = subprocess.Popen(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"),
            *("--num-cpus=2", "--include-dashboard=false", f"--object-store-memory={100 * 2**20}"),
        ],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"127.0.0.1:{port}"
        _wait_until(lambda: not _is_free(port))
        # A new cluster answers before it is ready; the first of two tells whether the second finds it unharmed.
        for name in ("first", "second"):
            process = _started(tmp_path, marks, address=address, run=name)
            out, errors = process.communicate(timeout=180)
            assert process.returncode == 0, errors
            assert json.loads(out)["samples"]["ok"] == 4
            _wait_until(lambda: not any(map(is_running, processes(marks))))
        assert len(processes(marks)) == 4
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(notes, ignore_errors=True)


def _is_free(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.slow
def test_every_cuda_device_has_one_worker_and_a_new_one_gets_the_free_device(tmp_path: Path, marks: Path) -> None:
    """Ray deals out devices that it is told of, whether they are there or not."""
    write_clips(tmp_path / "data", videos=6, queries=3, adjectives={"v1-q0": "unlucky", "v5-q2": "slow"})
    code = (
        "import ray\n"
        "from tests.support.ray_doubles import *\n"
        "ray.init(address='local', num_cpus=4, num_gpus=2, object_store_memory=100 * 2**20, include_dashboard=False)\n"
        f"evaluate(open_dataset('folder', Path({str(tmp_path / 'data')!r})), Path({str(tmp_path / 'run')!r}), "
        f"DeadlyChoice(RunSpec('scripted'), marks=Path({str(marks)!r})), ORGANISER, engine=EngineChoice('ray'))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=180)
    opened = [(marks / f"opened-{process}").read_text() for process in processes(marks)]
    assert sorted(opened[:2]) == ["0", "1"]
    assert len(opened) <= 3
    assert set(opened) == {"0", "1"}
    assert len(results(tmp_path / "run")) == 18
    assert not any(failure for _, _, failure in results(tmp_path / "run").values())


@pytest.mark.slow
def test_deaths_leave_stdout_to_the_summary(tmp_path: Path, marks: Path) -> None:
    write_clips(tmp_path / "data", adjectives={"v1-q0": "unlucky"})
    process = _started(tmp_path, marks)
    out, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert json.loads(out)["samples"]["ok"] == 8
    assert errors == ""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_driver(number: signal.Signals, tmp_path: Path, marks: Path) -> None:
    adjectives = {f"v{video}-q{query}": "slow" for video in range(4) for query in range(40)}
    dataset = write_clips(tmp_path / "data", queries=40, adjectives=adjectives)
    process = _started(tmp_path, marks)
    _wait_until(lambda: _done(tmp_path / "run") > 2)
    workers = processes(marks)
    assert len(workers) == 2
    assert all(map(is_running, workers))
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert "the run was stopped; run the same command to go on" in errors
    _wait_until(lambda: not any(map(is_running, workers)))
    # What was recorded stays, what was claimed is free.
    done = _done(tmp_path / "run")
    assert 2 < done < 160
    with RunStore(tmp_path / "run") as store:
        store.begin_session({})
        assert store.count_pending() == 160 - done
    assert dataset.file.is_file()


@pytest.mark.slow
def test_the_trained_model_finds_the_same_with_one_worker_and_with_two(cluster: None, tmp_path: Path) -> None:
    from stvg_tiny.benchmark import write_benchmark

    write_benchmark(tmp_path / "bench", clips_per_level=6)
    root = tmp_path / "bench" / "hcstvg_v2"
    dataset = open_dataset(
        "hcstvg-v2", root, split="val", annotations=root / "easy_declarative.json", video_root=tmp_path / "bench/video"
    )
    protocol = find_protocol("organiser")
    for name, engine in (("local", None), ("one", EngineChoice("ray", 1)), ("two", RAY)):
        summary = evaluate(dataset, tmp_path / name, ModelChoice(RunSpec("tiny:qwen2-vl")), protocol, engine=engine)
        assert summary["samples"]["ok"] == 6
    assert results(tmp_path / "one") == results(tmp_path / "local")
    assert results(tmp_path / "two") == results(tmp_path / "local")
