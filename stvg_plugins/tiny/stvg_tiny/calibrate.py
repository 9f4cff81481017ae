"""Choose a tiny checkpoint's settings on development scenes: `python -m stvg_tiny.calibrate CHECKPOINT`.

A tiny model carries its attention in other layers and tokens than a large one, so the paper's
averages say little about it. Attention is read once per scene and layer; layers, token
rules, relative attention, pooling and span length are then chosen one after the other,
twice around, by mean vIoU with the `regions` tracker. The prompt's step is chosen last, by
running the whole method. Test scenes are not touched. The result is `stvg-settings.json` in
the checkpoint's folder, which is preset `calibrated` for this checkpoint alone.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float64

from stvg_core import attention, augment
from stvg_core.backend import AttentionRequest, EncodedClip, QuestionAttention
from stvg_core.config import CALIBRATED_FILE, BranchSettings, Settings, load_settings
from stvg_core.metrics import tube_overlap
from stvg_core.pipeline import join_branches
from stvg_core.query.catalog import open_decomposer
from stvg_core.session import Session, open_session
from stvg_core.tracks.catalog import open_tracker
from stvg_core.tracks.cells import cell_coverage
from stvg_core.tracks.tracker import TrackRequest
from stvg_core.values import FrameMaps, Frames, Track, Tube
from stvg_tiny.clips import CLIP_FRAMES, clip_frames, query, true_tube
from stvg_tiny.grounding import CLIP_PIXELS, measure, scenes_of
from stvg_tiny.sampling import NOMINAL_FRAMES, NOMINAL_PIXELS, Split
from stvg_tiny.scenes import Scene

TRACKER: Final = "regions"
START: Final[Mapping[str, Any]] = {
    "sampling": {"frame_count": NOMINAL_FRAMES},
    "input": {"frame_size_pixels": NOMINAL_PIXELS, "temporal_merge": "merge"},
    "relative": {"epsilon": "uniform", "neutral_question": "please describe this video"},
    "prompt": {
        "steps": 2,
        "step_size": 0.03,
        "step_rule": "normalized",
        "objective": "linear",
        "contrast_neutral": True,
        "momentum": 0.5,
    },
    "joint": {"boundary": "contiguous", "span_frame_count": 8, "boundary_extent": "midpoint"},
}
"""What the training fixes (frames as trained), and the step that needs no scale of the embeddings."""


Choice = tuple[str, list[Mapping[str, Any]]]
Report = Callable[[str, Mapping[str, Any], float], None]


@dataclass(frozen=True)
class Reading:
    """One scene, read once: per branch and view, one attention per layer for query and neutral question."""

    frames: Frames
    tracks: tuple[Track, ...]
    coverage: Float64[np.ndarray, "track frame row column"]
    truth: Tube
    spatial: tuple[tuple[EncodedClip, tuple[tuple[QuestionAttention, QuestionAttention], ...]], ...]
    temporal: tuple[EncodedClip, tuple[tuple[QuestionAttention, QuestionAttention], ...]]


def read_scene(scene: Scene, session: Session, settings: Settings) -> Reading:
    """Encode a scene both ways and read the attention of every layer, without prompts."""
    frames = clip_frames(scene, CLIP_PIXELS, settings.sampling)
    sub_queries = open_decomposer("rules", generate=None, video_name=None).decompose(query(scene))
    clip = session.adapter.encode(frames, settings.input, tuple(range(len(frames))))
    backward = session.augment_frames(frames, clip, settings.input)

    def by_layer(view: EncodedClip, sub_query: str) -> tuple[tuple[QuestionAttention, QuestionAttention], ...]:
        questions = (settings.question(sub_query), settings.relative.neutral_question)
        pairs = []
        for layer in range(session.adapter.description.layer_count):
            asked, neutral = session.capture_attention(AttentionRequest(view, questions, None, (layer,)))
            pairs.append((asked, neutral))
        return tuple(pairs)

    flat = FrameMaps(np.ones((len(frames), *clip.layout.shape[1:])))
    tracks = open_tracker(TRACKER).propose(TrackRequest(frames, sub_queries, flat, flat))
    return Reading(
        frames,
        tracks,
        cell_coverage(tracks, frames.indices, frames.info, *clip.layout.shape[1:]),
        true_tube(scene, CLIP_PIXELS),
        ((clip, by_layer(clip, sub_queries.attribute)), (backward, by_layer(backward, sub_queries.attribute))),
        (clip, by_layer(clip, sub_queries.action)),
    )


def video_iou(reading: Reading, settings: Settings) -> float:
    """Return the vIoU of a scene under settings, from what was read."""
    views = reading.spatial if settings.augment.enabled else reading.spatial[:1]
    spatial = augment.assemble([_maps(*view, settings.spatial, settings) for view in views])
    temporal = _maps(*reading.temporal, settings.temporal, settings)
    joined = join_branches(reading.frames, reading.tracks, reading.coverage, spatial, temporal, settings.joint)
    return tube_overlap(joined.tube, reading.truth).video_iou


def _maps(
    clip: EncodedClip,
    layers: Sequence[tuple[QuestionAttention, QuestionAttention]],
    branch: BranchSettings,
    settings: Settings,
) -> FrameMaps:
    wanted = branch.layers.layers(len(layers))
    asked, neutral = (_mean([layers[layer][place] for layer in wanted]) for place in (0, 1))
    relative = attention.relative_rows(asked, neutral, settings.relative)
    return attention.frame_maps(clip, asked, relative, attention.select_tokens(asked, relative, branch.tokens))


def _mean(readings: Sequence[QuestionAttention]) -> QuestionAttention:
    rows = torch.stack([reading.rows for reading in readings]).mean(dim=0)
    return QuestionAttention(readings[0].question, readings[0].tokens, rows)


def choices(layer_count: int) -> list[Choice]:
    """Return what is chosen in turn: a name, and the candidates as dotted settings."""
    layers = [
        {"start": first / layer_count, "stop": last / layer_count}
        for first in range(layer_count)
        for last in range(first + 1, layer_count + 1)
    ]
    tokens: list[dict[str, Any]] = [
        {"candidates": candidates, "rule": rule}
        for candidates in ("role", "question")
        for rule in ("max_activation", "min_entropy", "mean")
    ]
    tokens += [{"rule": "fixed", "fixed_position": position} for position in range(-12, 0)]
    relative: list[dict[str, Any]] = [{"mode": "raw"}, {"epsilon": "uniform"}, {"epsilon": 1e-4}]
    branches: list[Choice] = [
        (
            f"{branch}: layers and tokens",
            [{f"{branch}.layers": some, f"{branch}.tokens": rule} for some in layers for rule in tokens],
        )
        for branch in ("temporal", "spatial")
    ]
    joint: list[Choice] = [
        ("relative", [{"relative": {**START["relative"], **choice}} for choice in relative]),
        (
            "tracks",
            [
                {"joint.track_branches": branches, "joint.track_pooling": pooling}
                for branches in ("spatial", "product")
                for pooling in ("max", "mean")
            ],
        ),
        (
            "span",
            [
                {"joint.boundary": rule, "joint.span_frame_count": count}
                for rule in ("contiguous", "top_k")
                for count in range(5, 11)
            ],
        ),
        ("views", [{"augment.enabled": False}, {"augment.enabled": True}]),
    ]
    return branches + joint


def calibrate(readings: Sequence[Reading], layer_count: int, report: Report) -> dict[str, Any]:
    """Return settings, as the file holds them, chosen by mean vIoU over the readings."""
    chosen: dict[str, Any] = json.loads(json.dumps(START))
    for _ in range(2):
        for name, candidates in choices(layer_count):
            rated = []
            for candidate in candidates:
                settings = Settings.model_validate(_with(chosen, candidate))
                rated.append(float(np.mean([video_iou(reading, settings) for reading in readings])))
            best = int(np.argmax(rated))
            chosen = _with(chosen, candidates[best])
            report(name, candidates[best], rated[best])
    return chosen


def _with(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(settings))
    for name, value in changes.items():
        *parents, leaf = name.split(".")
        reduce(lambda level, parent: level.setdefault(parent, {}), parents, changed)[leaf] = value
    return changed


def main() -> None:
    """Calibrate a checkpoint and write its settings."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--scenes", type=int, default=60, help="development scenes of each difficulty")
    parser.add_argument("--tune-scenes", type=int, default=30, help="of each difficulty, for the prompt's step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    def report(name: str, choice: Mapping[str, Any], value: float) -> None:
        sys.stdout.write(json.dumps({"chosen": name, "value": choice, "m_vIoU": round(value, 4)}) + "\n")
        sys.stdout.flush()

    scenes = [scene for level in ("easy", "hard") for scene in scenes_of(Split.DEVELOPMENT, level, arguments.scenes)]
    with open_session(str(arguments.checkpoint)) as session:
        start = Settings.model_validate(START)
        readings = [read_scene(scene, session, start) for scene in scenes]
        chosen = calibrate(readings, session.adapter.description.layer_count, report)
        steps: list[dict[str, Any]] = [{"prompt.steps": 0}] + [{"prompt.step_size": size} for size in (0.01, 0.03, 0.1)]
        tuned = [
            scene
            for level in ("easy", "hard")
            for scene in scenes_of(Split.DEVELOPMENT, level, arguments.scenes + arguments.tune_scenes)[
                arguments.scenes :
            ]
        ]
        rated = [
            measure(session, Settings.model_validate(_with(chosen, step)), TRACKER, tuned).summary()["m_vIoU"]
            for step in steps
        ]
        for step, value in zip(steps, rated, strict=True):
            report("prompt step, candidate", step, float(value))
        chosen = _with(chosen, steps[int(np.argmax(rated))])
    target = arguments.checkpoint / CALIBRATED_FILE
    target.write_text(json.dumps(chosen, indent=2) + "\n", encoding="utf-8")
    load_settings("calibrated", checkpoint=arguments.checkpoint)
    sys.stdout.write(f"written {target}, from {CLIP_FRAMES}-frame clips of {CLIP_PIXELS} pixels\n")


if __name__ == "__main__":
    main()
