"""The synthetic clips as samples of `stvg ablate`'s machinery: `stvg-tiny ablate`.

Clips are rendered, not decoded, in the frames that a setting samples; the true tracks of all objects are known.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from stvg_core.cli.ground import read_overrides
from stvg_core.errors import StvgError
from stvg_core.evaluation.ablation import TABLE_NAMES, AblationSample, ablate
from stvg_core.evaluation.ablation.ablating import MARKDOWN_NAME
from stvg_core.evaluation.runs.evaluation import ModelChoice
from stvg_core.evaluation.runs.tasks import Task
from stvg_core.metrics import Bootstrap, Rules, SampleTruth, SampleTube, ScoringProtocol
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.values import Tube
from stvg_tiny.clips import (
    CLIP_FRAMES,
    CLIP_PIXELS,
    Clip,
    OracleTracker,
    clip_frames,
    query,
    true_tube,
)
from stvg_tiny.grounding import clips_of
from stvg_tiny.sampling import Split
from stvg_tiny.scenes import Scene

MODELS: Final = ("tiny:qwen2-vl", "tiny:llava-next", "tiny:internvl")
Level = Literal["easy", "hard", "attribute"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
_CLIPS_PER_FITTING: Final = 12
_TELL_EVERY: Final = 50
EXACT: Final = ScoringProtocol(
    "exact",
    Rules(video_union="union"),
    "stvg_core.metrics.tube_overlap: VidSTG's definitions (Zhang et al., CVPR 2020) over sets of frames",
    "the cards of the tiny models",
)
"""Both ends of a span belong to it, and a perfect tube scores 1; no published code scores so."""


@dataclass(frozen=True)
class SceneSource:
    """Clips of one split.

    Attributes:
        split: `test` for reporting, `development` for choosing.
        clips: of each level and seed, the first so many.
        seeds: of the test split: 0 is the benchmark itself, others are more clips like it.
    """

    split: str
    clips: int
    seeds: tuple[int, ...] = (0,)

    @property
    def protocol(self) -> ScoringProtocol:
        """The cards' own measures."""
        return EXACT

    @property
    def knows_true_tracks(self) -> bool:
        """Scenes know everything."""
        return True

    def describe(self) -> dict[str, Any]:
        """Return what decides a sample; not how many there are, so that more can be added."""
        return {"dataset": "stvg-tiny", "split": self.split, "pixels": CLIP_PIXELS, "protocol": EXACT.name}

    def samples(self) -> Iterator[AblationSample]:
        """Yield clips of all levels and seeds in turn, so that any first ones have the same shares.

        Raises:
            SceneError: no clips are asked for, or a seed is negative.
        """
        split = Split[self.split.upper()]
        streams = [
            (level, seed, _clips(split, level, self.clips, seed))
            for seed in (self.seeds if split is Split.TEST else (0,))
            for level in LEVELS
        ]
        for number in range(self.clips):
            for level, seed, clips in streams:
                yield _sample(clips[number], (level, f"seed {seed}"), seed)


def _clips(split: Split, level: Level, count: int, seed: int) -> list[Clip]:
    """Return the first clips of a level.

    Clips of level `attribute` are easy ones whose target alone looks as it does, and does not alone act as it does:
    those that the paper's join, which chooses the track by the attribute alone, is made for. In `hard` ones no
    attribute names one object alone, and in easy ones the action alone mostly does.
    """
    if level != "attribute":
        return clips_of(split, level, count, seed)
    found: list[Clip] = []
    asked = count * _CLIPS_PER_FITTING
    while len(found) < count:
        found = [
            replace(clip, identifier=clip.identifier.replace("easy", level))
            for clip in clips_of(split, "easy", asked, seed)
            if attribute_decides(clip.scene)
        ][:count]
        asked *= 2
    return found


def attribute_decides(scene: Scene) -> bool:
    """Return whether the target alone has its colour and shape, and another object has its action."""
    target, *others = scene.objects
    looks_alike = any((item.color, item.shape) == (target.color, target.shape) for item in others)
    return not looks_alike and any(item.action == target.action for item in others)


def _sample(clip: Clip, groups: tuple[str, ...], seed: int) -> AblationSample:
    scene = clip.scene
    return AblationSample(
        Task(f"{clip.identifier}_seed_{seed}", f"{clip.identifier}.mp4", query(scene), frame_count=CLIP_FRAMES),
        _truth(true_tube(scene, CLIP_PIXELS)),
        lambda sampling: clip_frames(scene, CLIP_PIXELS, sampling),
        (*groups, *clip.tags),
        OracleTracker(scene, CLIP_PIXELS).tracks(),
    )


def _truth(tube: Tube) -> SampleTruth:
    frames = np.arange(tube.start_frame, tube.end_frame + 1)
    return SampleTruth(
        SampleTube(tube.start_frame, tube.end_frame, frames, tube.boxes_xyxy), CLIP_FRAMES, "declarative"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tables and write them; return the exit code."""
    parser = ArgumentParser(prog="stvg-tiny ablate", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the ablation; gone on with where it is there"
    )
    parser.add_argument("--model", action="append", help=f"repeatable [default: {', '.join(MODELS)}]")
    parser.add_argument("--preset", help="[default: the checkpoint's own]")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting; repeatable")
    parser.add_argument("--table", action="append", choices=TABLE_NAMES, help="repeatable [default: all]")
    parser.add_argument("--tracks", default="regions", help="tracker [default: %(default)s]")
    parser.add_argument("--split", choices=["development", "test"], default="test")
    parser.add_argument("--clips", type=int, default=100, help="of each level and seed [default: %(default)s]")
    parser.add_argument("--seeds", default="0", help="of the test split's clips, with commas [default: 0, the split]")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes [default: %(default)s]")
    parser.add_argument("--bootstrap", type=int, default=2000, help="resamples [default: %(default)s]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--report-only", action="store_true", help="run nothing; write what the results there say")
    options = parser.parse_args(arguments)
    try:
        source = SceneSource(options.split, options.clips, tuple(int(seed) for seed in options.seeds.split(",")))
        choices = [
            ModelChoice(
                model,
                options.preset,
                read_overrides(options.set),
                tracks=options.tracks,
                options=LoadOptions(device=options.device),
            )
            for model in options.model or MODELS
        ]
        document = ablate(
            choices,
            source,
            options.table or (),
            options.out,
            Bootstrap(options.bootstrap),
            workers=options.workers,
            report_only=options.report_only,
            on_count=_Counter(),
        )
    except (StvgError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{options.out / MARKDOWN_NAME}\n")
    return int(any(model.status == "failed" for model in document.models))


class _Counter:
    """Tells on stderr how many results there are, now and then."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, count: int) -> None:
        if count >= self._told + _TELL_EVERY:
            self._told = count
            sys.stderr.write(f"{count} results\n")


if __name__ == "__main__":
    sys.exit(main())
