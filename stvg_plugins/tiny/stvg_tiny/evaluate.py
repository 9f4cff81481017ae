"""`python -m stvg_tiny.evaluate FOLDER`: yes/no accuracy of a saved checkpoint.

It asks one question at a time through the ordinary transformers forward pass, on fp32 copies of
the saved weights, and shares no code with the packed forward pass that training uses. An answer is
right if the true word (`yes` or `no`) is the most likely of the whole vocabulary.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerFast

from stvg_huggingface.family import as_position_ids
from stvg_tiny.accuracy import Accuracy, held_out_questions, summarize
from stvg_tiny.architectures import Architecture, architecture_of
from stvg_tiny.errors import CheckpointError, TinyError
from stvg_tiny.pixels import pixel_tensors
from stvg_tiny.questions import Question
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split
from stvg_tiny.scenes import Difficulty, frame_times

SPLITS: Final = {"development": Split.DEVELOPMENT, "test": Split.TEST}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A saved checkpoint, ready for inference in fp32."""

    architecture: Architecture
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint.

    Raises:
        CheckpointError: If the folder holds no checkpoint, or one of an unknown architecture.
    """
    if not (folder / "config.json").exists():
        raise CheckpointError(f"expected a checkpoint folder, but {folder} has no config.json")
    architecture = architecture_of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model.train(False)
    return Checkpoint(architecture, model, tokenizer)


def prompt_text(checkpoint: Checkpoint, text: str) -> str:
    """Return one question about a video in the checkpoint's chat template, with a marker per visual token."""
    row, config, tokenizer = checkpoint.architecture, checkpoint.model.config, checkpoint.tokenizer
    turn: dict[str, Any] = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": text}]}
    rendered = str(tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))
    layout = row.family.layout(config, row.grid.frame_count, row.grid.size_pixels, row.inputs)
    return rendered.replace(
        row.family.placeholder(config, tokenizer), row.family.clip_text(config, tokenizer, layout), 1
    )


def model_inputs(
    checkpoint: Checkpoint, frames: UInt8[Tensor, "frame height width rgb"], text: str
) -> dict[str, Tensor]:
    """Return the keyword arguments of the model's forward for one question about one video."""
    row, config = checkpoint.architecture, checkpoint.model.config
    ids = torch.tensor(checkpoint.tokenizer(prompt_text(checkpoint, text), add_special_tokens=False)["input_ids"])
    layout = row.family.layout(config, row.grid.frame_count, row.grid.size_pixels, row.inputs)
    seconds = np.arange(row.grid.frame_count, dtype=np.float64)
    rule = row.family.positions(config, layout, seconds, row.inputs)
    positions = rule(ids == row.family.visual_token_id(config))
    return {
        "input_ids": ids[None],
        "attention_mask": torch.ones_like(ids)[None],
        "position_ids": as_position_ids(positions),
        **pixel_tensors(row, config, frames[None]),
    }


@torch.no_grad()
def next_token_logits(
    checkpoint: Checkpoint, frames: UInt8[Tensor, "frame height width rgb"], text: str
) -> Float[Tensor, " word"]:
    """Return the logits of the first word of the answer to one question about one video."""
    output = checkpoint.model(**model_inputs(checkpoint, frames, text), use_cache=False)
    return torch.as_tensor(output.logits[0, -1])


def evaluate(folder: Path, split: Split, difficulty: Difficulty, scenes: int) -> dict[str, Any]:
    """Return the accuracies of a checkpoint and the number of questions behind each."""
    checkpoint = load_checkpoint(folder)
    grid = checkpoint.architecture.grid
    outcomes: list[tuple[Question, bool]] = []
    for index in range(scenes):
        scene, questions = held_out_questions(split, index, difficulty)
        frames = torch.from_numpy(render(scene, frame_times(grid.frame_count), grid.size_pixels))
        for question in questions:
            logits = next_token_logits(checkpoint, frames, question.text)
            answer = checkpoint.tokenizer.convert_ids_to_tokens(int(logits.argmax()))
            outcomes.append((question, answer == question.answer))
    accuracy = summarize(outcomes)
    counts = dict.fromkeys(accuracy, 0)
    for question, _ in outcomes:
        counts[question.kind] += 1
        counts[f"{question.kind}_{question.answer}"] += 1
    return {
        "split": split.name.lower(),
        "difficulty": difficulty,
        "scenes": scenes,
        "accuracy": accuracy,
        "questions": counts,
    }


def _table(accuracy: Accuracy) -> str:
    """Lay the accuracies out as a Markdown table."""
    rows = ["| kind | all | yes | no |", "|---|---|---|---|"]
    for kind in (name for name in accuracy if f"{name}_yes" in accuracy):
        values = (accuracy[kind], accuracy[f"{kind}_yes"], accuracy.get(f"{kind}_no", float("nan")))
        rows.append(f"| {kind} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stvg_tiny.evaluate", description="Yes/no accuracy of a tiny checkpoint."
    )
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    parser.add_argument("--split", choices=sorted(SPLITS), default="development")
    parser.add_argument("--difficulty", choices=get_args(Difficulty), default="hard")
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    try:
        result = evaluate(options.checkpoint, SPLITS[options.split], options.difficulty, options.scenes)
    except TinyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    text = json.dumps(result, indent=2) if options.json else _table(result["accuracy"])
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
