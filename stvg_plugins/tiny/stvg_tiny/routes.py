"""`python -m stvg_tiny.routes FOLDER`: through which tokens an answer runs, by cutting their sight at test time.

A question's tokens are its own words and the role tokens behind them (its final punctuation and the
template's). Where answers survive that the words see no visual token, and do not survive that the role
tokens see none, the answer is made from what the role tokens look at.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

import torch

from stvg_tiny.accuracy import Accuracy, Cut, answers_by_passes, held_out_questions, summarize
from stvg_tiny.batches import Material
from stvg_tiny.errors import TinyError
from stvg_tiny.evaluate import SPLITS, Checkpoint, load_checkpoint
from stvg_tiny.measurements import as_table
from stvg_tiny.packing import SharedHead
from stvg_tiny.questions import YES_NO_KINDS
from stvg_tiny.sampling import Split
from stvg_tiny.scenes import Difficulty

CUTS: Final[tuple[Cut, ...]] = get_args(Cut)


def accuracy_by_cut(
    checkpoint: Checkpoint, split: Split, difficulty: Difficulty, scenes: int, cuts: Sequence[Cut] = CUTS
) -> dict[Cut, Accuracy]:
    """Return the yes/no accuracy with nothing cut, and with the sight of some tokens cut."""
    row, model = checkpoint.architecture, checkpoint.model
    material = Material(row, model.config, checkpoint.tokenizer)
    head = SharedHead.of(row, checkpoint.tokenizer, model.config)
    asked = [held_out_questions(split, index, difficulty) for index in range(scenes)]
    return {
        cut: summarize(
            [
                outcome
                for answered in answers_by_passes(material, model, head, asked, cut)
                for own, right in zip(answered.questions, answered.right, strict=True)
                for outcome in zip(own, right, strict=True)
            ]
        )
        for cut in cuts
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m stvg_tiny.routes", description="Through which tokens a tiny checkpoint's answers run."
    )
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    parser.add_argument("--split", choices=sorted(SPLITS), default="development")
    parser.add_argument("--difficulty", choices=get_args(Difficulty), default="hard")
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        checkpoint = load_checkpoint(options.checkpoint)
    except TinyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    found = accuracy_by_cut(checkpoint, SPLITS[options.split], options.difficulty, options.scenes)
    lines = [[kind, *(f"{found[cut][kind]:.3f}" for cut in CUTS)] for kind in YES_NO_KINDS]
    header = ["kind", "nothing cut", "words cut", "role tokens cut"]
    sys.stdout.write((json.dumps(found, indent=2) if options.json else as_table(header, lines)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
