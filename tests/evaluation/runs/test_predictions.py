"""From a grounding to what a protocol scores: frames that are counted, boxes outside the span, cuts at the end."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.errors import RunError
from stvg_core.evaluation.runs import score_run
from stvg_core.evaluation.runs.export import COLUMNS, export_annotations, export_predictions, export_run
from stvg_core.evaluation.runs.tasks import Task, prediction_of, read_task
from stvg_core.metrics import PROTOCOLS, find_protocol
from stvg_core.metrics.score_report import score_files
from tests.support.runs import work, write_dataset

KEY_FRAMES, KEY_BOXES = [0, 99], [[0.0, 0.0, 10.0, 10.0], [99.0, 0.0, 109.0, 10.0]]
TRACK = {"frames": KEY_FRAMES, "boxes_xyxy": KEY_BOXES}


def document(start: int, end: int, frame_count: int = 100) -> dict[str, object]:
    tube = {"start_frame": start, "end_frame": end}
    return {"tube": tube, "video": {"frame_count": frame_count, "width": 105, "height": 48}}


@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from([1, 3, 10]), st.booleans())
def test_boxes_are_those_of_the_track_at_the_counted_frames(one: int, other: int, step: int, outside: bool) -> None:
    start, end = sorted((one, other))
    found = prediction_of(document(start, end), TRACK, Task("a", "a.mp4", "q", frame_step=step), outside_span=outside)
    inside = [frame // step for frame in range(start, end + 1) if frame % step == 0] or [end // step]
    assert (found["start_frame"], found["end_frame"]) == (inside[0], inside[-1])
    assert found["num_frames"] == len(range(0, 100, step))
    numbers = [int(key) for key in found["boxes"]]
    assert numbers == (list(range(found["num_frames"])) if outside else inside)
    for number in numbers:
        left = float(number * step)
        assert found["boxes"][str(number)] == pytest.approx([left, 0.0, min(left + 10.0, 105.0), 10.0])


def test_boxes_outside_stay_in_the_segment() -> None:
    found = prediction_of(document(30, 40), TRACK, Task("a", "a.mp4", "q", (25, 60)), outside_span=True)
    assert [*map(int, found["boxes"])] == list(range(25, 61))


def test_a_tube_is_cut_at_the_annotated_end_or_refused() -> None:
    task = Task("a", "a.mp4", "q", frame_count=98)
    found = prediction_of(document(90, 99), TRACK, task, outside_span=False)
    assert (found["num_frames"], found["start_frame"], found["end_frame"]) == (98, 90, 97)
    with pytest.raises(RunError, match="expected a tube within the 98 annotated frames, got one from frame 98 on"):
        prediction_of(document(98, 99), TRACK, task, outside_span=False)


@given(
    st.text(min_size=1),
    st.none() | st.tuples(st.integers(0, 9), st.integers(9, 99)),
    st.integers(1, 10),
    st.none() | st.integers(1, 1000),
)
def test_a_task_is_the_same_after_a_journey(
    text: str, segment: tuple[int, int] | None, step: int, count: int | None
) -> None:
    task = Task(text, "video.mp4", text, segment, step, count)
    assert read_task(task.dumps()) == task


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_run_scores_as_its_exported_files_do(name: str, tmp_path: Path) -> None:
    protocol = find_protocol(name)
    work(tmp_path / "run", write_dataset(tmp_path / "data", queries=2))
    export_predictions(tmp_path / "run", tmp_path / "p.json", protocol)
    export_annotations(tmp_path / "run", tmp_path / "a.json")
    own = score_run(tmp_path / "run", protocol)
    other = score_files(tmp_path / "p.json", tmp_path / "a.json", protocol)
    # Two samples of this run failed: the file lacks them, and the code of some protocols would leave them out.
    assert own.score.counts == {"scored": 6, "missing": 0, "failed": 2}
    assert other.score.counts == {"scored": 6, "missing": 2, "failed": 0}
    scores = [report.document()["per_sample"] for report in (own, other)]
    assert len(scores[0]) == 8
    assert {name: found for name, found in scores[0].items() if found["gt_vIoU"]}.items() <= scores[1].items()


def test_tables_have_a_row_for_every_sample(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    work(tmp_path / "run", write_dataset(tmp_path / "data", queries=8))
    protocol = find_protocol("stcat")
    for ending in ("csv", "jsonl", "parquet"):
        assert export_run(tmp_path / "run", tmp_path / f"t.{ending}", protocol) == 32
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    table = pyarrow.read_table(tmp_path / "t.parquet").to_pylist()
    assert [{name: line[name] for name in COLUMNS} for line in lines] == table
    header, *rows = (tmp_path / "t.csv").read_text().splitlines()
    assert header == ",".join(COLUMNS)
    assert len(rows) == 32
    failed = [row for row in table if row["status"] == "failed"]
    assert failed
    assert {(row["error_kind"], row["vIoU"], row["counted"]) for row in failed} == {("QueryError", 0.0, True)}
    assert np.mean([row["vIoU"] for row in table]) == pytest.approx(
        score_run(tmp_path / "run", protocol).score.summary["m_vIoU"]
    )
    assert all((line["document"] is None) == (line["status"] == "failed") for line in lines)
