"""Text files of the MOT Challenge: a folder per video with seqinfo.ini, gt/gt.txt and det/det.txt.

Frames and ids count from 1; left and top are pixels from 0, as readers of such files take them.
"""

from collections import Counter
from pathlib import Path
from typing import Final

from stvg_core.evaluation.exports.samples import ExportedTube, ExportedVideo, FileNames
from stvg_core.evaluation.exports.sources import ExportSource

_FILES: Final = {"prediction": ("det", "det.txt"), "truth": ("gt", "gt.txt")}
# Confidence and an unknown place in the world; of the truth: is counted, class 1, seen whole.
_TAILS: Final = {"prediction": "1,-1,-1,-1", "truth": "1,1,1"}


def write_mot(folder: Path, source: ExportSource) -> None:
    """Write a folder per video; a sample's track has the same id in truth and prediction."""
    names, identities = FileNames(), Counter[str]()
    for sample in source.samples():
        name = names.of_video(sample.video)
        sequence = folder / name
        if name not in identities:
            sequence.mkdir()
            (sequence / "seqinfo.ini").write_text(_sequence_info(name, sample.video), encoding="utf-8")
        identities[name] += 1
        for tube in sample.tubes:
            place, file_name = _FILES[tube.role]
            (sequence / place).mkdir(exist_ok=True)
            with (sequence / place / file_name).open("a", encoding="ascii", newline="\n") as file:
                file.writelines(_lines(tube, identities[name]))


def _lines(tube: ExportedTube, identity: int) -> list[str]:
    return [
        f"{frame + 1},{identity},{left:.3f},{top:.3f},{right - left:.3f},{bottom - top:.3f},{_TAILS[tube.role]}\n"
        for frame, (left, top, right, bottom) in tube.boxes
    ]


def _sequence_info(name: str, video: ExportedVideo) -> str:
    # Readers take the frame rate as a whole number.
    values = {
        "name": name,
        "imDir": "img1",
        "frameRate": max(1, round(video.fps)),
        "seqLength": video.frame_count,
        "imWidth": video.width,
        "imHeight": video.height,
        "imExt": ".jpg",
    }
    return "[Sequence]\n" + "".join(f"{key}={value}\n" for key, value in values.items())
