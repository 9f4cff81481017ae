"""How well linked detections keep identities: IDF1 and HOTA on synthetic scenes with an oracle detector.

    python benchmarks/track_identities.py --scenes 40

True boxes of stvg-tiny's development scenes are made worse: jittered, dropped, and with false ones added; then
linked by the tracker `detections` (library trackers) and, to compare, by the core's own linker as the tracker
`regions` uses it, without colour. Scores are those of `trackers.eval`, over the frames that were looked at.
A true box is one of an object in its scene, seen or not; a dropped one is missed by every method, so the column
`true identities` (a label per box, false ones left out) is as good as linking can be.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping

import numpy as np
from trackers.eval import compute_hota_metrics, compute_identity_metrics

from stvg_core.inputs.tracks.boxes import intersection_over_union
from stvg_core.inputs.tracks.linking import Detections, LinkRules, link
from stvg_core.values import Track
from stvg_sam.detections import link_detections
from stvg_sam.detector import FoundBoxes, tidy
from stvg_sam.settings import DetectionsSettings
from stvg_tiny.clips import CLIP_FRAMES, clip_info, true_track
from stvg_tiny.sampling import Split, held_out_scene

PIXELS = 384
JITTER = 0.05
FALSE_BOXES = 0.1
METHODS = ("true identities", "bytetrack", "ocsort", "sort", "core linker")
STEPS = (1, 5, 10)
DROPS = (0.0, 0.2, 0.4)


def seen(truths: list[Track], step: int, drop: float, generator: np.random.Generator) -> dict[int, FoundBoxes]:
    """Return what a detector would find: true boxes with noise and drop-outs, and a false box in every tenth frame."""
    found = {}
    for frame in range(0, CLIP_FRAMES, step):
        boxes = np.stack([track.boxes_xyxy[frame] for track in truths])
        size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + generator.normal(0, JITTER, boxes.shape) * size
        kept = np.flatnonzero(generator.random(len(boxes)) >= drop)
        boxes, names = boxes[kept], [str(place) for place in kept]
        if generator.random() < FALSE_BOXES:
            corner = generator.uniform(0, PIXELS - 60, 2)
            boxes, names = np.vstack([boxes, np.concatenate([corner, corner + 60])]), [*names, "false"]
        # The order tells nothing of who is who.
        order = generator.permutation(len(boxes))
        scores = generator.uniform(0.5, 1.0, len(boxes))
        found[frame] = tidy(boxes[order], scores, [names[place] for place in order], PIXELS, PIXELS)
    return found


def linked(method: str, found: Mapping[int, FoundBoxes]) -> list[Track]:
    """Return tracks of single boxes."""
    info = clip_info(PIXELS)
    if method == "true identities":
        by_name: dict[str, list[tuple[int, np.ndarray]]] = {}
        for frame, boxes in sorted(found.items()):
            for name, box in zip(boxes.labels, boxes.boxes_xyxy, strict=True):
                if name != "false":
                    by_name.setdefault(name, []).append((frame, box))
        return [Track(np.array([f for f, _ in own]), np.stack([b for _, b in own])) for own in by_name.values()]
    if method != "core linker":
        return list(link_detections(found, info, DetectionsSettings(method=method)))
    looked = sorted(found)
    pictures = [Detections(found[f].boxes_xyxy, np.zeros((len(found[f].scores), 0)), found[f].scores) for f in looked]
    chains = link(pictures, LinkRules(longest_gap=max(1, round(0.25 * len(looked)))))
    return [
        Track(np.array(looked)[chain.positions], np.stack(chain.boxes)) for chain in chains if len(chain.positions) > 1
    ]


def frames_of(truths: list[Track], tracks: list[Track], looked: list[int]) -> tuple[list, list, list]:
    """Return identities and overlaps per looked-at frame, as the scorer takes them; no box is interpolated."""
    truth_ids, track_ids, overlaps = [], [], []
    for frame in looked:
        there = [(n, track.boxes_xyxy[track.frames == frame]) for n, track in enumerate(tracks)]
        there = [(n, boxes[0]) for n, boxes in there if len(boxes)]
        boxes = np.stack([box for _, box in there]) if there else np.zeros((0, 4))
        truth_ids.append(np.arange(len(truths)))
        track_ids.append(np.array([n for n, _ in there], dtype=np.int64))
        overlaps.append(intersection_over_union(np.stack([track.boxes_xyxy[frame] for track in truths]), boxes))
    return truth_ids, track_ids, overlaps


def main() -> int:
    """Print a table of means over scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    arguments = parser.parse_args()
    lines = ["| every | drop-outs | " + " | ".join(METHODS) + " |", "|---" * (2 + len(METHODS)) + "|"]
    scenes = [held_out_scene(Split.DEVELOPMENT, index, "hard") for index in range(arguments.scenes)]
    for step, drop in itertools.product(STEPS, DROPS):
        cells = []
        for method in METHODS:
            scores = []
            for index, scene in enumerate(scenes):
                truths = [true_track(item, PIXELS) for item in scene.objects]
                found = seen(truths, step, drop, np.random.default_rng([index, step, round(10 * drop)]))
                data = frames_of(truths, linked(method, found), sorted(found))
                scores.append((compute_identity_metrics(*data)["IDF1"], compute_hota_metrics(*data)["HOTA"]))
            identity, hota = np.mean(scores, axis=0)
            cells.append(f"{identity:.3f} / {hota:.3f}")
        lines.append(f"| {step} | {drop:.0%} | " + " | ".join(cells) + " |")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
