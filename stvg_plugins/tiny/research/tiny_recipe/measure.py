"""Everything that a checkpoint's card says of it, measured: `python -m tiny_recipe.measure CHECKPOINT --out FILE.json`.

Yes/no accuracy, through which tokens the answers run, where the role tokens look through the framework's
adapter, and how well the checkpoint grounds beside its controls; on the test split, which nothing was
chosen on. `tiny_recipe.evaluate` asks the same questions one by one, ten times slower.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from stvg_core.api.grounder import settings_of
from stvg_core.errors import StvgError
from stvg_core.host.session import open_session
from stvg_core.outputs.report.staging import check_output_folder
from stvg_tiny.sampling import held_out_scene
from stvg_tiny.scenes import Difficulty
from tiny_recipe.checkpoint import load_checkpoint, parameter_count
from tiny_recipe.controls import clips_of, compare
from tiny_recipe.curves import read_log
from tiny_recipe.errors import CheckpointError, RecipeError
from tiny_recipe.evaluate import SPLITS, accuracy_by_cut
from tiny_recipe.pointing import measure as measure_pointing
from tiny_recipe.pointing import summary as pointing_summary

LEVELS: Final[tuple[Difficulty, ...]] = ("hard", "easy")
_DISTRIBUTIONS: Final = ("stvg-tiny", "stvg-core", "torch", "transformers", "numpy")


class Measured(BaseModel):
    """What was measured of one checkpoint, as its JSON file holds it.

    Attributes:
        split: "test" or "development".
        scenes: of each level.
        parameters: weights in the checkpoint's file.
        answers: by level, yes/no accuracy by kind, and by kind and true answer ("action_no").
        pointing: by level and kind of question, what `tiny_recipe.pointing.summary` returns.
        routes: on hard scenes, yes/no accuracy by what was cut, then by kind.
        grounding: by level and group of clips, rows and paired differences.
        settings: the settings that grounded, with their preset.
        training: steps by stage, and the looks at the development accuracy; empty without a log.
        versions: of the distributions that took part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    scenes: int
    parameters: int
    answers: Mapping[str, Mapping[str, float]]
    pointing: Mapping[str, Mapping[str, Mapping[str, Any]]]
    routes: Mapping[str, Mapping[str, float]]
    grounding: Mapping[str, Mapping[str, Mapping[str, Any]]]
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    versions: Mapping[str, str]


def read_measured(path: Path) -> Measured:
    """Read what was measured.

    Raises:
        CheckpointError: The file is missing or holds something else.
    """
    try:
        return Measured.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise CheckpointError(
            f"expected a file of `python -m tiny_recipe.measure` in {path}; {str(error).splitlines()[0]}"
        ) from error


def measure_checkpoint(
    folder: Path, split: str, scenes: int, log: Path | None, report: Callable[[str], None] = lambda text: None
) -> Measured:
    """Measure a checkpoint.

    Args:
        folder: of the checkpoint, with its settings.
        split: name of the split.
        scenes: of each level; the first of the split.
        log: of the run that made it.
        report: called with the name of each step as it begins.

    Raises:
        StvgError: the checkpoint or log cannot be read.
    """
    part = SPLITS[split]
    training = {} if log is None else _training(log)
    report("answers")
    checkpoint = load_checkpoint(folder)
    routes = accuracy_by_cut(checkpoint, part, "hard", scenes)
    easy = accuracy_by_cut(checkpoint, part, "easy", scenes, ("nothing",))
    answers = {"hard": routes["nothing"], "easy": easy["nothing"]}
    pointing = {}
    with open_session(str(folder)) as session:
        for level in LEVELS:
            report(f"pointing, {level}")
            held_out = [held_out_scene(part, index, level) for index in range(scenes)]
            pointings = measure_pointing(session, checkpoint.architecture, held_out)
            pointing[level] = {kind: pointing_summary(one) for kind, one in pointings.items()}
        report("grounding")
        settings = settings_of(session)
        grounding = {level: compare(session, settings, clips_of(part, level, scenes)).by_group() for level in LEVELS}
    measured = {
        "split": split,
        "scenes": scenes,
        "parameters": parameter_count(folder),
        "answers": answers,
        "pointing": pointing,
        "routes": routes,
        "grounding": grounding,
        "settings": settings.model_dump(mode="json"),
        "training": training,
        "versions": {name: version(name) for name in _DISTRIBUTIONS},
    }
    # As its file will hold it: lists, not tuples.
    return Measured.model_validate_json(json.dumps(measured))


def _training(path: Path) -> dict[str, Any]:
    log = read_log(path)
    return {"steps": log.stages(), "looks": [dict(look) for look in log.looks]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = ArgumentParser(prog="python -m tiny_recipe.measure", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--split", choices=sorted(SPLITS), default="test")
    parser.add_argument("--scenes", type=int, default=300, help="of each level; the first of the split")
    parser.add_argument("--log", type=Path, help="log.jsonl of the training run")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        if options.scenes < 1:
            raise RecipeError(f"expected at least one scene, got {options.scenes}")
        check_output_folder(options.out.parent)
        measured = measure_checkpoint(options.checkpoint, options.split, options.scenes, options.log, _say)
    except StvgError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(measured.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text} ...\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
