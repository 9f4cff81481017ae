"""`stvg evaluate`, `stvg runs` and `stvg score --run` as their users meet them."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import RunError
from stvg_core.evaluation.runs.evaluation import ModelChoice, evaluate
from stvg_core.inputs.datasets import open_dataset
from stvg_core.metrics import find_protocol
from stvg_core.outputs.report.staging import staged_files
from tests.support.clips import Clip, write_clip
from tests.support.command_line import Run
from tests.support.datasets import FORMATS, changed, places, without
from tests.support.runs import rows, work, write_data, write_demo_data


def arguments(tmp_path: Path, *more: str | Path) -> tuple[str | Path, ...]:
    return ("evaluate", "folder", "--root", tmp_path / "data", "--model", "m", "--run", tmp_path / "run", *more)


@pytest.mark.usefixtures("scripted")
def test_a_run_with_failures_goes_on_and_says_so(stvg: Run, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    ran = stvg(*arguments(tmp_path, "--json"))
    assert ran.code == 1
    summary = json.loads(ran.out)
    assert summary["samples"] == {"ok": 3, "failed": 2, "pending": 0, "left_out": 0}
    assert summary["score"]["counts"] == {"scored": 2, "missing": 0, "failed": 2}
    assert [(entry["kind"], entry["count"], entry["sample"]) for entry in summary["failures"]] == [
        ("VideoError", 2, "4")
    ]
    assert ran.error.count("\n") == 2
    assert "failed: 2 x VideoError, such as 4: " in ran.error
    assert "error: expected every sample to be grounded, but 2 failed and count as 0" in ran.error
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    again = stvg(*arguments(tmp_path))
    assert again.code == 1
    assert "3 done, 2 failed, 0 pending" in again.out
    write_clip(tmp_path / "data", Clip(name="damaged.mp4", frame_count=20))
    write_clip(tmp_path / "data", Clip(name="gone.mp4", frame_count=20))
    assert stvg(*arguments(tmp_path)).code == 1
    fixed = stvg(*arguments(tmp_path, "--retry-failed"))
    assert (fixed.code, fixed.error) == (0, "")
    assert "5 done, 0 failed, 0 pending" in fixed.out


@pytest.mark.usefixtures("scripted")
def test_the_score_of_a_run_needs_neither_model_nor_data(stvg: Run, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    summary = json.loads(stvg(*arguments(tmp_path, "--json", "--protocol", "cg-stvg")).out)
    (tmp_path / "data" / "samples.json").unlink()
    ran = stvg("score", "--run", tmp_path / "run", "--protocol", "cg-stvg", "--json", "--by", "type")
    document = json.loads(ran.out)
    assert document["summary"] == summary["score"]["summary"]
    assert set(document["per_sample"]) == {"1", "2", "4", "5"}
    assert document["counts"] == {"scored": 2, "missing": 0, "failed": 2}
    shown = stvg("runs", "show", tmp_path / "run", "--protocol", "organiser")
    assert shown.code == 1
    assert "percent, organiser" in shown.out
    assert "session" in shown.out
    both = stvg("score", "--run", tmp_path / "run", "-p", "p.json", "-a", "a.json", "--protocol", "stcat")
    assert both.code == 2


@pytest.mark.usefixtures("scripted")
def test_changed_settings_are_refused_with_the_difference(stvg: Run, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    stvg(*arguments(tmp_path))
    before = rows(tmp_path / "run")
    ran = stvg(*arguments(tmp_path, "--set", "joint.span_frame_count=3"))
    assert ran.code == 1
    assert "settings.joint.span_frame_count: " in ran.error
    assert "3 in this command" in ran.error
    (tmp_path / "data" / "samples.json").write_text(
        (tmp_path / "data" / "samples.json").read_text().replace("The man walks.", "The man runs.")
    )
    ran = stvg(*arguments(tmp_path))
    assert (ran.code, "dataset.annotations_sha256" in ran.error) == (1, True)
    assert rows(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--shard", "3/2"), 2, "expected --shard as number/count"),
        (("--protocol", "nobody"), 2, "nobody"),
        (("--engine", "cloud"), 2, "expected --engine local or ray"),
        (("--workers", "2"), 2, "expected an engine such as ray with --workers"),
        (("--limit", "0"), 2, "--limit"),
        (("--set", "prompt"), 2, "expected --set name=value"),
        (("--split", "nowhere"), 1, "nowhere"),
        (("--run", "/proc/stvg"), 1, "choose another folder with --run"),
    ],
)
@pytest.mark.usefixtures("scripted")
def test_wrong_usage_is_told_before_work(
    more: tuple[str, ...], code: int, words: str, stvg: Run, tmp_path: Path
) -> None:
    write_data(tmp_path / "data")
    ran = stvg(*arguments(tmp_path, *more))
    assert ran.code == code
    assert words in ran.error


@pytest.mark.usefixtures("scripted")
def test_shards_and_their_merge(stvg: Run, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    for number in (1, 2):
        stvg(*arguments(tmp_path), "--run", tmp_path / str(number), "--shard", f"{number}/2")
    ran = stvg("runs", "merge", tmp_path / "1", tmp_path / "2", "--into", tmp_path / "whole")
    assert (ran.code, ran.error) == (0, "")
    assert "5 samples" in ran.out
    stvg(*arguments(tmp_path))
    whole, unbroken = ([(row[0], row[3]) for row in rows(tmp_path / name)] for name in ("whole", "run"))
    assert whole == unbroken
    again = stvg("runs", "merge", tmp_path / "1", tmp_path / "2", "--into", tmp_path / "whole")
    assert (again.code, "has a run" in again.error or "without a run" in again.error) == (1, True)


@pytest.mark.usefixtures("scripted")
def test_exported_files_appear_whole_and_only_in_known_forms(stvg: Run, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    stvg(*arguments(tmp_path))
    assert stvg("export", tmp_path / "run", "--format", "table", "--out", tmp_path / "a.xls").code == 2
    assert stvg("export", tmp_path / "nothing", "--format", "table", "--out", tmp_path / "a.csv").code == 1
    assert not list(tmp_path.glob("a.*"))
    ran = stvg("export", tmp_path / "run", "--format", "table", "--out", tmp_path / "a.csv")
    assert (ran.code, ran.out) == (0, f"5 samples written to {tmp_path / 'a.csv'}\n")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_no_sample_of_a_spoiled_file_is_lost(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    whole = form.document()
    spots = [place for place in places(whole) if len(place) > 1]
    for number, place in enumerate(spots[:: max(1, len(spots) // 12)]):
        for spoiled in (without(whole, place), changed(whole, place, float("nan")), changed(whole, place, [[]])):
            root = tmp_path / f"{number}-{len(list(tmp_path.iterdir()))}"
            form.write(root, spoiled)
            entries = form.entries(root)
            work(root / "run", form_dataset(name, root))
            with staged_files(root / "out"):
                pass
            found = summary_counts(root / "run")
            assert found["pending"] == 0
            assert sum(found.values()) == sum(not entry.left_out for entry in entries)
            assert found["failed"] >= sum(entry.broken for entry in entries)


def form_dataset(name: str, root: Path) -> object:
    from stvg_core.inputs.datasets import open_dataset

    return open_dataset(FORMATS[name].dataset, root, split=FORMATS[name].split)


def summary_counts(run: Path) -> dict[str, int]:
    from stvg_core.evaluation.runs import RunStore

    with RunStore(run, write=False) as store:
        return store.counts()


@pytest.mark.slow
def test_killed_at_fifty_moments_the_tiny_model_comes_to_the_same(tmp_path: Path) -> None:
    """300 samples with a trained model; each process is killed some samples, and a part of one, after it began.

    Queries of a video come out close together, so that more are done by a kill than were waited for.
    """
    dataset = open_dataset("folder", write_demo_data(tmp_path / "data", 60, 5))
    choice, protocol = ModelChoice(RunSpec("tiny:qwen2-vl")), find_protocol("stcat")
    first = evaluate(dataset, tmp_path / "unbroken", choice, protocol)
    run = tmp_path / "run"
    # Processes begin with the libraries imported and nothing else: a fork of this one would have its locks.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stvg_core.evaluation.runs.evaluation", "transformers", "stvg_qwen2_vl"])
    moments = np.random.default_rng(0)
    done = 0
    for session in range(1, 51):
        process = context.Process(target=evaluate, args=(dataset, run, choice, protocol))
        process.start()
        wanted = done + int(moments.integers(0, 6))
        while done < wanted or not (run / "sessions" / f"{session}.lock").exists():
            assert process.is_alive()
            time.sleep(0.01)
            done = _done(run)
        time.sleep(moments.uniform(0.0, first["seconds_per_sample"]["mean"]))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        done = _done(run)
    assert 50 < done < 300
    second = evaluate(dataset, run, choice, protocol)
    assert first["samples"] == second["samples"] == {"ok": 300, "failed": 0, "pending": 0, "left_out": 0}
    assert first["configuration"] == second["configuration"]
    assert len(second["sessions"]) == 51
    # How many queries of a video are read in one pass depends on where a process ended: they differ in rounding.
    for ours, theirs in zip(_found(run), _found(tmp_path / "unbroken"), strict=True):
        assert_close(ours, theirs)
    for name, value in first["score"]["summary"].items():
        assert second["score"]["summary"][name] == pytest.approx(value, abs=1e-3)


def _done(run: Path) -> int:
    try:
        return summary_counts(run)["ok"]
    except RunError:
        # Not begun yet.
        return 0


def assert_close(ours: object, theirs: object) -> None:
    """Numbers within rounding; everything else, the chosen frames included, equal."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert_close(value, theirs[key])
    elif isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)):
        for one, other in zip(ours, theirs, strict=True):
            assert_close(one, other)
    elif isinstance(ours, float) and isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    else:
        assert ours == theirs


def _found(run: Path) -> list[object]:
    found = []
    for sample_id, document, track, failure in rows(run):
        del document["timings_seconds"]
        found.append((sample_id, document, track, failure))
    return found


def test_the_command_with_a_trained_model(stvg: Run, tmp_path: Path) -> None:
    data = write_demo_data(tmp_path / "data", 2, 2)
    ran = stvg("evaluate", "folder", "--root", data, "--model", "tiny:qwen2-vl", "--run", tmp_path / "run", "--json")
    assert (ran.code, ran.error) == (0, "")
    summary = json.loads(ran.out)
    assert summary["configuration"]["model"]["id"] == "tiny:qwen2-vl"
    assert len(summary["configuration"]["model"]["checkpoint"]) == 64
    assert summary["configuration"]["settings"]["preset"] == "calibrated"
    (session,) = summary["sessions"]
    assert session["process"] == os.getpid()
    assert {"torch", "transformers", "stvg-core"} <= set(session["versions"])
    assert 0 <= summary["device_wait_share"] < 1
    assert session["peak_host_bytes"] > 100 * 2**20
    assert session["peak_device_bytes"] is None
