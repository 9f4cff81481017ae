"""Yes/no accuracy of a saved checkpoint, and through which tokens its answers run.

`evaluate` asks one question at a time through the ordinary transformers forward pass, on fp32 copies of
the saved weights, and shares no code with the packed forward pass that training and `accuracy_by_cut` use.
An answer is right if the true word (`yes` or `no`) is the most likely of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from stvg_huggingface.family import as_position_ids
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split
from stvg_tiny.scenes import Difficulty, frame_times
from tiny_recipe.accuracy import CUTS, Accuracy, Cut, answers_by_passes, held_out_questions, summarize
from tiny_recipe.batches import Material
from tiny_recipe.checkpoint import Checkpoint, load_checkpoint
from tiny_recipe.packing import SharedHead
from tiny_recipe.pixels import pixel_tensors
from tiny_recipe.questions import Question

SPLITS: Final = {"development": Split.DEVELOPMENT, "test": Split.TEST}


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


def accuracy_by_cut(
    checkpoint: Checkpoint, split: Split, difficulty: Difficulty, scenes: int, cuts: Sequence[Cut] = CUTS
) -> dict[Cut, Accuracy]:
    """Return the yes/no accuracy with nothing cut, and while some tokens see no visual token.

    A question's tokens are its own words and the role tokens behind them (its final punctuation and the
    template's). Where answers survive a cut of the words, and do not survive one of the role tokens, the answer
    is made from what the role tokens look at.
    """
    row, model = checkpoint.architecture, checkpoint.model
    material = Material(row, model.config, checkpoint.tokenizer)
    head = SharedHead.of(row, checkpoint.tokenizer, model.config)
    samples = [held_out_questions(split, index, difficulty) for index in range(scenes)]
    return {
        cut: summarize(
            [
                outcome
                for answered in answers_by_passes(material, model, head, samples, cut)
                for questions, right in zip(answered.questions, answered.right, strict=True)
                for outcome in zip(questions, right, strict=True)
            ]
        )
        for cut in cuts
    }
