"""What one branch alone, a random choice, and the best proposed track score on a run's samples, and other measures.

Computed from what a run stores beside its results (`keep_maps`); needs no model and no video.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from stvg_core.errors import RunError, ScoreError, StvgError
from stvg_core.evaluation.runs.scoring import predicted_tube
from stvg_core.evaluation.runs.store import RunStore, StoredResult
from stvg_core.evaluation.runs.tasks import ACTION_ONLY, ATTRIBUTE_ONLY, CONTROLS_KEY, RANDOM, Task
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.metrics import METRIC_NAMES, SampleTruth, ScoringProtocol, box_iou
from stvg_core.metrics.files import parse_annotation
from stvg_core.metrics.summary import metric_values, score_samples
from stvg_core.outputs.report.kept_maps import check_maps
from stvg_core.values import Track, VideoInfo, as_boxes

BEST_TRACK: Final = "best track, own span"
BEST_TRACK_TRUE_SPAN: Final = "best track, true span"
CONTROLS: Final = (ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM, BEST_TRACK, BEST_TRACK_TRUE_SPAN)
COVERED: Final = 0.25
"""A cell belongs to the true object where its box covers this share of it."""

Values = dict[str, Float64[np.ndarray, " metric"]]
"""Scores by sample, in the order of METRIC_NAMES."""


@dataclass(frozen=True)
class _Sample:
    """A sample that has a truth and a result."""

    sample_id: str
    task: Task
    truth: SampleTruth
    result: StoredResult
    maps: Mapping[str, Any]


def score_controls(folder: Path, protocol: ScoringProtocol) -> dict[str, Values]:
    """Return what each control scores on the samples of a run; nothing where the run keeps none.

    A sample that failed counts as 0 under every control, as in the run's own score.

    Raises:
        RunError: there is no run, or it cannot be read.
    """
    scores: dict[str, Values] = {name: {} for name in CONTROLS}
    failed = []
    for sample in _samples(folder):
        if sample.result.document is None:
            failed.append(sample.sample_id)
        elif CONTROLS_KEY in sample.maps:
            for name, values in _damaged_as_none(partial(_score, sample, protocol)).items():
                scores[name][sample.sample_id] = values
    if not scores[RANDOM]:
        return {}
    zeros = dict.fromkeys(failed, np.zeros(len(METRIC_NAMES)))
    return {name: values | zeros for name, values in scores.items()}


def measure_run(folder: Path) -> dict[str, dict[str, float]]:
    """Return what is measured beside the score (docs/ablate.md), by measure and sample.

    Raises:
        RunError: there is no run, or it cannot be read.
    """
    measures: dict[str, dict[str, float]] = {}
    for sample in _samples(folder):
        if sample.result.document is None:
            continue
        for measure in (_prompts, _span, _points):
            for name, value in _damaged_as_none(partial(measure, sample, sample.result.document)).items():
                if np.isfinite(value):
                    measures.setdefault(name, {})[sample.sample_id] = value
    return measures


def _samples(folder: Path) -> Iterator[_Sample]:
    with RunStore(folder, write=False) as store:
        for sample, result in store.samples_with_results():
            if sample.task is None or sample.annotation is None or result is None:
                continue
            truth = parse_annotation(sample.annotation)
            if not isinstance(truth, ScoreError):
                maps = store.maps(sample.sample_id) or {}
                yield _Sample(sample.sample_id, sample.task, truth, result, maps)


def _damaged_as_none(compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is computed from a stored record; nothing where it is damaged: runs may come from anywhere."""
    try:
        return compute()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StvgError):
        return {}


def _score(sample: _Sample, protocol: ScoringProtocol) -> Values:
    record, task, truth = sample.maps[CONTROLS_KEY], sample.task, sample.truth
    tracks = [
        Track(np.array(track["frames"], dtype=np.int64), as_boxes(track["boxes_xyxy"])) for track in record["tracks"]
    ]
    video, step = (sample.result.document or {})["video"], task.frame_step

    def values(track: int, start: int, end: int) -> Float64[np.ndarray, " metric"]:
        if not 0 <= track < len(tracks):
            raise RunError(f"expected one of {len(tracks)} tracks, got number {track}; evaluate it again")
        tube = predicted_tube(
            {"tube": {"start_frame": start, "end_frame": end}, "video": video}, record["tracks"][track], task, protocol
        )
        rows = metric_values(score_samples({"": tube}, {"": truth}, protocol.rules), protocol.rules)
        return rows.reshape(-1)

    true_frames, true_boxes = truth.tube.frames * step, truth.tube.boxes_xyxy
    best = int(np.argmax([box_iou(track.boxes_at(true_frames)[0], true_boxes).mean() for track in tracks]))
    choices = {name: record["choices"][name] for name in (ATTRIBUTE_ONLY, ACTION_ONLY, RANDOM)}
    choices[BEST_TRACK] = [[best, *record["tracks"][best]["span"]]]
    choices[BEST_TRACK_TRUE_SPAN] = [[best, truth.tube.start_frame * step, truth.tube.end_frame * step]]
    return {name: np.mean([values(*map(int, choice)) for choice in made], axis=0) for name, made in choices.items()}


def _prompts(_: _Sample, document: Mapping[str, Any]) -> dict[str, float]:
    effects, measures = document["diagnostics"]["prompts"], {}
    for branch, name in (("attribute", "spatial"), ("action", "temporal")):
        if name in effects:
            measures[f"{branch}_margin_before"] = float(effects[name]["margin_before"])
            measures[f"{branch}_margin_after"] = float(effects[name]["margin_after"])
    if "spatial" in effects:
        measures["prompt_norm"] = float(effects["spatial"]["prompt_norm_share"])
    return measures


def _span(sample: _Sample, document: Mapping[str, Any]) -> dict[str, float]:
    tube, frames, truth = document["tube"], document["scores"]["frames"], sample.truth.tube
    best = max(frames, key=lambda each: float(each["score"]))
    inside = truth.start_frame <= int(best["frame"]) // sample.task.frame_step <= truth.end_frame
    count = sum(int(tube["start_frame"]) <= int(each["frame"]) <= int(tube["end_frame"]) for each in frames)
    return {"peak_frame_inside": float(inside), "span_frames": float(count)}


def _points(sample: _Sample, document: Mapping[str, Any]) -> dict[str, float]:
    """Return whether the peak of each branch's maps lies on the true object, as far as a sampled frame shows it.

    Only frames of the true span count, as in the paper's hit ratio (section 3.2): outside it there is no true box.
    """
    maps, truth = sample.maps, sample.truth.tube
    if not maps:
        return {}
    check_maps(maps)
    video = document["video"]
    info = VideoInfo("", int(video["width"]), int(video["height"]), 1.0, 1.0, np.zeros(1))
    true_track = Track(truth.frames * sample.task.frame_step, truth.boxes_xyxy)
    points = {}
    for branch in maps["branches"]:
        shape = (len(maps["frames"]), int(branch["rows"]), int(branch["columns"]))
        codes = np.frombuffer(base64.b64decode(branch["prompted"]["codes"]), np.uint8).reshape(shape)
        (cells,) = cell_coverage([true_track], np.array(maps["frames"], dtype=np.int64), info, *shape[1:])
        shown = cells.max(axis=(1, 2)) >= COVERED
        if shown.any():
            points[f"{branch['name']}_points"] = float(cells[shown].ravel()[codes[shown].argmax()] >= COVERED)
    return points
