"""How well a checkpoint grounds the synthetic clips, beside controls: `python -m stvg_tiny.grounding --help`.

Runs the framework's own pipeline on scenes with known tubes, and prints mean tIoU and vIoU with
standard errors, overall and per group of clips, beside what random choices, single branches, true
tracks and spoiled tracks reach, with paired differences.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from stvg_core.api.grounder import settings_of
from stvg_core.cli.run_options import parse_overrides
from stvg_core.errors import StvgError
from stvg_core.host.session import Session, open_session
from stvg_core.inputs.tracks.catalog import open_tracker
from stvg_core.metrics import TubeOverlap, tube_overlap
from stvg_core.outputs.report.staging import check_output_folder
from stvg_core.plugin.tracker import Tracker
from stvg_core.settings import Settings
from stvg_tiny.clips import CLIP_PIXELS, QUERY_FORMS, Clip, OracleTracker, QueryForm, benchmark_clips, true_tube
from stvg_tiny.controls import ORACLE, RANDOM, compare, join_of, joined_tubes, random_tube, read_clip
from stvg_tiny.errors import SceneError
from stvg_tiny.measurements import Row, tables
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import Difficulty, Scene

__all__ = ["CLIP_PIXELS", "clips_of", "evaluate_grounding", "main", "measure", "random_choice", "scenes_of"]

_LEVELS: Final[tuple[Difficulty, ...]] = ("easy", "hard")


def measure(session: Session, settings: Settings, tracker: str, scenes: Sequence[Scene]) -> Row:
    """Ground every scene by the settings' own join, and compare with its true tube.

    `tracker` is the name of an installed tracker, or "oracle" for the true tracks of all objects.
    """
    installed = None if tracker == ORACLE else open_tracker(tracker)
    join = join_of(settings)
    overlaps: list[TubeOverlap | None] = []
    for scene in scenes:
        proposer: Tracker = installed or OracleTracker(scene, CLIP_PIXELS)
        try:
            reading = read_clip(scene, session, settings)
            tube = joined_tubes(reading, proposer, settings.joint, (join,))[join]
        except StvgError:
            overlaps.append(None)
            continue
        overlaps.append(tube_overlap(tube, true_tube(scene, CLIP_PIXELS)))
    return Row(f"{settings.preset}, {tracker}", tuple(overlaps))


def random_choice(settings: Settings, scenes: Sequence[Scene]) -> Row:
    """Return what a random true track over a random span of the settings' length reaches."""
    return Row(
        RANDOM,
        tuple(tube_overlap(random_tube(scene, settings), true_tube(scene, CLIP_PIXELS)) for scene in scenes),
    )


def scenes_of(split: Split, difficulty: Difficulty, count: int) -> list[Scene]:
    """Return the first scenes of a split."""
    return [held_out_scene(split, index, difficulty) for index in range(count)]


def clips_of(split: Split, difficulty: Difficulty, count: int, seed: int = 0) -> list[Clip]:
    """Return the first clips of a split; only those of the test split have tags, and further seeds.

    Raises:
        SceneError: no clips are asked for, or the seed is negative.
    """
    if count < 1 or seed < 0:
        raise SceneError(f"expected at least one clip and a seed of at least 0, got {count} and {seed}")
    if split is Split.TEST:
        return benchmark_clips(difficulty, count, seed)
    scenes = scenes_of(split, difficulty, count)
    return [Clip(f"{split.name.lower()}_{difficulty}_{index:04d}", scene) for index, scene in enumerate(scenes)]


def evaluate_grounding(
    session: Session,
    settings: Settings,
    levels: Mapping[Difficulty, Sequence[Clip]],
    trackers: Sequence[str] = ("regions",),
    form: QueryForm = "declarative",
    report: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Return every row, group and paired difference of one model under one set of settings.

    Args:
        session: the model.
        settings: every choice of the method.
        levels: the clips of each level.
        trackers: names of trackers; the true tracks are always among them.
        form: which of a clip's two queries to ask.
        report: given each level's tables as they are done.
    """
    measured: dict[str, Any] = {}
    for level, clips in levels.items():
        comparison = compare(session, settings, clips, trackers, form)
        report(tables(level, comparison))
        measured[level] = {
            "groups": comparison.by_group(),
            "per_clip": comparison.per_clip([clip.identifier for clip in clips]),
        }
    return {
        "preset": settings.preset,
        "settings": settings.model_dump(mode="json"),
        "join_of_the_settings": join_of(settings),
        "queries": form,
        "levels": measured,
    }


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="stvg-tiny evaluate-grounding", description=__doc__)
    parser.add_argument("--model", default="tiny:qwen2-vl", help="named checkpoint or folder")
    parser.add_argument("--preset", action="append", help="repeatable [default: the checkpoint's own]")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting; repeatable")
    parser.add_argument("--tracks", action="append", help="name of a tracker; repeatable [default: regions]")
    parser.add_argument("--queries", choices=QUERY_FORMS, default="declarative")
    parser.add_argument("--split", choices=["development", "test"], default="test")
    parser.add_argument("--scenes", type=int, default=300, help="of each level; the first of the split")
    parser.add_argument("--seed", type=int, default=0, help="0: the test split itself; others: more clips like it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything, clip by clip")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, and write the JSON file where one is asked for; return the exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    split = Split[options.split.upper()]
    try:
        # Whatever can be wrong with the arguments is told before a model is loaded.
        levels = {level: clips_of(split, level, options.scenes, options.seed) for level in _LEVELS}
        if options.json is not None:
            check_output_folder(options.json.parent)
            options.json.parent.mkdir(parents=True, exist_ok=True)
        with open_session(options.model) as session:
            measured = []
            for preset in options.preset or [None]:
                settings = settings_of(session, preset, parse_overrides(options.set))
                _say(f"# {options.model}, preset {settings.preset}, {split.name.lower()}, {options.queries} queries")
                trackers = options.tracks or ["regions"]
                measured.append(evaluate_grounding(session, settings, levels, trackers, options.queries, _say))
    except StvgError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if options.json is not None:
        document = {
            "model": options.model,
            "split": options.split,
            "seed": options.seed,
            "pixels": CLIP_PIXELS,
            "results": measured,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
