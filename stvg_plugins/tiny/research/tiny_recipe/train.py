"""`python -m tiny_recipe.train ARCHITECTURE --out FOLDER`: trains and exports one tiny model."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from stvg_core._internal.determinism import deterministic_algorithms
from stvg_tiny.errors import TinyError
from tiny_recipe.architectures import ARCHITECTURES
from tiny_recipe.checkpoint import export_checkpoint
from tiny_recipe.curves import draw, read_log
from tiny_recipe.errors import RecipeError
from tiny_recipe.packing import ROLE_TOKENS
from tiny_recipe.recipe import Recipe
from tiny_recipe.training import LOG_NAME, Run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tiny_recipe.train", description="Train one tiny model and export it."
    )
    parser.add_argument("architecture", choices=sorted(ARCHITECTURES))
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument(
        "--looking-token",
        type=int,
        action="append",
        default=[],
        choices=range(-ROLE_TOKENS, 0),
        metavar="PLACE",
        help="a role token that is taught to look at what is asked for, by its place from the prompt's end (-1 the "
        f"last, -{ROLE_TOKENS} the first); repeatable [default: all]",
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, ...; auto: a CUDA device where there is one"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    return parser


def _device(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        RecipeError: torch does not know the name, or has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(f"cannot train on {name!r} ({str(error).splitlines()[0]}); use --device cpu") from error
    return device


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # One thread: the sums of a multi-threaded run depend on how the work happens to be shared out.
    torch.set_num_threads(1)
    recipe = replace(Recipe(), seed=options.seed, looking_tokens=tuple(options.looking_token))
    try:
        with deterministic_algorithms(True):
            _train(options.architecture, recipe, options.out, options.device, resume=options.resume)
    except TinyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _train(architecture: str, recipe: Recipe, out: Path, device: str, *, resume: bool) -> None:
    run = Run(architecture, recipe, out, _device(device))
    if resume:
        run.resume()
    run.train()
    material = run.learner.material
    run.learner.to("cpu")
    export_checkpoint(material.architecture, run.learner.model, material.tokenizer, out / "checkpoint")
    if importlib.util.find_spec("matplotlib"):
        title = f"tiny:{architecture}, seed {recipe.seed}"
        draw(read_log(out / LOG_NAME), title, out / "curves.png")


if __name__ == "__main__":
    sys.exit(main())
