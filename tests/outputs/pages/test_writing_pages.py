"""Pages out of runs: what they hold, what they never refer to, and what `stvg view` says."""

import json
import re
import sqlite3
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stvg_core.evaluation.comparison import PageChoice
from stvg_core.evaluation.comparison.page_videos import PageVideos
from stvg_core.evaluation.comparison.pages import write_run_pages
from stvg_core.evaluation.runs import RunStore, merge_runs
from stvg_core.evaluation.runs.tasks import Failure, Outcome
from stvg_core.metrics import find_protocol
from tests.support.command_line import Run
from tests.support.pages import answer, failing_third, maps_record, write_clip, write_comparison_page
from tests.support.runs import answer as plain_answer
from tests.support.runs import begin, work, write_dataset

STCAT = find_protocol("stcat")


def sample(page: Path, number: int) -> dict[str, Any]:
    script = (page.parent / "pages" / f"{number:06}.js").read_text()
    found = re.fullmatch(r"stvg\.receive\((\d+), (.*)\);\n", script)
    assert found is not None
    assert int(found.group(1)) == number
    return dict(json.loads(json.loads(found.group(2))))


def index(page: Path) -> dict[str, Any]:
    found = re.search(r'id="page-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return dict(json.loads(found.group(1)))


def test_a_page_holds_what_the_runs_hold(tmp_path: Path) -> None:
    page = write_comparison_page(tmp_path, {"right": answer, "worse": failing_third}, 6)
    listed = index(page)
    assert [row["name"] for row in listed["comparison"]["rows"]] == ["right", "worse"]
    assert [one["states"] for one in listed["samples"]][1:3] == [["ok", "ok"], ["ok", "failed"]]
    assert listed["samples"][2]["scores"][1] == 0.0
    assert listed["total"] == 6
    third = sample(page, 2)
    right, worse = third["rows"]
    assert right["maps"] == maps_record()
    assert right["tube"]["boxes"][:4] == [580, 1000, 980, 1400]
    assert (worse["kind"], worse["error"]) == ("VideoError", "expected a man, got <b>none</b>")
    assert right["metrics"]["vIoU"] > 0.9
    assert third["truth"]["boxes"] == right["tube"]["boxes"]
    media = page.parent / third["video"]["source"]
    assert media.is_file()
    assert media.resolve().is_relative_to(page.parent.resolve())
    # One video, six samples.
    assert len(list(media.parent.iterdir())) == 1


def test_a_second_time_nothing_but_the_nonce_changes(tmp_path: Path) -> None:
    first = write_comparison_page(tmp_path, {"right": answer}, 3)
    before = [sample(first, number) for number in range(3)]
    listed = index(first)
    second = write_run_pages(first.parent / "runs" / "right", STCAT, tmp_path / "data", PageChoice())
    assert [sample(second, number) for number in range(3)] == before
    assert index(second)["samples"] == listed["samples"]


def test_more_samples_than_wanted_are_counted(tmp_path: Path) -> None:
    page = write_comparison_page(tmp_path, {"right": answer}, 5, choice=PageChoice(most_samples=2))
    assert (len(index(page)["samples"]), index(page)["total"]) == (2, 5)
    assert len(list((page.parent / "pages").glob("*.js"))) == 2


def test_a_result_that_cannot_be_shown_is_a_failure_and_the_others_stay(tmp_path: Path) -> None:
    def odd(task: Any) -> Outcome:
        found = answer(task)
        if task.sample_id != "sample-1":
            return found
        document = json.loads(found.document or "")
        document["tube"]["boxes"].pop()
        return Outcome(task.sample_id, json.dumps(document), found.track, None, 0.1, '{"frames": "x"}')

    page = write_comparison_page(tmp_path, {"odd": odd}, 3)
    assert [sample(page, number)["rows"][0]["status"] for number in range(3)] == ["ok", "failed", "ok"]
    assert "cannot be shown" in sample(page, 1)["rows"][0]["error"]


def test_damaged_maps_are_told_and_never_reach_the_page(tmp_path: Path) -> None:
    def odd(task: Any) -> Outcome:
        return replace(answer(task), maps='{"frames": ["<b>"]}')

    (row,) = sample(write_comparison_page(tmp_path, {"odd": odd}, 1), 0)["rows"]
    assert row["status"] == "failed"
    assert "expected attention maps" in row["error"]


@pytest.mark.parametrize(
    "video", ["../secret.mp4", "/etc/passwd", "a/../../secret.mp4", "link.mp4", "gone.mp4", "text.mp4"]
)
def test_videos_never_leave_their_root(video: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_clip(tmp_path / "secret.mp4")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "text.mp4").write_text("no video")
    videos = PageVideos(root, tmp_path / "out" / "media", "media", "link")
    found = json.loads(answer_document())
    part = videos.part(video, [found])
    assert part is not None
    assert part["source"] is None
    assert part["note"].startswith("The video cannot be shown")
    assert str(root) not in part["note"]
    assert not (tmp_path / "out").exists()
    assert videos.part(video, []) is None


def answer_document() -> str:
    from stvg_core.evaluation.runs.tasks import Task

    return answer(Task("a", "clip.mp4", "The man walks.")).document or ""


def test_maps_are_kept_beside_results_and_merged(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", 2, 2)
    begin(tmp_path / "one", dataset)
    with RunStore(tmp_path / "one") as store:
        store.begin_session({})
        tasks = store.claim_group()
        found = plain_answer(tasks[0])
        with_maps = Outcome(found.sample_id, "{}", "{}", None, 0.1, json.dumps(maps_record()))
        store.record(with_maps)
        store.record(Outcome(tasks[1].sample_id, None, None, Failure("A", "b"), 0.1))
        assert store.maps(tasks[0].sample_id) == maps_record()
        assert store.maps(tasks[1].sample_id) is None
        assert store.result(tasks[1].sample_id) is not None
        assert store.result("none such") is None
    begin(tmp_path / "two", dataset)
    merge_runs([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    with RunStore(tmp_path / "both", write=False) as merged:
        assert merged.maps(tasks[0].sample_id) == maps_record()


def test_a_run_of_before_there_were_maps_is_read_and_gone_on_with(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", 1, 2)
    work(tmp_path / "run", dataset)
    database = sqlite3.connect(tmp_path / "run" / "run.sqlite")
    database.execute("DROP TABLE maps")
    database.commit()
    database.close()
    with RunStore(tmp_path / "run", write=False) as store:
        assert [store.maps(name) for name, *_ in store.outcomes()] == [None, None]
    with RunStore(tmp_path / "run") as store:
        assert [store.maps(name) for name, *_ in store.outcomes()] == [None, None]


def test_view_says_what_is_missing(tmp_path: Path, stvg: Run) -> None:
    ran = stvg("view", tmp_path / "none")
    assert (ran.code, "expected a folder" in ran.error) == (2, True)
    (tmp_path / "easy").mkdir()
    (tmp_path / "easy" / "report.html").write_text("page")
    ran = stvg("view", tmp_path)
    assert ran.code == 2
    assert ran.error.rstrip().endswith(f"try {tmp_path / 'easy'}")
    ran = stvg("view", tmp_path / "easy", "--port", "70000")
    assert ran.code == 2


def test_view_builds_the_pages_of_a_run_and_serves_them(
    tmp_path: Path, stvg: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write_comparison_page(tmp_path, {"right": answer}, 2)
    run = page.parent / "runs" / "right"
    seen: list[bytes] = []

    def serve(server: Any) -> None:
        thread = threading.Thread(target=lambda: seen.append(urllib.request.urlopen(server.address, timeout=5).read()))
        thread.start()
        server.timeout = 0.1
        while thread.is_alive():
            server.handle_request()
        thread.join()
        raise KeyboardInterrupt

    monkeypatch.setattr("stvg_core.outputs.serving.PageServer.serve_forever", serve)
    monkeypatch.setattr("webbrowser.open", lambda _: pytest.fail("no browser was wanted"))
    ran = stvg("view", run, "--no-open", "--video-root", tmp_path / "data")
    assert (ran.code, ran.error) == (0, "")
    assert "http://127.0.0.1:" in ran.out
    assert b"Content-Security-Policy" in seen[0]
    assert sample(run / "index.html", 0)["video"]["source"].startswith("pages/media/")
    ran = stvg("view", run, "--no-open")
    assert "--video-root" in ran.error
    assert sample(run / "index.html", 0)["video"]["source"] is None
