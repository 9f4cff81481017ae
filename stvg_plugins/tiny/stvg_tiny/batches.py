"""Training batches: one is wholly determined by the recipe and the step's number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedTokenizerFast

from stvg_tiny.architectures import VideoGrid
from stvg_tiny.packing import Exchange, PackedQuestions, pack
from stvg_tiny.pixels import normalized_patches
from stvg_tiny.questions import Question, drill_questions, training_questions
from stvg_tiny.recipe import Recipe
from stvg_tiny.rendering import render
from stvg_tiny.scenes import Scene, Times
from stvg_tiny.supervision import dense_labels
from stvg_tiny.tokenizer import PROMPT_TAIL, TURN_END, UNKNOWN, token_id

_PREFETCHED_BATCHES: Final = 6


@dataclass(frozen=True)
class Batch:
    """What one optimiser step sees.

    Attributes:
        patches: Normalised pixel patches of all videos.
        dense: Dense labels of the visual tokens.
        questions: The questions per video, in the order in which they are packed.
        packed: Their tokens.
    """

    patches: Float[Tensor, "patch value"]
    dense: Int[Tensor, "video property=3 visual_token"]
    questions: Sequence[Sequence[Question]]
    packed: PackedQuestions


def exchange(tokenizer: PreTrainedTokenizerFast, question: Question) -> Exchange:
    """Return the token ids of a question and of its answer, as the chat template lays them out."""
    ask, reply = tokenizer([question.text + PROMPT_TAIL, question.answer + TURN_END], add_special_tokens=False)[
        "input_ids"
    ]
    return ask, reply


def sampling_times(generator: np.random.Generator, frame_count: int) -> Times:
    """Draw the times of a training video's frames: even, but not always from the same offset.

    Programs differ in how they choose frames from a video (the middles of equal shares, or from
    the first to the last frame); training covers what lies between.
    """
    margin = 1.0 / frame_count
    return np.linspace(generator.uniform(0.0, margin), 1.0 - generator.uniform(0.0, margin), frame_count)


def training_batch(recipe: Recipe, grid: VideoGrid, tokenizer: PreTrainedTokenizerFast, step: int) -> Batch:
    """Make the batch of one step."""
    frames, dense, questions, exchanges = [], [], [], []
    unknown = token_id(tokenizer, UNKNOWN)
    tail_length = len(tokenizer(PROMPT_TAIL, add_special_tokens=False)["input_ids"])
    stage = recipe.stage(step)
    for video in range(recipe.batch_videos):
        generator = recipe.item_generator(step, video)
        scene: Scene = recipe.scene(generator, step)
        times = sampling_times(generator, grid.frame_count)
        asked = drill_questions(scene) if stage.drill else training_questions(generator, scene, stage.attribute_pairs)
        frames.append(render(scene, times, grid.size_pixels))
        dense.append(dense_labels(scene, times, grid))
        questions.append(asked)
        row = []
        for question in asked:
            ask, reply = exchange(tokenizer, question)
            # Only the question's own words can be lost, never the markup behind it.
            lost = generator.random(len(ask) - tail_length) < recipe.unknown_word_chance
            row.append((_replaced(ask, lost, unknown), reply))
        exchanges.append(row)
    return Batch(
        patches=normalized_patches(torch.from_numpy(np.stack(frames)), grid),
        dense=torch.from_numpy(np.stack(dense)),
        questions=questions,
        packed=pack(exchanges),
    )


def _replaced(token_ids: Sequence[int], lost: np.ndarray, replacement: int) -> list[int]:
    """Return the token ids with the first `len(lost)` of them replaced where `lost` is true."""
    kept = list(token_ids)
    for index in np.flatnonzero(lost):
        kept[index] = replacement
    return kept


class _Batches(IterableDataset[Batch]):
    """The batches of a run from one step on."""

    def __init__(
        self,
        recipe: Recipe,
        grid: VideoGrid,
        tokenizer: PreTrainedTokenizerFast,
        first_step: int,
    ) -> None:
        super().__init__()
        self._arguments = (recipe, grid, tokenizer)
        self._steps = range(first_step, recipe.steps)

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        for step in self._steps:
            yield training_batch(*self._arguments, step)


def load_batches(
    recipe: Recipe, grid: VideoGrid, tokenizer: PreTrainedTokenizerFast, first_step: int
) -> Iterator[Batch]:
    """Yield the batches of steps `first_step` to the last, made in one process beside this one."""
    batches = _Batches(recipe, grid, tokenizer, first_step)
    loader: DataLoader[Batch] = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=_PREFETCHED_BATCHES)
    return iter(loader)
