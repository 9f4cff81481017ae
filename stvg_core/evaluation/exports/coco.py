"""COCO's JSON, the variant for videos: `videos`, an image per frame, annotations with a track.

Ids count from 1 as COCO's do, `frame_id` from 0 as the readers of this variant expect it; a bbox is
[x, y, width, height] in pixels, x and y from 0.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from stvg_core.evaluation.exports.samples import (
    ExportedSample,
    ExportedTube,
    ExportedVideo,
    ExportSource,
    FileNames,
    Role,
    without_ending,
)

LABEL: Final = "described object"
_DIGITS: Final = 3
_FILES: Final[dict[Role, str]] = {"prediction": "predictions.json", "truth": "truth.json"}


def write_coco(folder: Path, source: ExportSource) -> None:
    """Write predictions.json, and truth.json where there is any; both have the same videos and images.

    Images are the frames with a box in either file; their files are named as ffmpeg would number all frames of the
    video from 1 on.
    """
    index = _Index.of(source.samples())
    for role, name in _FILES.items():
        if role == "prediction" or role in index.roles:
            with (folder / name).open("w", encoding="utf-8") as file:
                info = {"description": f"{role}s of {source.model}" if source.model else f"{role}s"}
                file.write(f'{{"info": {json.dumps(info)}, "licenses": [],\n')
                categories = [{"id": 1, "name": LABEL, "supercategory": "object"}]
                file.write(f'"categories": {json.dumps(categories)}')
                sections = {
                    "videos": index.video_rows(),
                    "tracks": index.track_rows(source.samples(), role),
                    "images": index.image_rows(),
                    "annotations": index.annotation_rows(source.samples(), role),
                }
                for section, rows in sections.items():
                    file.write(f',\n"{section}": [')
                    for number, row in enumerate(rows):
                        file.write((",\n" if number else "\n") + json.dumps(row, allow_nan=False))
                    file.write("]")
                file.write("}\n")


class _Index:
    """Ids of videos and images; the same for both files."""

    def __init__(self) -> None:
        self.roles: set[Role] = set()
        self._videos: dict[str, tuple[int, ExportedVideo]] = {}
        self._frames: dict[str, set[int]] = defaultdict(set)
        self._images: dict[tuple[str, int], int] = {}
        self._names = FileNames()

    @classmethod
    def of(cls, samples: Iterable[ExportedSample]) -> "_Index":
        """Return the index of all samples."""
        index = cls()
        for sample in samples:
            path = sample.video.path
            index._videos.setdefault(path, (len(index._videos) + 1, sample.video))
            for tube in sample.tubes:
                index.roles.add(tube.role)
                index._frames[path].update(tube.frames.tolist())
        for path in index._videos:
            for frame in sorted(index._frames[path]):
                index._images[path, frame] = len(index._images) + 1
        return index

    def video_rows(self) -> Iterator[dict[str, Any]]:
        for path, (number, video) in self._videos.items():
            yield {
                "id": number,
                "name": path,
                "folder": self._names.of(without_ending(path)),
                "width": video.width,
                "height": video.height,
                "length": video.frame_count,
                "fps": video.fps,
            }

    def image_rows(self) -> Iterator[dict[str, Any]]:
        for (path, frame), number in self._images.items():
            video_number, video = self._videos[path]
            yield {
                "id": number,
                "video_id": video_number,
                "frame_id": frame,
                "file_name": f"{self._names.of(without_ending(path))}/{frame + 1:06d}.jpg",
                "width": video.width,
                "height": video.height,
            }

    def track_rows(self, samples: Iterable[ExportedSample], role: Role) -> Iterator[dict[str, Any]]:
        for track, sample, tube in _tubes_of(samples, role):
            yield {
                "id": track,
                "video_id": self._videos[sample.video.path][0],
                "category_id": 1,
                "sample_id": sample.sample_id,
                "query": sample.query,
                "start_frame": tube.start_frame,
                "end_frame": tube.end_frame,
            }

    def annotation_rows(self, samples: Iterable[ExportedSample], role: Role) -> Iterator[dict[str, Any]]:
        number = 0
        for track, sample, tube in _tubes_of(samples, role):
            for frame, (left, top, right, bottom) in zip(tube.frames.tolist(), tube.boxes_xyxy.tolist(), strict=True):
                number += 1
                width, height = right - left, bottom - top
                yield {
                    "id": number,
                    "image_id": self._images[sample.video.path, frame],
                    "video_id": self._videos[sample.video.path][0],
                    "category_id": 1,
                    "track_id": track,
                    "bbox": [round(value, _DIGITS) for value in (left, top, width, height)],
                    "area": round(width * height, _DIGITS),
                    "iscrowd": 0,
                    "segmentation": [],
                } | ({"score": 1.0} if role == "prediction" else {})


def _tubes_of(samples: Iterable[ExportedSample], role: Role) -> Iterator[tuple[int, ExportedSample, ExportedTube]]:
    """Yield the tubes of a role; a sample's track has the same number, from 1, in both files."""
    for number, sample in enumerate(samples, 1):
        for tube in sample.tubes:
            if tube.role == role:
                yield number, sample, tube
