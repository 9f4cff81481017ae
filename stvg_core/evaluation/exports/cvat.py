"""XML of CVAT for video, version 1.1: a file per video, a track per tube; frames count from 0.

CVAT draws a line between key boxes; a track ends with a box that is `outside`.
"""

from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from stvg_core.evaluation.exports.samples import ExportedSample, ExportedTube, ExportedVideo, FileNames
from stvg_core.evaluation.exports.sources import ExportSource

_ATTRIBUTES: Final = ("sample", "query")
_SOURCES: Final = {"prediction": "auto", "truth": "manual"}
_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
_TAIL: Final = "</annotations>\n"


def write_cvat(folder: Path, source: ExportSource) -> None:
    """Write a file per video, to be uploaded as annotations of a task that holds this video."""
    names, counts = FileNames(), dict[Path, int]()
    for sample in source.samples():
        path = folder / f"{names.of_video(sample.video)}.xml"
        with path.open("a", encoding="utf-8") as file:
            if path not in counts:
                counts[path] = 0
                file.write(_HEAD + _text(_meta(sample.video)))
            for tube in sample.tubes:
                file.write(_text(_track(counts[path], sample, tube)))
                counts[path] += 1
    for path in counts:
        with path.open("a", encoding="utf-8") as file:
            file.write(_TAIL)


def _meta(video: ExportedVideo) -> Element:
    meta = Element("meta")
    task = SubElement(meta, "task")
    _fill(task, {"name": video.path, "size": video.frame_count, "mode": "interpolation", "overlap": 0})
    _fill(task, {"start_frame": 0, "stop_frame": video.frame_count - 1, "frame_filter": ""})
    labels = SubElement(task, "labels")
    for role in _SOURCES:
        label = SubElement(labels, "label")
        _fill(label, {"name": role, "type": "rectangle"})
        attributes = SubElement(label, "attributes")
        for name in _ATTRIBUTES:
            values = {"name": name, "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
            _fill(SubElement(attributes, "attribute"), values)
    _fill(SubElement(task, "original_size"), {"width": video.width, "height": video.height})
    _fill(task, {"source": video.path})
    return meta


def _track(number: int, sample: ExportedSample, tube: ExportedTube) -> Element:
    track = Element("track", {"id": str(number), "label": tube.role, "source": _SOURCES[tube.role]})
    for frame, xyxy in tube.key_boxes:
        _box(track, frame, xyxy, sample)
    if tube.end_frame + 1 < sample.video.frame_count:
        _box(track, tube.end_frame + 1, tube.boxes[-1][1], sample, outside=True)
    return track


def _box(track: Element, frame: int, xyxy: list[float], sample: ExportedSample, *, outside: bool = False) -> None:
    corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{corner:.3f}" for corner in xyxy), strict=True))
    states = {"frame": str(frame), "keyframe": "1", "outside": str(int(outside)), "occluded": "0"}
    box = SubElement(track, "box", {**states, **corners, "z_order": "0"})
    for name, text in zip(_ATTRIBUTES, (sample.sample_id, sample.query), strict=True):
        SubElement(box, "attribute", {"name": name}).text = text


def _fill(parent: Element, values: dict[str, Any]) -> None:
    for name, value in values.items():
        SubElement(parent, name).text = str(value)


def _text(element: Element) -> str:
    indent(element, space="  ", level=1)
    return f"  {tostring(element, encoding='unicode')}\n"
