"""How well a model grounds long videos in windows, beside the whole video sampled at once.

Clips and their true tracks are written as files and grounded through the Python API, so that what is measured is time,
not tracking, unless --tracks names a tracker.
"""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from stvg_core.api.grounder import ground
from stvg_core.errors import StvgError
from stvg_core.host.session import Session, open_session
from stvg_core.inputs.tracks.track_file import track_document, write_document
from stvg_core.metrics import TubeOverlap, tube_overlap
from stvg_tiny.clips import CLIP_FRAMES, CLIP_PIXELS, query, write_clip
from stvg_tiny.sampling import Split
from tiny_recipe.controls import ORACLE
from tiny_recipe.long_clips import CLIP_SECONDS, SURROUNDINGS, LongClip, long_clip, long_clip_info
from tiny_recipe.measurements import Row, paired_difference

WHOLE: Final = "whole video"
WINDOWS: Final = "windows"
_OVERRIDES: Final[Mapping[str, Mapping[str, Any]]] = {WHOLE: {}, WINDOWS: {"windows.length_seconds": CLIP_SECONDS}}


def measure(session: Session, clips: Sequence[LongClip], tracks: str, folder: Path) -> dict[str, Any]:
    """Return both rows on some clips, and their paired difference.

    Args:
        session: the model.
        clips: what to ground.
        tracks: "oracle" for the true tracks, or the name of a tracker.
        folder: where one clip at a time is written.
    """
    overlaps: dict[str, list[TubeOverlap | None]] = {name: [] for name in _OVERRIDES}
    for clip in clips:
        video = folder / "clip.mp4"
        write_clip(video, clip.frames(np.arange(clip.times * CLIP_FRAMES), CLIP_PIXELS))
        proposer = f"file:{_write_true_tracks(clip, folder)}" if tracks == ORACLE else tracks
        truth = clip.true_tube(CLIP_PIXELS)
        for name, overrides in _OVERRIDES.items():
            try:
                result = ground(video, query(clip.scene), model=session, overrides=overrides, tracks=proposer)
            except StvgError:
                overlaps[name].append(None)
                continue
            overlaps[name].append(tube_overlap(result.tube, truth))
    rows = {name: Row(name, tuple(values)) for name, values in overlaps.items()}
    return {
        "rows": [row.summary() for row in rows.values()],
        "windows_minus_whole": paired_difference(rows[WINDOWS], rows[WHOLE]),
    }


def _write_true_tracks(clip: LongClip, folder: Path) -> Path:
    path = folder / "tracks.json.gz"
    info = long_clip_info(clip.times, CLIP_PIXELS)
    document = track_document(info, clip.true_tracks(CLIP_PIXELS), "true tracks", oracle_categories=True)
    write_document(path, document)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one JSON document per length and surroundings; return the exit code."""
    parser = ArgumentParser(prog="python -m tiny_recipe.long_grounding", description=__doc__)
    parser.add_argument("--model", default="tiny:qwen2-vl", help="named checkpoint or folder")
    parser.add_argument("--times", type=int, action="append", help="in trained lengths; repeatable [default: 16]")
    parser.add_argument("--surroundings", choices=SURROUNDINGS, action="append", help="repeatable [default: both]")
    parser.add_argument("--clips", type=int, default=100, help="of each length and surroundings")
    parser.add_argument("--split", choices=["development", "test"], default="test")
    parser.add_argument("--tracks", default=ORACLE, help="oracle (the true ones), or the name of a tracker")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        with open_session(options.model) as session, tempfile.TemporaryDirectory() as folder:
            for times in options.times or [16]:
                for surroundings in options.surroundings or SURROUNDINGS:
                    clips = [
                        long_clip(Split[options.split.upper()], index, "hard", times, surroundings)
                        for index in range(options.clips)
                    ]
                    head = {"model": options.model, "times": times, "surroundings": surroundings}
                    document = head | measure(session, clips, options.tracks, Path(folder))
                    sys.stdout.write(json.dumps(document, indent=1) + "\n")
    except StvgError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
