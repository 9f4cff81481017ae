"""COCO's JSON, the variant for videos: `videos`, an image per frame, annotations with a track.

Ids count from 1 as COCO's do, `frame_id` from 0 as the readers of this variant expect it; a bbox is
[x, y, width, height] in pixels, x and y from 0.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from stvg_core.evaluation.exports.samples import ExportedSample, ExportedTube, ExportedVideo, FileNames, Role, dump_rows
from stvg_core.evaluation.exports.sources import ExportSource

LABEL: Final = "described object"
_DIGITS: Final = 3
_FILES: Final[dict[Role, str]] = {"prediction": "predictions.json", "truth": "truth.json"}


def write_coco(folder: Path, source: ExportSource) -> None:
    """Write predictions.json, and truth.json where there is any; both have the same videos and images.

    Images are the frames with a box in either file; their files are named as ffmpeg would number all frames of the
    video from 1 on.
    """
    writer = _Writer(source)
    for role, name in _FILES.items():
        if role == "prediction" or role in writer.roles:
            with (folder / name).open("w", encoding="utf-8") as file:
                info = {"description": f"{role}s of {source.model}" if source.model else f"{role}s"}
                categories = [{"id": 1, "name": LABEL, "supercategory": "object"}]
                file.write(f'{{"info": {json.dumps(info)}, "licenses": [],\n"categories": {json.dumps(categories)}')
                sections = {
                    "videos": writer.video_rows(),
                    "tracks": writer.track_rows(role),
                    "images": writer.image_rows(),
                    "annotations": writer.annotation_rows(role),
                }
                for section, rows in sections.items():
                    file.write(f',\n"{section}": ')
                    file.writelines(dump_rows(rows))
                file.write("}\n")


class _Writer:
    """Yields rows of the sections; ids of videos and images are the same for both files."""

    def __init__(self, source: ExportSource) -> None:
        self.roles: set[Role] = set()
        self._source = source
        self._videos: dict[str, ExportedVideo] = {}
        frames: dict[str, set[int]] = defaultdict(set)
        for sample in source.samples():
            self._videos.setdefault(sample.video.path, sample.video)
            for tube in sample.tubes:
                self.roles.add(tube.role)
                frames[sample.video.path].update(tube.frames.tolist())
        names = FileNames()
        self._folders = {path: names.of_video(video) for path, video in self._videos.items()}
        self._video_ids = {path: number for number, path in enumerate(self._videos, 1)}
        images = ((path, frame) for path in self._videos for frame in sorted(frames[path]))
        self._image_ids = {image: number for number, image in enumerate(images, 1)}

    def video_rows(self) -> Iterator[dict[str, Any]]:
        for path, video in self._videos.items():
            yield {
                "id": self._video_ids[path],
                "name": path,
                "folder": self._folders[path],
                "width": video.width,
                "height": video.height,
                "length": video.frame_count,
                "fps": video.fps,
            }

    def image_rows(self) -> Iterator[dict[str, Any]]:
        for (path, frame), number in self._image_ids.items():
            yield {
                "id": number,
                "video_id": self._video_ids[path],
                "frame_id": frame,
                "file_name": f"{self._folders[path]}/{frame + 1:06d}.jpg",
                "width": self._videos[path].width,
                "height": self._videos[path].height,
            }

    def track_rows(self, role: Role) -> Iterator[dict[str, Any]]:
        for track, sample, tube in self._tubes(role):
            yield {
                "id": track,
                "video_id": self._video_ids[sample.video.path],
                "category_id": 1,
                "sample_id": sample.sample_id,
                "query": sample.query,
                "start_frame": tube.start_frame,
                "end_frame": tube.end_frame,
            }

    def annotation_rows(self, role: Role) -> Iterator[dict[str, Any]]:
        boxes = ((track, sample, *box) for track, sample, tube in self._tubes(role) for box in tube.boxes)
        for number, (track, sample, frame, (left, top, right, bottom)) in enumerate(boxes, 1):
            width, height = right - left, bottom - top
            yield {
                "id": number,
                "image_id": self._image_ids[sample.video.path, frame],
                "video_id": self._video_ids[sample.video.path],
                "category_id": 1,
                "track_id": track,
                "bbox": [round(value, _DIGITS) for value in (left, top, width, height)],
                "area": round(width * height, _DIGITS),
                "iscrowd": 0,
                "segmentation": [],
            } | ({"score": 1.0} if role == "prediction" else {})

    def _tubes(self, role: Role) -> Iterator[tuple[int, ExportedSample, ExportedTube]]:
        """Yield the tubes of a role; a sample's track has the same number, from 1, in both files."""
        for number, sample in enumerate(self._source.samples(), 1):
            for tube in sample.tubes:
                if tube.role == role:
                    yield number, sample, tube
