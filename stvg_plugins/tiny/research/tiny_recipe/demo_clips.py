"""Make the shipped demo clips: `python -m tiny_recipe.demo_clips FOLDER --model CHECKPOINT`.

The easy clip is the first easy scene of the demo split that the checkpoint grounds well, the
hard one the first hard scene on which it fails: chosen to be shown, not to be counted.
Each is an H.264 file with its true tube in demos.json.
"""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

import torch

from stvg_core.api.grounder import ground
from stvg_core.host.session import Session, open_session
from stvg_core.metrics import tube_overlap
from stvg_tiny.clips import clip_info, clip_pixels, query, true_tube, write_clip
from stvg_tiny.errors import SceneError
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import Difficulty

DEMO_PIXELS: Final = 384
MODEL_NAME: Final = "tiny:qwen2-vl"
_SCENES_TRIED: Final = 50
_GOOD_VIDEO_IOU: Final = 0.6
_BAD_VIDEO_IOU: Final = 0.2
_NOTES: Final[dict[Difficulty, str]] = {
    "easy": "an easy query that this tiny model grounds",
    "hard": "a hard query that it gets wrong: another object looks alike, a third moves alike",
}


def make_case(difficulty: Difficulty, folder: Path, session: Session) -> dict[str, Any]:
    """Write the first scene that shows what is wanted, and return its entry of demos.json.

    Raises:
        SceneError: none of the scenes tried shows it.
    """
    path = folder / f"{difficulty}.mp4"
    for index in range(_SCENES_TRIED):
        scene = held_out_scene(Split.DEMO, index, difficulty)
        write_clip(path, clip_pixels(scene, DEMO_PIXELS))
        truth = true_tube(scene, DEMO_PIXELS)
        reached = tube_overlap(ground(path, query(scene), model=session).tube, truth).video_iou
        sys.stdout.write(f"{difficulty} scene {index}: {query(scene)} vIoU {reached:.3f}\n")
        if reached > _GOOD_VIDEO_IOU if difficulty == "easy" else reached < _BAD_VIDEO_IOU:
            return {
                "name": difficulty,
                "video": path.name,
                "query": query(scene),
                "model": MODEL_NAME,
                "note": _NOTES[difficulty],
                "truth": {"start_frame": truth.start_frame, "boxes_xyxy": truth.boxes_xyxy.round(2).tolist()},
            }
    raise SceneError(f"expected one of {_SCENES_TRIED} {difficulty} scenes to show the case, none did; try more")


def main() -> None:
    """Write both clips and demos.json."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=MODEL_NAME)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    difficulties: tuple[Difficulty, ...] = ("easy", "hard")
    with open_session(arguments.model) as session:
        cases = [make_case(difficulty, arguments.folder, session) for difficulty in difficulties]
    target = arguments.folder / "demos.json"
    target.write_text(json.dumps({"demos": cases}, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"written {target}, {clip_info(DEMO_PIXELS).duration_seconds} s each\n")


if __name__ == "__main__":
    main()
