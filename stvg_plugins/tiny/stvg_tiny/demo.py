"""What `stvg demo` shows (entry-point group `stvg.demos`): shipped clips, and what `--compare` compares on.

The comparison is on the first clips of both levels of the test split: nothing was chosen. Of each four of them one has
a held-out pair of colour and shape, and one a held-out triple with the action (docs/tiny_models.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stvg_core.inputs.tracks.track_file import track_document, write_document
from stvg_core.outputs.report.staging import staged_files
from stvg_tiny.annotations import file_name, score_record
from stvg_tiny.benchmark import LEVELS
from stvg_tiny.clips import (
    CLIP_FRAMES_PER_SECOND,
    CLIP_PIXELS,
    QUERY_FORMS,
    Clip,
    OracleTracker,
    benchmark_clips,
    clip_info,
    clip_pixels,
    query,
    write_clip,
)

CLIPS_PER_LEVEL: Final = 8
SAMPLES_FILE: Final = "samples.json"
ROWS_FILE: Final = "rows.toml"
TRUE_TRACKS: Final = "true_tracks"
MODELS: Final = ("tiny:qwen2-vl", "tiny:llava-next", "tiny:internvl")
_ROWS: Final = """\
# Calibration chose no learned prompt for these models; one step is set, so that the ladder has something to show.
[[run]]
model = {model}
ladder = true
set = {{ "prompt.steps" = 1 }}

# An upper bound: which of the true objects, and when. No zero-shot result.
[[run]]
name = {name}
model = {model}
tracks = {tracks}

"""


@dataclass(frozen=True)
class TinyDemo:
    """The shipped clips; the three tiny models, each component by component, and with the true tracks.

    Attributes:
        clips: folder with demos.json and its clips.
        note: what is compared on what, one sentence.
        clips_per_level: how many clips of each level.
    """

    clips: Path = Path(__file__).parent / "demo_clips"
    note: str = (
        f"three tiny models, component by component, on the first {CLIPS_PER_LEVEL} easy and {CLIPS_PER_LEVEL} hard "
        "clips of the synthetic test split (seed 0)"
    )
    clips_per_level: int = CLIPS_PER_LEVEL

    def write_comparison(self, folder: Path) -> None:
        """Write samples.json, clips, true tracks and rows.toml; a folder that has them stays as it is.

        Raises:
            OutputError: the folder cannot be written to; nothing is left behind.
        """
        if (folder / SAMPLES_FILE).is_file():
            return
        clips = [clip for level in LEVELS for clip in benchmark_clips(level, self.clips_per_level)]
        with staged_files(folder) as stage:
            (stage / TRUE_TRACKS).mkdir()
            for clip in clips:
                write_clip(stage / file_name(clip), clip_pixels(clip.scene, CLIP_PIXELS))
                tracks = OracleTracker(clip.scene, CLIP_PIXELS).tracks()
                document = track_document(clip_info(CLIP_PIXELS), tracks, "true tracks", oracle_categories=True)
                write_document(stage / TRUE_TRACKS / f"{clip.identifier}.json.gz", document)
            samples = [_sample(clip, number) for number, clip in enumerate(clips)]
            (stage / SAMPLES_FILE).write_text(json.dumps(samples) + "\n", encoding="utf-8")
            (stage / ROWS_FILE).write_text(_rows(folder.resolve() / TRUE_TRACKS), encoding="utf-8")


def _sample(clip: Clip, number: int) -> dict[str, Any]:
    record = score_record(clip, CLIP_PIXELS)
    form = QUERY_FORMS[number % len(QUERY_FORMS)]
    return {
        "id": clip.identifier,
        "video": file_name(clip),
        "query": query(clip.scene, form),
        "query_type": form,
        "frame_count": record.pop("num_frames"),
        "fps": CLIP_FRAMES_PER_SECOND,
        "width": CLIP_PIXELS,
        "height": CLIP_PIXELS,
        "tube": record,
    }


def _rows(true_tracks: Path) -> str:
    return "".join(
        _ROWS.format(
            model=json.dumps(model),
            name=json.dumps(f"{model}, true tracks"),
            tracks=json.dumps(f"file:{true_tracks}"),
        )
        for model in MODELS
    )
