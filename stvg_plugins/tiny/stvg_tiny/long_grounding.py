"""How well a model grounds long videos in windows, beside the whole video sampled at once.

`whole video` samples the clip as a short one; `windows` searches it in windows of a trained length; `the event's scene`
is told where the scene with the event lies, which no method knows: what is lost beyond it is lost in searching. Tracks
are the true ones, so that what is measured is time, unless --tracks names a tracker. With --rules every rule of merging
windows is measured instead, from one reading of each window. With --cost time and memory are measured instead.
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from stvg_core.api.grounder import settings_of
from stvg_core.cli.ground import read_overrides
from stvg_core.errors import StvgError
from stvg_core.host.session import Session, open_session
from stvg_core.inputs.query.catalog import open_decomposer
from stvg_core.inputs.tracks.catalog import open_tracker
from stvg_core.inputs.video import Window, WindowedVideo, lay_windows, sample_indices
from stvg_core.method.long_videos import ground_windows, read_windows
from stvg_core.method.pipeline import Stopwatch, ground_frames
from stvg_core.metrics import TubeOverlap, tube_overlap
from stvg_core.outputs.report.staging import check_output_folder
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.settings import Settings
from stvg_core.values import Frames, SubQueries, Track, Tube
from stvg_huggingface.benchmark.memory import peak_allocated_bytes
from stvg_tiny.clips import CLIP_FRAMES, CLIP_PIXELS, query
from stvg_tiny.controls import ORACLE
from stvg_tiny.grid import VideoGrid
from stvg_tiny.long_clips import CLIP_SECONDS, SURROUNDINGS, LongClip, Surroundings, long_clip, long_clip_info
from stvg_tiny.long_rules import Reading, read_clip, rule_rows
from stvg_tiny.measurements import Row, paired_difference
from stvg_tiny.sampling import Split

WHOLE: Final = "whole video"
WINDOWS: Final = "windows"
SCENE: Final = "the event's scene"
TRAINED_PIXELS: Final = VideoGrid().size_pixels
_LEVEL: Final = "hard"
_WINDOWED: Final = {"windows.length_seconds": CLIP_SECONDS}


def sampled(clip: LongClip, settings: Settings, size_pixels: int, segment: Window | None = None) -> Frames:
    """Return the frames that a method sees of a clip, or of a part of it."""
    info = long_clip_info(clip.times, size_pixels)
    indices = sample_indices(info, settings.sampling, segment)
    return Frames(info, indices, clip.frames(indices, size_pixels), segment)


def in_windows(clip: LongClip, settings: Settings, size_pixels: int) -> WindowedVideo:
    """Return a clip's windows."""
    info = long_clip_info(clip.times, size_pixels)
    read = partial(sampled, clip, settings, size_pixels)
    return WindowedVideo(info, lay_windows(info, settings.windows), read)


def sub_queries_of(clip: LongClip) -> SubQueries:
    """Return the parts of the clip's query."""
    return open_decomposer("rules", generate=None, video_name=None).decompose(query(clip.scene))


@dataclass(frozen=True)
class TrueTracks(Tracker):
    """Proposes the true tracks of the event's scene: an upper bound, never a result."""

    clip: LongClip
    size_pixels: int
    name: str = ORACLE

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return all true tracks, whatever is asked."""
        return self.clip.true_tracks(self.size_pixels)


@dataclass(frozen=True)
class Tracks:
    """Which tracks are scored, and how large the pictures are: only a tracker needs them larger than the model."""

    tracker: Tracker | None
    size_pixels: int

    @classmethod
    def of(cls, name: str) -> Tracks:
        """Return the tracks of a tracker's name, or the true ones ("oracle")."""
        return cls(None, TRAINED_PIXELS) if name == ORACLE else cls(open_tracker(name), CLIP_PIXELS)

    def proposer(self, clip: LongClip) -> Tracker:
        """Return what proposes a clip's tracks."""
        return self.tracker or TrueTracks(clip, self.size_pixels)


def ground_whole(
    clip: LongClip, session: Session, settings: Settings, tracks: Tracks, segment: Window | None = None
) -> Tube:
    """Ground a clip's query in the clip, or a part of it, sampled at once."""
    frames = sampled(clip, settings, tracks.size_pixels, segment)
    return ground_frames(frames, sub_queries_of(clip), session, tracks.proposer(clip), settings).tube


def ground_in_windows(clip: LongClip, session: Session, settings: Settings, tracks: Tracks) -> Tube:
    """Ground a clip's query in windows."""
    video, watch, tracker = in_windows(clip, settings, tracks.size_pixels), Stopwatch(), tracks.proposer(clip)
    (reading,) = read_windows(video, (sub_queries_of(clip),), session, settings, watch)
    return ground_windows(reading, tracker, settings, watch).tube


def measure(
    session: Session, settings: Settings, windowed: Settings, clips: Sequence[LongClip], tracks: Tracks
) -> dict[str, Any]:
    """Return the three rows on some clips, and their paired difference."""
    found: dict[str, list[TubeOverlap | None]] = {WHOLE: [], WINDOWS: [], SCENE: []}
    for clip in clips:
        scene = clip.first_frame, clip.first_frame + CLIP_FRAMES - 1
        truth = clip.true_tube(tracks.size_pixels)
        ways: dict[str, Callable[[], Tube]] = {
            WHOLE: partial(ground_whole, clip, session, settings, tracks),
            WINDOWS: partial(ground_in_windows, clip, session, windowed, tracks),
            SCENE: partial(ground_whole, clip, session, settings, tracks, scene),
        }
        for name, run in ways.items():
            try:
                found[name].append(tube_overlap(run(), truth))
            except StvgError:
                found[name].append(None)
    rows = {name: Row(name, tuple(overlaps)) for name, overlaps in found.items()}
    return {
        "rows": [row.summary() | {"hits": _hits(row)} for row in rows.values()],
        "windows_minus_whole": paired_difference(rows[WINDOWS], rows[WHOLE]),
        "per_clip": {name: [round(float(iou), 4) for iou in row.video_ious] for name, row in rows.items()},
    }


def _hits(row: Row) -> float:
    """Return the share of tubes that share a moment with the true one."""
    return round(float((row.temporal_ious > 0).mean()), 4)


def measure_rules(session: Session, windowed: Settings, clips: Sequence[LongClip]) -> dict[str, Any]:
    """Return a row for every rule of choosing and merging windows, all on the same readings and true tracks."""
    readings: list[Reading] = []
    for clip in clips:
        readings.append(read_clip(in_windows(clip, windowed, TRAINED_PIXELS), sub_queries_of(clip), session, windowed))
    rows = rule_rows(readings, clips, windowed, TRAINED_PIXELS)
    return {"rows": [row.summary() | {"hits": _hits(row)} for row in rows]}


def measure_cost(session: Session, settings: Settings, windowed: Settings, clip: LongClip) -> dict[str, Any]:
    """Return seconds and peak memory of grounding one clip in both ways.

    `tensors_mib` is what torch allocates at most, `pictures_mib` what numpy and Python do; each is counted in a run of
    its own, and time in another.
    """
    tracks, device = Tracks.of(ORACLE), torch.device("cpu")
    ways: dict[str, Callable[[], Tube]] = {
        WHOLE: partial(ground_whole, clip, session, settings, tracks),
        WINDOWS: partial(ground_in_windows, clip, session, windowed, tracks),
    }
    costs: dict[str, Any] = {"window_count": len(in_windows(clip, windowed, tracks.size_pixels).windows)}
    for name, run in ways.items():
        run()
        began = time.process_time()
        run()
        seconds = time.process_time() - began
        tensors = peak_allocated_bytes(run, device)
        tracemalloc.start()
        run()
        _, pictures = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        costs[name] = {
            "processor_seconds": round(seconds, 3),
            "tensors_mib": round(tensors / 2**20, 2),
            "pictures_mib": round(pictures / 2**20, 2),
        }
    return costs


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="stvg-tiny evaluate-long", description=__doc__)
    parser.add_argument("--model", default="tiny:qwen2-vl", help="named checkpoint or folder")
    parser.add_argument(
        "--times", type=int, action="append", help="length in trained lengths; repeatable [default: 16]"
    )
    parser.add_argument("--surroundings", choices=SURROUNDINGS, action="append", help="repeatable [default: both]")
    parser.add_argument(
        "--clips", type=int, default=100, help="of each length and surroundings; the first of the split"
    )
    parser.add_argument("--split", choices=["development", "test"], default="test")
    parser.add_argument("--tracks", default=ORACLE, help="oracle (the true ones), or the name of a tracker")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting; repeatable")
    parser.add_argument("--rules", action="store_true", help="measure the rules of merging, on true tracks")
    parser.add_argument("--cost", action="store_true", help="measure time and memory of one clip of each length")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each row, and write the JSON file where one is asked for; return the exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    split = Split[options.split.upper()]
    measured: list[dict[str, Any]] = []
    try:
        tracks = Tracks.of(options.tracks)
        if options.json is not None:
            check_output_folder(options.json.parent)
            options.json.parent.mkdir(parents=True, exist_ok=True)
        with open_session(options.model) as session:
            overrides = read_overrides(options.set)
            settings = settings_of(session, None, overrides)
            windowed = settings_of(session, None, _WINDOWED | overrides)
            for times in options.times or [16]:
                for surroundings in options.surroundings or SURROUNDINGS:
                    clips = _clips(split, 1 if options.cost else options.clips, times, surroundings)
                    head = {"model": options.model, "times": times, "surroundings": surroundings, "clips": len(clips)}
                    if options.cost:
                        found = measure_cost(session, settings, windowed, clips[0])
                    elif options.rules:
                        found = measure_rules(session, windowed, clips)
                    else:
                        found = measure(session, settings, windowed, clips, tracks)
                    measured.append(head | {"split": options.split, "tracks": options.tracks} | found)
                    _say(head, found)
                    if options.json is not None:
                        # What is measured stays, whatever comes after it.
                        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    except StvgError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _clips(split: Split, count: int, times: int, surroundings: Surroundings) -> list[LongClip]:
    return [long_clip(split, index, _LEVEL, times, surroundings) for index in range(count)]


def _say(head: dict[str, Any], found: dict[str, Any]) -> None:
    sys.stdout.write(f"# {head['model']}, {head['times']}x, {head['surroundings']}, {head['clips']} clips\n")
    for row in found.get("rows", ()):
        sys.stdout.write(
            f"{row['name']:<46} hits {row['hits']:.3f}  m_tIoU {row['m_tIoU']:.3f} ({row['m_tIoU_standard_error']})  "
            f"m_vIoU {row['m_vIoU']:.3f} ({row['standard_error']})  failures {row['failures']}\n"
        )
    if "window_count" in found:
        sys.stdout.write(f"{json.dumps(found)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
