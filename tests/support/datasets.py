"""Small valid files of every format, and how to walk and change them."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stvg_core.inputs.datasets import Entry, open_dataset

Document = Any
Place = tuple[str | int, ...]


def hcstvg_v1() -> Document:
    def clip(first: int, words: str) -> dict[str, Any]:
        return {
            "bbox": [[10, 20, 30, 40], [11.5, 21, 30, 40], [12, 22, 30, 40]],
            "st_time": 0.4,
            "ed_time": 0.6,
            "st_frame": first,
            "img_num": 20,
            "caption": words,
            "width": 64,
            "height": 96,
        }

    return {"1_a.mp4": clip(5, "The man turns."), "2_b.mkv": clip(18, "The woman sits.")}


def hcstvg_v2() -> Document:
    found = hcstvg_v1()
    for clip in found.values():
        clip["English"] = clip.pop("caption")
        clip["img_size"] = [clip.pop("height"), clip.pop("width")]
    return found


def thinned() -> Document:
    found = hcstvg_v2()
    found["1_a.mp4"]["st_frame"] = 0
    found["2_b.mkv"]["st_frame"] = 17
    return found


def vidstg() -> Document:
    def record(vid: str, begin: int, end: int) -> dict[str, Any]:
        return {
            "vid": vid,
            "fps": 25,
            "frame_count": 12,
            "width": 64,
            "height": 96,
            "subject/objects": [{"tid": 0, "category": "adult"}, {"tid": 1, "category": "dog"}],
            "used_segment": {"begin_fid": 1, "end_fid": 11},
            "used_relation": {
                "subject_tid": 0,
                "object_tid": 1,
                "predicate": "hold",
                "begin_fid": begin,
                "end_fid": end,
            },
            "temporal_gt": {"begin_fid": begin, "end_fid": end},
            "captions": [{"description": "an adult holds a dog.", "type": "person", "target_id": 0}],
            "questions": [{"description": "what is held?", "type": "object", "target_id": 1}],
        }

    # The end of the second equals the number of frames: it is the frame after the last.
    return [record("100", 3, 6), record("200", 9, 12), record("100", 4, 5)]


def vidor() -> Document:
    return {
        "version": "VERSION 1.0",
        "video_id": "100",
        "frame_count": 12,
        "subject/objects": [{"tid": 0, "category": "adult"}, {"tid": 1, "category": "dog"}],
        "trajectories": [
            [
                {
                    "tid": tid,
                    "bbox": {"xmin": tid + frame, "ymin": 2, "xmax": 20 + frame, "ymax": 30.5},
                    "generated": 0,
                    "tracker": "none",
                }
                for tid in (0, 1)
            ]
            for frame in range(12)
        ],
    }


def simple() -> Document:
    return [
        {
            "id": "first",
            "video": "clips/a.mp4",
            "query": "The man turns.",
            "query_type": "declarative",
            "frame_count": 20,
            "fps": 25.0,
            "width": 64,
            "height": 96,
            "tube": {"start_frame": 3, "end_frame": 4, "boxes": {"3": [1, 2, 30, 40], "4": [2, 2, 31, 40]}},
        },
        {"id": "second", "video": "b.mp4", "query": "who turns?"},
    ]


@dataclass(frozen=True)
class Format:
    """One format: its files, and where they lie in the layout that is written here."""

    dataset: str
    document: Callable[[], Document]
    file: str
    videos: tuple[str, ...]
    split: str | None = None

    def write(self, root: Path, document: Document | None = None, boxes: Document | None = None) -> Path:
        self.write_text(root, json.dumps(self.document() if document is None else document))
        for name in self.videos:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        if self.dataset.startswith("vidstg"):
            (root / "bbox_annos").mkdir(exist_ok=True)
            (root / "bbox_annos/100.json").write_text(json.dumps(vidor() if boxes is None else boxes))
            (root / "bbox_annos/200.json").write_text(json.dumps(vidor()))
        return root

    def write_text(self, root: Path, text: str) -> Path:
        (root / self.file).parent.mkdir(parents=True, exist_ok=True)
        (root / self.file).write_text(text, encoding="utf-8")
        return root

    def entries(self, root: Path, *, corrections: bool = True) -> list[Entry]:
        return list(open_dataset(self.dataset, root, split=self.split).entries(corrections=corrections))


FORMATS = {
    "hcstvg-v1": Format("hcstvg-v1", hcstvg_v1, "annos/hcstvg_v1/test.json", ("v1_video/1_a.mp4", "v1_video/2_b.mkv")),
    "hcstvg-v2": Format("hcstvg-v2", hcstvg_v2, "annos/hcstvg_v2/val.json", ("v2_video/1_a.mp4", "v2_video/2_b.mkv")),
    "hcstvg-v2-thinned": Format(
        "hcstvg-v2-thinned", thinned, "annos/hcstvg/val_proc.json", ("v2_video/1_a.mp4", "v2_video/2_b.mkv")
    ),
    "vidstg": Format("vidstg", vidstg, "sent_annos/test_annotations.json", ("videos/100.mp4", "videos/200.mp4")),
    "folder": Format("folder", simple, "samples.json", ("clips/a.mp4", "b.mp4")),
}


def places(document: Document, at: Place = ()) -> Iterator[Place]:
    """Yield the place of every value in a document, containers included."""
    if at:
        yield at
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*at, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from places(value, (*at, index))


def value_at(document: Document, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def changed(document: Document, place: Place, value: Any) -> Document:
    """Return a copy with another value at one place."""
    found = copy.deepcopy(document)
    value_at(found, place[:-1])[place[-1]] = value
    return found


def without(document: Document, place: Place) -> Document:
    """Return a copy without the value at one place."""
    found = copy.deepcopy(document)
    del value_at(found, place[:-1])[place[-1]]
    return found


def kinds(entries: list[Entry]) -> set[str]:
    return {problem.kind for entry in entries for problem in entry.problems}


def usable(entries: list[Entry]) -> list[str]:
    return [entry.sample.sample_id for entry in entries if entry.sample is not None]
