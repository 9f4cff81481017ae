"""Tasks of Label Studio: a video's rectangle over time and its span on the time line; frames count from 1.

Corners are percent of the image. Label Studio draws a line between key boxes while `enabled`; the last one is not,
which ends the rectangle at its frame.
"""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from stvg_core.evaluation.exports.samples import ExportedSample, ExportedTube, ExportedVideo, dump_rows
from stvg_core.evaluation.exports.sources import ExportSource

_PERCENT: Final = 100.0
_DIGITS: Final = 6
_CONFIG: Final = """<View>
  <Header value="$query"/>
  <Video name="video" value="$video" framerate="$fps"/>
  <TimelineLabels name="span" toName="video">
    <Label value="described"/>
  </TimelineLabels>
  <VideoRectangle name="box" toName="video"/>
  <Labels name="label" toName="video" allowEmpty="true">
    <Label value="described object"/>
  </Labels>
</View>
"""


def write_label_studio(folder: Path, source: ExportSource, prefix: str = "") -> None:
    """Write tasks.json, a task per sample, and config.xml, the labelling configuration that fits.

    Args:
        folder: where to.
        source: predictions become predictions, truth becomes an annotation that is marked as ground truth.
        prefix: put before the path of a video in the place of nothing, such as "/data/local-files/?d=videos/"; the
            path is then quoted as URLs are.
    """
    with (folder / "tasks.json").open("w", encoding="utf-8") as file:
        file.writelines(dump_rows(_task(sample, source.model, prefix) for sample in source.samples()))
    (folder / "config.xml").write_text(_CONFIG, encoding="utf-8")


def _task(sample: ExportedSample, model: str, prefix: str) -> dict[str, Any]:
    path = sample.video.path
    task: dict[str, Any] = {
        "data": {
            "video": prefix + quote(path) if prefix else path,
            "query": sample.query,
            "sample": sample.sample_id,
            "fps": round(sample.video.fps, _DIGITS),
        }
    }
    if sample.prediction is not None:
        task["predictions"] = [{"model_version": model, "result": _results(sample, sample.prediction)}]
    if sample.truth is not None:
        task["annotations"] = [{"ground_truth": True, "result": _results(sample, sample.truth)}]
    return task


def _results(sample: ExportedSample, tube: ExportedTube) -> list[dict[str, Any]]:
    video = sample.video
    values: dict[str, tuple[str, dict[str, Any]]] = {
        "box": (
            "videorectangle",
            {
                "framesCount": video.frame_count,
                "duration": round(video.frame_count / video.fps, _DIGITS),
                "sequence": _sequence(video, tube),
                "labels": ["described object"],
            },
        ),
        "span": (
            "timelinelabels",
            {
                "ranges": [{"start": tube.start_frame + 1, "end": tube.end_frame + 1}],
                "timelinelabels": ["described"],
            },
        ),
    }
    return [
        {
            "id": f"{tube.role}-{name}",
            "type": kind,
            "from_name": name,
            "to_name": "video",
            "origin": "prediction" if tube.role == "prediction" else "manual",
            "value": value,
        }
        for name, (kind, value) in values.items()
    ]


def _sequence(video: ExportedVideo, tube: ExportedTube) -> list[dict[str, Any]]:
    across, down = _PERCENT / video.width, _PERCENT / video.height
    return [
        {
            "frame": frame + 1,
            "time": round((frame + 1) / video.fps, _DIGITS),
            "enabled": frame < tube.end_frame,
            "rotation": 0,
            "x": round(left * across, _DIGITS),
            "y": round(top * down, _DIGITS),
            "width": round((right - left) * across, _DIGITS),
            "height": round((bottom - top) * down, _DIGITS),
        }
        for frame, (left, top, right, bottom) in tube.key_boxes
    ]
