"""Write files like VidSTG's test split, with VidOR's boxes, to measure readers with; no video is made.

The sizes are those of the published split: 4,610 records about 732 videos, 4,610 captions and 5,693
questions, in an order that returns to a video again and again; about 1,040 frames and 5 objects a video.
Boxes are written as VidOR writes them, for every object in every frame.

    python benchmarks/make_vidstg_like.py --out vidstg-like
    python benchmarks/make_vidstg_like.py --measure vidstg-like
"""

import argparse
import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

RECORDS, VIDEOS, QUESTIONS = 4610, 732, 5693
MEAN_FRAMES, OBJECTS = 1040, 5
WIDTH, HEIGHT = 640, 360
CATEGORIES = ("adult", "dog", "child", "ball", "car")


def write(folder: Path, scale: float, seed: int) -> None:
    """Write annotations and boxes.

    Args:
        folder: made where it is missing.
        scale: share of the published size.
        seed: of everything that is drawn.
    """
    chance = random.Random(seed)  # noqa: S311  # a benchmark keeps no secrets
    videos = max(1, round(VIDEOS * scale))
    frame_counts = [min(5400, max(90, round(chance.expovariate(1 / MEAN_FRAMES)))) for _ in range(videos)]
    boxes = folder / "vidor" / "validation"
    for number, frame_count in enumerate(frame_counts):
        place = boxes / f"{number // 100:04d}" / f"{_video(number)}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(_vidor(number, frame_count, chance)), encoding="utf-8")
    records = [_record(index % videos, frame_counts[index % videos], chance) for index in range(round(RECORDS * scale))]
    chance.shuffle(records)
    for index in range(round(QUESTIONS * scale)):
        record = records[index % len(records)]
        target = record["used_relation"]["subject_tid" if index < len(records) else "object_tid"]
        question = {"description": f"what is near the {CATEGORIES[target]}?", "type": "object", "target_id": target}
        record["questions"].append(question)
    annotations = folder / "annotations"
    annotations.mkdir(parents=True, exist_ok=True)
    (annotations / "test_annotations.json").write_text(json.dumps(records), encoding="utf-8")


def _video(number: int) -> str:
    return f"{2_000_000_000 + 7919 * number}"


def _objects() -> list[dict[str, Any]]:
    return [{"tid": number, "category": CATEGORIES[number]} for number in range(OBJECTS)]


def _vidor(number: int, frame_count: int, chance: random.Random) -> dict[str, Any]:
    trajectories = []
    corners = [[chance.randrange(0, WIDTH - 100), chance.randrange(0, HEIGHT - 100)] for _ in range(OBJECTS)]
    for frame in range(frame_count):
        entries = []
        for tid, (x, y) in enumerate(corners):
            box = {"xmin": x, "ymin": y, "xmax": x + 40 + frame % 60, "ymax": y + 40 + frame % 50}
            entries.append({"tid": tid, "bbox": box, "generated": frame % 2, "tracker": "none"})
        trajectories.append(entries)
    return {
        "version": "VERSION 1.0",
        "video_id": _video(number),
        "video_hash": "",
        "video_path": f"{number // 100:04d}/{_video(number)}.mp4",
        "frame_count": frame_count,
        "fps": 29.97002997002997,
        "width": WIDTH,
        "height": HEIGHT,
        "subject/objects": _objects(),
        "trajectories": trajectories,
        "relation_instances": [],
    }


def _record(number: int, frame_count: int, chance: random.Random) -> dict[str, Any]:
    begin = chance.randrange(0, frame_count - 60)
    end = chance.randrange(begin + 30, frame_count + 1)
    subject, thing = chance.sample(range(OBJECTS), 2)
    return {
        "vid": _video(number),
        "fps": 29.97002997002997,
        "frame_count": frame_count,
        "used_segment": {"begin_fid": 0, "end_fid": frame_count - 1},
        "width": WIDTH,
        "height": HEIGHT,
        "subject/objects": _objects(),
        "used_relation": {
            "subject_tid": subject,
            "object_tid": thing,
            "predicate": "next_to",
            "begin_fid": begin,
            "end_fid": end,
        },
        "temporal_gt": {"begin_fid": begin, "end_fid": end},
        "captions": [
            {
                "description": f"the {CATEGORIES[subject]} is next to the {CATEGORIES[thing]}.",
                "type": "object",
                "target_id": subject,
            }
        ],
        "questions": [],
    }


def measure(folder: Path) -> None:
    """Read a folder through, and print sentences, seconds and the largest memory of this process."""
    from stvg_core.inputs.datasets import open_dataset

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter(), time.process_time()
    samples = boxes = broken = 0
    for entry in open_dataset("vidstg", folder).entries():
        if entry.sample is None or entry.sample.truth is None:
            broken += 1
            continue
        samples += 1
        boxes += len(entry.sample.truth.boxes_xyxy)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(file.stat().st_size for file in folder.rglob("*.json"))
    sys.stdout.write(
        f"{samples} sentences, {boxes} boxes, {broken} broken, {size / 1e6:.0f} MB of JSON: "
        f"{time.perf_counter() - wall:.1f} s by the clock, {time.process_time() - processor:.1f} s of the processor, "
        f"peak memory {after / 1024:.0f} MiB ({before / 1024:.0f} MiB before reading)\n"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="folder to write")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the published size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", type=Path, help="folder to read through")
    arguments = parser.parse_args()
    if arguments.out is not None:
        write(arguments.out, arguments.scale, arguments.seed)
    if arguments.measure is not None:
        measure(arguments.measure)


if __name__ == "__main__":
    main()
