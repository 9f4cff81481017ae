"""Choose a tiny checkpoint's settings on development scenes: `python -m tiny_recipe.calibrate CHECKPOINT`.

The paper's own rule stands: attention is averaged over all layers, and the grounding token is the
role token with the highest activation. What the paper leaves to the data is chosen: relative
attention, how tracks are scored, the span's length, whether the clip is read backwards as well.
Attention is read once per scene; the choices are then made one after the other, twice around, by
mean vIoU with the `regions` tracker. The prompt's step is chosen last, by running the whole method.
Test scenes are not touched. The result is `stvg-settings.json` in the checkpoint's folder, which
is preset `calibrated` for this checkpoint alone.
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

from stvg_core.host.session import Session, open_session
from stvg_core.inputs.query.catalog import open_decomposer
from stvg_core.inputs.tracks.catalog import open_tracker
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.method import attention
from stvg_core.method import reversed_view as augment
from stvg_core.method.pipeline import join_branches
from stvg_core.metrics import tube_overlap
from stvg_core.plugin import TrackRequest, select_tokens
from stvg_core.plugin.adapter import AttentionRequest, EncodedClip, QuestionAttention
from stvg_core.settings import CALIBRATED_FILE, BranchSettings, Settings, load_settings
from stvg_core.values import FrameMaps, Frames, Track, Tube
from stvg_tiny.clips import CLIP_FRAMES, CLIP_PIXELS, clip_frames, query, true_tube
from stvg_tiny.sampling import Split
from stvg_tiny.scenes import Scene
from tiny_recipe.architectures import Architecture, architecture_of
from tiny_recipe.controls import ground_scenes, scenes_of

TRACKER: Final = "regions"
PAPERS_TOKENS: Final[Mapping[str, Any]] = {
    "layers": {"start": 0.0, "stop": 1.0},
    "tokens": {"candidates": "role", "rule": "max_activation"},
}
_SPAN_SHARES: Final = (0.3, 0.7)


def start_settings(architecture: Architecture) -> dict[str, Any]:
    """Return what is not chosen (frames as trained, the paper's token rule), and where the choice begins."""
    return {
        "sampling": {"frame_count": architecture.grid.frame_count},
        "input": architecture.inputs.model_dump(mode="json", exclude_unset=True),
        "relative": {"epsilon": "uniform", "neutral_question": "please describe this video"},
        "prompt": {
            "steps": 2,
            "step_size": 0.03,
            "step_rule": "normalized",
            "objective": "linear",
            "contrast_neutral": True,
            "momentum": 0.5,
        },
        "joint": {
            "boundary": "contiguous",
            "span_share": 0.5,
            "boundary_extent": "midpoint",
        },
        "temporal": PAPERS_TOKENS,
        "spatial": PAPERS_TOKENS,
    }


Choice = tuple[str, list[Mapping[str, Any]]]
View = tuple[EncodedClip, QuestionAttention, QuestionAttention]
Report = Callable[[str, Mapping[str, Any], float], None]


@dataclass(frozen=True)
class CalibrationSample:
    """One scene, read once: per branch and view the clip, and the attention of query and neutral question."""

    frames: Frames
    tracks: tuple[Track, ...]
    coverage: Float64[np.ndarray, "track frame row column"]
    truth: Tube
    spatial: tuple[View, ...]
    temporal: View


def prepare_sample(scene: Scene, session: Session, settings: Settings) -> CalibrationSample:
    """Encode a scene both ways and read attention, without prompts."""
    frames = clip_frames(scene, CLIP_PIXELS, settings.sampling)
    sub_queries = open_decomposer("rules", generate=None, video_name=None).decompose(query(scene))
    clip = session.adapter.encode(frames, settings.input, tuple(range(len(frames))))
    backward = session.augment_frames(frames, clip, settings.input)

    layers = settings.spatial.layers.layers(session.adapter.description.layer_count)

    def attended(view: EncodedClip, sub_query: str) -> View:
        questions = (settings.question(sub_query), settings.relative.neutral_question)
        question, neutral = session.capture_attention(AttentionRequest(view, questions, None, layers))
        return view, question, neutral

    rows, columns = clip.layout.rows, clip.layout.columns
    flat = FrameMaps(np.ones((len(frames), rows, columns)))
    tracks = open_tracker(TRACKER).propose(TrackRequest(frames, sub_queries, flat, flat))
    return CalibrationSample(
        frames,
        tracks,
        cell_coverage(tracks, frames.indices, frames.info, rows, columns, settings.joint.track_cells),
        true_tube(scene, CLIP_PIXELS),
        (attended(clip, sub_queries.attribute), attended(backward, sub_queries.attribute)),
        attended(clip, sub_queries.action),
    )


def video_iou(sample: CalibrationSample, settings: Settings) -> float:
    """Return the vIoU of a scene under settings, from what was read."""
    views = sample.spatial if settings.augment.enabled else sample.spatial[:1]
    spatial = augment.assemble([_maps(*view, settings.spatial, settings) for view in views])
    temporal = _maps(*sample.temporal, settings.temporal, settings)
    joined = join_branches(sample.frames, sample.tracks, sample.coverage, spatial, temporal, settings.joint)
    return tube_overlap(joined.tube, sample.truth).video_iou


def _maps(
    clip: EncodedClip,
    question: QuestionAttention,
    neutral: QuestionAttention,
    branch: BranchSettings,
    settings: Settings,
) -> FrameMaps:
    relative = attention.relative_rows(question, neutral, settings.relative)
    return attention.frame_maps(clip, question, relative, select_tokens(question, relative, branch.tokens))


def choices(start: Mapping[str, Any]) -> list[Choice]:
    """Return what is chosen in turn: a name, and the candidates as dotted settings."""
    frame_count = start["sampling"]["frame_count"]
    shortest, longest = (round(share * frame_count) for share in _SPAN_SHARES)
    relative: list[dict[str, Any]] = [{"epsilon": "uniform"}, {"epsilon": 1e-4}]
    return [
        ("relative", [{"relative": {**start["relative"], **choice}} for choice in relative]),
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
                {"joint.boundary": rule, "joint.span_share": count / frame_count}
                for rule in ("contiguous", "top_k")
                for count in range(shortest, longest + 1)
            ],
        ),
        ("views", [{"augment.enabled": False}, {"augment.enabled": True}]),
    ]


def calibrate(samples: Sequence[CalibrationSample], start: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Return settings, as the file holds them, chosen by mean vIoU over the samples."""
    chosen: dict[str, Any] = json.loads(json.dumps(start))
    for _ in range(2):
        for name, candidates in choices(start):
            rated = []
            for candidate in candidates:
                settings = Settings.model_validate(_with(chosen, candidate))
                rated.append(float(np.mean([video_iou(sample, settings) for sample in samples])))
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

    config = json.loads((arguments.checkpoint / "config.json").read_text(encoding="utf-8"))
    start = start_settings(architecture_of(config))
    scenes = [scene for level in ("easy", "hard") for scene in scenes_of(Split.DEVELOPMENT, level, arguments.scenes)]
    with open_session(str(arguments.checkpoint)) as session:
        samples = [prepare_sample(scene, session, Settings.model_validate(start)) for scene in scenes]
        chosen = calibrate(samples, start, report)
        steps: list[dict[str, Any]] = [{"prompt.steps": 0}] + [{"prompt.step_size": size} for size in (0.01, 0.03, 0.1)]
        tuned = [
            scene
            for level in ("easy", "hard")
            for scene in scenes_of(Split.DEVELOPMENT, level, arguments.scenes + arguments.tune_scenes)[
                arguments.scenes :
            ]
        ]
        rated = [
            ground_scenes(session, Settings.model_validate(_with(chosen, step)), TRACKER, tuned).summary()["m_vIoU"]
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
