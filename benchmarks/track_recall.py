"""How many objects of synthetic scenes the tracker `regions` finds, and at what cost.

    python benchmarks/track_recall.py [--scenes 100] [--sizes 96 384]

Renders scenes of the development split of stvg-tiny (16 frames each) and compares every object's true
boxes (a hidden object keeps its box) with the best of the proposed tracks; a frame where that track does
not exist counts as no overlap. Prints one Markdown row per size and difficulty. Seconds are processor
time of the tracker alone, on one thread.
"""

import argparse
import sys
import time
from dataclasses import dataclass

import cv2
import numpy as np

from stvg_core.inputs.tracks.boxes import intersection_over_union
from stvg_core.inputs.tracks.regions import RegionTracker
from stvg_core.plugin.tracker import TrackRequest
from stvg_core.values import FrameMaps, Frames, SubQueries, VideoInfo
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import Difficulty, Scene, frame_times

FRAME_COUNT = 16
FRAMES_PER_SECOND = 4.0
FOUND_OVERLAP = 0.5
DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "hard")


@dataclass(frozen=True)
class SceneResult:
    """What was measured on one scene.

    Attributes:
        overlaps: mean IoU of each object with its best track.
        ranks: place of that track among the proposals, from 1.
        track_count: number of proposals.
        seconds: processor time.
    """

    overlaps: tuple[float, ...]
    ranks: tuple[int, ...]
    track_count: int
    seconds: float


def measure(tracker: RegionTracker, scene: Scene, size_pixels: int) -> SceneResult:
    """Return how well the tracker finds the objects of one scene."""
    times = frame_times(FRAME_COUNT)
    numbers = np.arange(FRAME_COUNT)
    info = VideoInfo(
        "scene.mp4",
        size_pixels,
        size_pixels,
        FRAMES_PER_SECOND,
        FRAME_COUNT / FRAMES_PER_SECOND,
        numbers / FRAMES_PER_SECOND,
    )
    flat = FrameMaps(np.ones((FRAME_COUNT, 1, 1)))
    frames = Frames(info, numbers, render(scene, times, size_pixels))
    request = TrackRequest(frames, SubQueries("an object", "an object", "an object", "none"), flat, flat)
    start = time.process_time()
    tracks = tracker.propose(request)
    seconds = time.process_time() - start
    overlaps, ranks = [], []
    for item in scene.objects:
        truth = item.boxes(times, size_pixels).astype(np.float64)
        each = []
        for track in tracks:
            boxes, exists = track.boxes_at(numbers)
            each.append(float((np.diagonal(intersection_over_union(boxes, truth)) * exists).mean()))
        overlaps.append(max(each))
        ranks.append(int(np.argmax(each)) + 1)
    return SceneResult(tuple(overlaps), tuple(ranks), len(tracks), seconds)


def row(size_pixels: int, difficulty: Difficulty, results: list[SceneResult]) -> str:
    """Return one row of the table."""
    overlaps = np.array([overlap for result in results for overlap in result.overlaps])
    ranks = np.array([rank for result in results for rank in result.ranks])
    counts = np.array([result.track_count for result in results])
    seconds = np.array([result.seconds for result in results])
    return (
        f"| {size_pixels} | {difficulty} | {len(results)} | {overlaps.size} | {(overlaps > FOUND_OVERLAP).mean():.3f} "
        f"| {overlaps.mean():.3f} | {counts.mean():.1f} ({counts.max()}) | {np.median(ranks):.0f} ({ranks.max()}) "
        f"| {seconds.mean():.2f} |\n"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100, help="scenes of each difficulty")
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 384], help="pixels of a frame's side")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    sys.stdout.write(
        "| pixels | scenes | n | objects | recall@0.5 | mean IoU | tracks (max) | rank (max) | seconds |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|---|---|---|\n")
    for size_pixels in arguments.sizes:
        for difficulty in DIFFICULTIES:
            scenes = (held_out_scene(Split.DEVELOPMENT, index, difficulty) for index in range(arguments.scenes))
            results = [measure(RegionTracker(), scene, size_pixels) for scene in scenes]
            sys.stdout.write(row(size_pixels, difficulty, results))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
