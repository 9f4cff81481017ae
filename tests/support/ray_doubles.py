"""A model for Ray's workers that answers by script, and dies or hangs where a query or a video says so."""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stvg_core.api.grounder import Grounder
from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import ModelError
from stvg_core.evaluation.runs import worker
from stvg_core.evaluation.runs.engine import EngineChoice
from stvg_core.evaluation.runs.evaluation import ModelChoice, SessionKeeper, evaluate
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.host.session import open_backend
from stvg_core.inputs.datasets import Dataset, open_dataset
from stvg_core.inputs.tracks.cached import VideoCache
from stvg_core.metrics import find_protocol
from stvg_core.plugin.adapter import AttentionRequest, QuestionAttention
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.settings import load_settings
from stvg_core.values import Track
from tests.support.clips import Clip, write_clip
from tests.support.scripted import ScriptedAdapter, ScriptedBackend, found_backend

CODE = 7
ORGANISER = find_protocol("organiser")


class Columns(Tracker):
    """One track per column of the scripted grid."""

    name = "columns"
    per_video = True

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        last = int(request.frames.indices[-1])
        return tuple(
            Track(np.array([0, max(last, 1)]), np.tile([16.0 * place, 0, 16.0 * place + 16, 48], (2, 1)))
            for place in range(4)
        )


class DeadlyAdapter(ScriptedAdapter):
    """Ends its process where a question says so; notes every sample that it works on."""

    def __init__(self, marks: Path) -> None:
        super().__init__()
        self.marks = marks

    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        text = " ".join(request.questions)
        if "slow" in text:
            time.sleep(0.3)
        if "endless" in text:
            time.sleep(600)
        if "poisoned" in text:
            os._exit(CODE)
        if "unlucky" in text and _first(self.marks / "unlucky"):
            os._exit(CODE)
        if "broken" in text and _first(self.marks / "broken"):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().attention_rows(request)


@dataclass(frozen=True)
class DeadlyChoice(ModelChoice):
    """Opens the scripted model.

    Attributes:
        marks: folder where workers note what they did.
        refuses: raise instead.
        differs: every process has another model.
    """

    marks: Path = Path()
    refuses: bool = False
    differs: bool = False

    def open(self, sessions: SessionKeeper | None = None) -> Grounder:
        (self.marks / f"opened-{os.getpid()}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        if self.refuses:
            raise ModelError("expected weights in the folder, got none; download them")
        worker.read_video = _deadly_reading(worker.read_video)
        reference = ModelReference(f"scripted-{os.getpid()}" if self.differs else "scripted")
        session = open_backend(
            ScriptedBackend(DeadlyAdapter(self.marks)), found_backend(), reference, LoadOptions(device="cpu")
        )
        overrides = {"sampling.frame_count": 6, "prompt.steps": 0, "augment.enabled": False}
        return Grounder(session, load_settings("paper", overrides=overrides), VideoCache(Columns()))


def processes(marks: Path) -> list[int]:
    """Return the ids of processes that opened the model, the first one first."""
    found = sorted(marks.glob("opened-*"), key=lambda path: path.stat().st_mtime_ns)
    return [int(path.name.removeprefix("opened-")) for path in found]


def is_running(process: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def write_clips(
    folder: Path, videos: int = 4, queries: int = 2, adjectives: Mapping[str, str] | None = None, frame_count: int = 30
) -> Dataset:
    """Write clips with `queries` sentences each; `adjectives` tells of some samples what man they are about."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = [
        {
            "id": f"v{video}-q{query}",
            "video": f"video{video}.mp4",
            "query": f"The {(adjectives or {}).get(f'v{video}-q{query}', 'tall')} man walks to the sofa.",
            "frame_count": frame_count,
            "width": 64,
            "height": 48,
            "tube": {
                "start_frame": 5,
                "end_frame": 14,
                "boxes": {str(frame): [16 * (query % 4), 0, 16 * (query % 4) + 16, 48] for frame in range(5, 15)},
            },
        }
        for query in range(queries)
        for video in range(videos)
    ]
    (folder / "samples.json").write_text(json.dumps(samples))
    for video in range(videos):
        write_clip(folder, Clip(name=f"video{video}.mp4", frame_count=frame_count - video))
    return open_dataset("folder", folder)


def results(run: Path) -> dict[str, Any]:
    """Return what a run found by sample, without times."""
    found: dict[str, Any] = {}
    with RunStore(run, write=False) as store:
        for row in store.results():
            document = row.document and {name: part for name, part in row.document.items() if name != TIMES}
            found[row.sample_id] = (document, row.track, row.failure)
    return found


TIMES = "timings_seconds"


def _first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _deadly_reading(read: Any) -> Any:
    def read_or_die(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "deadly.mp4":
            os._exit(CODE)
        return read(path, *arguments, **named)

    return read_or_die


def main(data: str, run: str, marks: str, address: str) -> None:
    """Evaluate with two workers in a process that can be killed; the summary comes on stdout."""
    # Tests that run in the background are started with Ctrl-C ignored, and hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    summary = evaluate(
        open_dataset("folder", Path(data)),
        Path(run),
        DeadlyChoice(RunSpec("scripted"), marks=Path(marks)),
        ORGANISER,
        engine=EngineChoice("ray", 2, address or None),
    )
    sys.stdout.write(json.dumps(summary))


if __name__ == "__main__":
    main(*sys.argv[1:])
