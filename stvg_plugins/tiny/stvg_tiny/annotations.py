"""What a clip's files say of it: HC-STVG's records, the records of `stvg score`, and everything else.

Boxes are pixels of the clip, rounded to hundredths, so that the text is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from stvg_tiny.clips import CLIP_FRAMES, CLIP_FRAMES_PER_SECOND, QUERY_FORMS, Clip, QueryForm, query
from stvg_tiny.scenes import SceneObject, frame_times

DatasetVersion = Literal["hcstvg_v1", "hcstvg_v2"]
DATASET_VERSIONS: Final[tuple[DatasetVersion, ...]] = ("hcstvg_v1", "hcstvg_v2")
_DECIMALS: Final = 2

Record = dict[str, Any]


def file_name(clip: Clip) -> str:
    """Return the name of the clip's file, which is also its key in HC-STVG's layout."""
    return f"{clip.identifier}.mp4"


def hcstvg_record(clip: Clip, size_pixels: int, form: QueryForm, version: DatasetVersion) -> Record:
    """Return the clip's record in the layout of HC-STVG's own annotation files.

    `bbox` is (x, y, width, height) for each consecutive frame from `st_frame` on, which counts from
    1; `ed_time` is when the last of them leaves the screen. Version 1 has `caption`, `width` and
    `height` where version 2 has `English` and `img_size` (height, width).
    """
    first, last = clip.scene.target.span.frames(CLIP_FRAMES)
    boxes = _boxes(clip.scene.target, size_pixels)[first : last + 1]
    record: Record = {
        "bbox": [[x0, y0, *_rounded(np.array([x1 - x0, y1 - y0]))] for x0, y0, x1, y1 in boxes],
        "st_time": first / CLIP_FRAMES_PER_SECOND,
        "ed_time": (last + 1) / CLIP_FRAMES_PER_SECOND,
        "st_frame": first + 1,
        "img_num": CLIP_FRAMES,
    }
    sentence = query(clip.scene, form)
    if version == "hcstvg_v1":
        return record | {"caption": sentence, "width": size_pixels, "height": size_pixels}
    return record | {"English": sentence, "img_size": [size_pixels, size_pixels]}


def score_record(clip: Clip, size_pixels: int) -> Record:
    """Return the clip's record for `stvg score`: frames count from 0, both ends belong to the tube."""
    first, last = clip.scene.target.span.frames(CLIP_FRAMES)
    boxes = _boxes(clip.scene.target, size_pixels)
    return {
        "num_frames": CLIP_FRAMES,
        "start_frame": first,
        "end_frame": last,
        "boxes": {str(frame): boxes[frame] for frame in range(first, last + 1)},
    }


def scene_record(clip: Clip, size_pixels: int) -> Record:
    """Return the clip's queries, tags and true tracks; the first object is the target.

    An object's boxes cover the whole clip, also where it is hidden; `start_frame` and `end_frame`
    (0-based, inclusive) are when its action happens.
    """
    return {
        "queries": {form: query(clip.scene, form) for form in QUERY_FORMS},
        "tags": list(clip.tags),
        "objects": [_object_record(item, size_pixels) for item in clip.scene.objects],
    }


def _object_record(item: SceneObject, size_pixels: int) -> Record:
    first, last = item.span.frames(CLIP_FRAMES)
    return {
        "color": item.color,
        "shape": item.shape,
        "action": item.action,
        "start_frame": first,
        "end_frame": last,
        "boxes_xyxy": _boxes(item, size_pixels),
    }


def _boxes(item: SceneObject, size_pixels: int) -> list[list[float]]:
    return [_rounded(box) for box in item.boxes(frame_times(CLIP_FRAMES), size_pixels)]


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), _DECIMALS) for value in values]


def annotation_files(clips: Sequence[Clip], level: str, size_pixels: int) -> dict[str, dict[str, Record]]:
    """Return the annotation files of one level: path inside the benchmark's folder to content."""
    files = {
        f"{version}/{level}_{form}.json": {
            file_name(clip): hcstvg_record(clip, size_pixels, form, version) for clip in clips
        }
        for version in DATASET_VERSIONS
        for form in QUERY_FORMS
    }
    files[f"score/{level}.json"] = {clip.identifier: score_record(clip, size_pixels) for clip in clips}
    files[f"scenes/{level}.json"] = {clip.identifier: scene_record(clip, size_pixels) for clip in clips}
    return files
