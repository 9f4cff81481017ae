"""Our boxes and labels beside those of the library supervision: time, weight, and a picture to look at.

python benchmarks/drawing.py --out drawing.png      (supervision comes with the test dependencies)
"""

import argparse
import importlib.metadata
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import supervision
from packaging.requirements import Requirement
from PIL import Image

from stvg_core.devtools.demos import find_demos
from stvg_core.inputs.video import iterate_frames, probe_video
from stvg_core.outputs.report.drawing import draw_box
from stvg_core.outputs.report.track_drawing import COLORS, draw_tracks
from stvg_core.values import Track, VideoInfo

SIDE = 640
LABELS = ("purple ring", "der Mann mit Hut \u00e4\u00f6\u00fc", "\u7537\u4eba\u8d70\u8def", "\N{GRINNING FACE} yellow")
BOXES = np.array([[68.0, 140, 225, 300], [200, 150, 360, 320], [300, 320, 420, 470], [470, 470, 560, 640]])
ROUNDS = 50


def main() -> None:
    """Print what both cost, and write the picture: ours, LabelAnnotator, RichLabelAnnotator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    clip = find_demos()[0].video
    info = probe_video(clip)
    (_, frame) = next(iter(iterate_frames(clip, info, 64, 64)))
    picture = cv2.resize(frame, (SIDE, SIDE))
    square = VideoInfo("clip", SIDE, SIDE, 10.0, 0.1, np.zeros(1))
    tracks = [Track(np.array([0]), box[None], label) for box, label in zip(BOXES, LABELS, strict=True)]
    palette = supervision.ColorPalette(colors=[supervision.Color(*color) for color in COLORS[: len(BOXES)]])
    found = supervision.Detections(xyxy=BOXES, class_id=np.arange(len(BOXES)))
    boxes = supervision.BoxAnnotator(color=palette, thickness=3)
    plain = supervision.LabelAnnotator(color=palette, text_scale=0.45, text_padding=3)
    rich = supervision.RichLabelAnnotator(color=palette, font_size=14, text_padding=3)
    texts = [f"{number} {label}" for number, label in enumerate(LABELS, 1)]

    def theirs(labels: object) -> np.ndarray:
        drawn = boxes.annotate(picture[..., ::-1].copy(), found)
        return np.ascontiguousarray(labels.annotate(drawn, found, labels=texts)[..., ::-1])  # type: ignore[attr-defined]

    def our_boxes() -> None:
        drawn = picture.copy()
        for box, color in zip(BOXES, COLORS, strict=False):
            draw_box(drawn, box, color, 3)

    for name, draw in {
        "our boxes": our_boxes,
        "BoxAnnotator": lambda: boxes.annotate(picture.copy(), found),
        "our boxes and labels": lambda: draw_tracks(picture, tracks, 0, square, 3),
        "BoxAnnotator and LabelAnnotator": lambda: theirs(plain),
        "BoxAnnotator and RichLabelAnnotator": lambda: theirs(rich),
    }.items():
        tell(f"{name}: {milliseconds(draw):.2f} ms processor time a frame of {SIDE} x {SIDE}")
    for module in ("stvg_core.outputs.report.track_drawing", "supervision"):
        tell(f"import {module}: {seconds_to_import(module):.2f} s processor time")
    tell(f"beyond what stvg-core installs: {sum(further('supervision').values()):.0f} MB, {further('supervision')}")
    Image.fromarray(np.hstack([draw_tracks(picture, tracks, 0, square, 3), theirs(plain), theirs(rich)])).save(
        arguments.out
    )


def tell(line: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{line}\n")


def milliseconds(draw: Callable[[], object]) -> float:
    """Return processor time of a call, after one that is not counted."""
    draw()
    start = time.process_time()
    for _ in range(ROUNDS):
        draw()
    return 1000 * (time.process_time() - start) / ROUNDS


def seconds_to_import(module: str) -> float:
    """Return processor time that an import adds to Python with numpy, cv2 and Pillow, the best of five."""

    def once(extra: str) -> float:
        code = f"import time, numpy, cv2, PIL.Image; s = time.process_time(); {extra}; print(time.process_time() - s)"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
        return float(ran.stdout)

    return min(once(f"import {module}") for _ in range(5))


def further(name: str) -> dict[str, float]:
    """Return size in MB of every installed distribution that a name needs and the core does not."""
    core: dict[str, float] = {}
    collect("stvg-core", core)
    everything = dict(core)
    collect(name, everything)
    return {one: round(size, 1) for one, size in everything.items() if one not in core}


def collect(name: str, found: dict[str, float]) -> None:
    """Add a distribution and what it requires."""
    plain = re.sub(r"[-_.]+", "-", name).lower()
    if plain in found:
        return
    distribution = importlib.metadata.distribution(plain)
    paths = [Path(str(file.locate())) for file in distribution.files or ()]
    found[plain] = sum(path.stat().st_size for path in paths if path.exists()) / 1e6
    for text in distribution.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            collect(requirement.name, found)


if __name__ == "__main__":
    main()
