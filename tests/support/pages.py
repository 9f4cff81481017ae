"""Runs whose samples, tubes and maps are known by construction, over videos of a white square that moves."""

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stvg_core.api.run_spec import RunSpec
from stvg_core.evaluation.comparison import ComparisonRow, PageChoice, RowRun, Source, build_comparison, write_pages
from stvg_core.evaluation.runs import summarize_run
from stvg_core.evaluation.runs.tasks import Failure, Outcome, Task
from stvg_core.inputs.datasets import open_dataset
from stvg_core.metrics import Bootstrap, find_protocol
from stvg_core.outputs.report.encoding import TimedFrame, encode_video
from tests.support.runs import MadeUpEngine, work

WIDTH, HEIGHT, FRAMES, SIDE = 320, 240, 40, 40
START, END = 8, 31
SAMPLED = (0, 8, 16, 24, 32, 39)
GRID = 8
HOT_ROW, HOT_COLUMN = 6, 5
STCAT = find_protocol("stcat")
HOSTILE = """<img src=x onerror="window.hurt=1"></script><script>window.hurt=2</script>'"\u2028&amp;"""
HOSTILE_VIDEO = """it's "<b>bold<b>".mp4"""


def frame_seconds() -> list[float]:
    """Presentation times of a variable rate: short and long frames take turns."""
    steps = [0.04 if frame % 2 else 0.12 for frame in range(FRAMES)]
    return [round(float(sum(steps[:frame])), 6) for frame in range(FRAMES + 1)]


def square_left(frame: int) -> int:
    """Left edge of the white square."""
    return 10 + 6 * frame


def square(frame: int) -> list[float]:
    return [float(square_left(frame)), 100.0, float(square_left(frame) + SIDE), 100.0 + SIDE]


def write_clip(path: Path) -> Path:
    """Write the video; its only bright pixels are the square's."""
    times = frame_seconds()

    def pictures() -> Iterator[TimedFrame]:
        for frame in range(FRAMES):
            picture = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
            picture[100 : 100 + SIDE, square_left(frame) : square_left(frame) + SIDE] = 250
            yield TimedFrame(picture, times[frame], times[frame + 1])

    encode_video(path, pictures(), width=WIDTH, height=HEIGHT, fps=FRAMES / times[-1])
    return path


def write_samples(
    folder: Path, videos: Sequence[str], count: int, query: str = "The man number {} walks away."
) -> None:
    """Write a folder data set; samples take turns with the videos."""
    folder.mkdir(parents=True, exist_ok=True)
    for video in videos:
        write_clip(folder / video)
    samples = [
        {
            "id": f"sample-{number}",
            "video": videos[number % len(videos)],
            "query": query.format(number),
            "frame_count": FRAMES,
            "width": WIDTH,
            "height": HEIGHT,
            "tube": {
                "start_frame": START,
                "end_frame": END,
                "boxes": {str(frame): square(frame) for frame in range(START, END + 1)},
            },
        }
        for number in range(count)
    ]
    (folder / "samples.json").write_text(json.dumps(samples))


def maps_record(*, unprompted: bool = True) -> dict[str, Any]:
    """Maps with one hot cell in the frames of the span, and another one before the prompt."""
    times = frame_seconds()

    def maps(row: int, column: int) -> dict[str, Any]:
        codes = np.zeros((len(SAMPLED), GRID, GRID), np.uint8)
        codes[1:5, row, column] = 255
        return {"tokens": ["?"], "low": 0.0, "high": 2.0, "codes": base64.b64encode(codes.tobytes()).decode()}

    return {
        "frames": list(SAMPLED),
        "seconds": [times[frame] for frame in SAMPLED],
        "branches": [
            {
                "name": name,
                "rows": GRID,
                "columns": GRID,
                "prompted": maps(HOT_ROW, HOT_COLUMN),
                "unprompted": maps(1, 1) if unprompted else None,
            }
            for name in ("attribute", "action")
        ],
    }


def answer(task: Task, shift_pixels: float = 0.0, text: str = "") -> Outcome:
    """A tube on the square, shifted to the right."""
    times = frame_seconds()
    corners = {
        frame: [x + (shift_pixels if at % 2 == 0 else 0) for at, x in enumerate(square(frame))]
        for frame in range(FRAMES)
    }
    document = {
        "schema_version": 1,
        "status": "ok",
        "video": {
            "path": task.video,
            "width": WIDTH,
            "height": HEIGHT,
            "frame_count": FRAMES,
            "fps": 12.5,
            "duration_seconds": times[-1],
        },
        "query": {
            "text": task.query,
            "attribute": text or "the man number",
            "action": text or "the man walks away",
            "decomposer": "rules",
        },
        "tube": {
            "start_frame": START,
            "end_frame": END,
            "start_seconds": times[START],
            "end_seconds": times[END + 1],
            "boxes": [
                {"frame": frame, "seconds": times[frame], "xyxy": corners[frame]} for frame in range(START, END + 1)
            ],
        },
        "tracks": [{"label": "", "start_frame": 0, "end_frame": FRAMES - 1}],
        "scores": {
            "tracks": [1.0],
            "chosen_track": 0,
            "frames": [{"frame": frame, "score": float(START <= frame <= END)} for frame in SAMPLED],
        },
        "diagnostics": {
            "spatial_margin_step_0": 1.25,
            "spatial_margin_step_1": 2.5,
            "prompts": {"spatial": {"margin_before": 1.25, "margin_after": 3.75, "prompt_norm_share": 0.0625}},
            "answers": {"spatial": {"first_token": "Yes", "probability": 0.5}},
        },
        "warnings": [text] if text else [],
    }
    track = {"frames": [0, FRAMES - 1], "boxes_xyxy": [corners[0], corners[FRAMES - 1]]}
    return Outcome(task.sample_id, json.dumps(document), json.dumps(track), None, 0.1, json.dumps(maps_record()))


def failing_third(task: Task) -> Outcome:
    """A worse tube; every third sample fails."""
    if int(task.sample_id.split("-")[1]) % 3 == 2:
        return Outcome(
            task.sample_id, None, None, Failure("VideoError", "expected a man, got <b>none</b>", "Traceback"), 0.1
        )
    return answer(task, 20.0)


def hostile(task: Task) -> Outcome:
    return answer(task, 0.0, HOSTILE)


def write_comparison_page(
    folder: Path,
    speakers: dict[str, Any],
    count: int = 4,
    videos: Sequence[str] = ("clip.mp4",),
    query: str = "The man number {} walks away.",
    choice: PageChoice | None = None,
) -> Path:
    """Run every speaker over the samples, and write the pages; return index.html."""
    data, out = folder / "data", folder / "out"
    write_samples(data, videos, count, query)
    runs = []
    for name, speak in speakers.items():
        row = ComparisonRow(name, RunSpec(name))
        run = out / "runs" / row.folder
        configuration = {
            "model": {"id": name},
            "settings": {"preset": "paper", "tracker": "regions", "decomposer": "rules", "sampling": {}, "tracks": {}},
        }
        work(run, open_dataset("folder", data), MadeUpEngine(speak=speak), configuration=configuration)
        runs.append(RowRun(row, run, summarize_run(run, STCAT)))
    source = Source("folder", data)
    document = build_comparison(runs, source, STCAT, Bootstrap(100))
    return write_pages(document, [run.run for run in runs], out, STCAT, source.video_folder, choice or PageChoice())
