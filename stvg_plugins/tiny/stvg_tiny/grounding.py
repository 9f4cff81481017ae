"""How well a tiny checkpoint grounds held-out scenes: `python -m stvg_tiny.grounding --help`.

Runs the framework's own pipeline on scenes with known tubes, and prints mean tIoU and vIoU
with standard errors, beside what a random choice of track and span reaches.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stvg_core.api import choose_settings
from stvg_core.config import Settings
from stvg_core.errors import StvgError
from stvg_core.metrics import TubeOverlap, tube_overlap
from stvg_core.pipeline import ground_frames
from stvg_core.query.catalog import open_decomposer
from stvg_core.session import Session, open_session
from stvg_core.tracks.catalog import open_tracker
from stvg_core.tracks.tracker import Tracker
from stvg_core.tube import assemble_tube
from stvg_tiny.clips import OracleTracker, clip_frames, query, true_tube
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import Difficulty, Scene

CLIP_PIXELS = 192
"""Side of a measured clip. The model sees 96; trackers see the clip."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        overlaps: one per scene; a scene that failed counts as zero.
        failures: how many failed.
    """

    name: str
    overlaps: tuple[TubeOverlap, ...]
    failures: int = 0

    def summary(self) -> dict[str, float | int | str]:
        """Return means in 0..1, with the standard error of the mean vIoU."""
        temporal = np.array([overlap.temporal_iou for overlap in self.overlaps])
        video = np.array([overlap.video_iou for overlap in self.overlaps])
        return {
            "name": self.name,
            "scenes": len(self.overlaps),
            "failures": self.failures,
            "m_tIoU": round(float(temporal.mean()), 4),
            "m_vIoU": round(float(video.mean()), 4),
            "standard_error": round(float(video.std() / np.sqrt(len(video))), 4),
            "vIoU@0.3": round(float((video > 0.3).mean()), 4),  # noqa: PLR2004  # the field's thresholds
            "vIoU@0.5": round(float((video > 0.5).mean()), 4),  # noqa: PLR2004
        }


def measure(session: Session, settings: Settings, tracker: str, scenes: Sequence[Scene]) -> Row:
    """Ground every scene and compare with its true tube.

    `tracker` is the name of an installed tracker, or "oracle" for the true tracks of all objects.
    """
    decomposer = open_decomposer("rules", generate=None, video_name=None)
    installed = None if tracker == "oracle" else open_tracker(tracker)
    overlaps, failures = [], 0
    for scene in scenes:
        proposer: Tracker = installed or OracleTracker(scene, CLIP_PIXELS)
        frames = clip_frames(scene, CLIP_PIXELS, settings.sampling)
        try:
            grounding = ground_frames(frames, decomposer.decompose(query(scene)), session, proposer, settings)
        except StvgError:
            failures += 1
            overlaps.append(TubeOverlap(0.0, 0.0))
            continue
        overlaps.append(tube_overlap(grounding.tube, true_tube(scene, CLIP_PIXELS)))
    return Row(f"{settings.preset}, {tracker}", tuple(overlaps), failures)


def random_choice(settings: Settings, scenes: Sequence[Scene]) -> Row:
    """Return what a random true track over a random span of the settings' length reaches."""
    generator = np.random.default_rng(0)
    overlaps = []
    for scene in scenes:
        frames = clip_frames(scene, CLIP_PIXELS, settings.sampling)
        length = min(settings.joint.span_frame_count, len(frames))
        first = int(generator.integers(len(frames) - length + 1))
        tracks = OracleTracker(scene, CLIP_PIXELS).tracks()
        track = tracks[int(generator.integers(len(tracks)))]
        tube = assemble_tube(track, (first, first + length - 1), frames, settings.joint)
        overlaps.append(tube_overlap(tube, true_tube(scene, CLIP_PIXELS)))
    return Row("random track and span", tuple(overlaps))


def scenes_of(split: Split, difficulty: Difficulty, count: int) -> list[Scene]:
    """Return the first scenes of a split."""
    return [held_out_scene(split, index, difficulty) for index in range(count)]


def main() -> None:
    """Print one JSON line per setting."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny:qwen2-vl")
    parser.add_argument("--preset", action="append", help="repeatable [default: the checkpoint's own]")
    parser.add_argument("--tracks", action="append", help="attention, regions, oracle; repeatable [default: regions]")
    parser.add_argument("--split", choices=["development", "test"], default="test")
    parser.add_argument("--scenes", type=int, default=100, help="of each difficulty")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps({"model": arguments.model, "split": arguments.split, "pixels": CLIP_PIXELS}) + "\n")
    with open_session(arguments.model) as session:
        checkpoint = session.adapter.description.checkpoint
        for difficulty in ("easy", "hard"):
            scenes = scenes_of(Split[arguments.split.upper()], difficulty, arguments.scenes)
            for preset in arguments.preset or [None]:
                settings = choose_settings(checkpoint, preset)
                rows = [random_choice(settings, scenes)]
                rows += [measure(session, settings, tracker, scenes) for tracker in arguments.tracks or ["regions"]]
                for row in rows:
                    sys.stdout.write(
                        json.dumps({"difficulty": difficulty, "preset": settings.preset} | row.summary()) + "\n"
                    )
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
