"""Training batches: one is wholly determined by the recipe, the stage and the step's number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from stvg_huggingface.chat import render_frame
from stvg_tiny.rendering import render
from stvg_tiny.sampling import chance
from stvg_tiny.scenes import Times
from tiny_recipe.architectures import Architecture
from tiny_recipe.packing import Exchange, PackedQuestions, pack
from tiny_recipe.pixels import pixel_tensors
from tiny_recipe.questions import Question, looking_questions, training_questions
from tiny_recipe.recipe import Recipe, Stage
from tiny_recipe.supervision import asked_cells, dense_labels, token_owners
from tiny_recipe.tokenizer import UNKNOWN, token_id

_PREFETCHED_BATCHES: Final = 6


@dataclass(frozen=True)
class Batch:
    """What one optimiser step sees.

    Attributes:
        pixels: What the vision tower reads, all videos one behind the other.
        dense: Dense labels of the visual tokens.
        owners: Which object each visual token shows, -1 if none.
        questions: The questions per video, in the order in which they are packed.
        packed: Their tokens.
        blind: Which of these do not see the video.
        cells: Where role tokens are to look, by `asked_cells`.
    """

    pixels: Mapping[str, Tensor]
    dense: Int[Tensor, "video property=3 visual_token"]
    owners: Int[Tensor, "video visual_token"]
    questions: Sequence[Sequence[Question]]
    packed: PackedQuestions
    blind: Bool[Tensor, "video token"]
    cells: Bool[Tensor, "video question visual_token"]

    def to(self, device: torch.device) -> Batch:
        """Return the same on a device."""
        return Batch(
            pixels={name: tensor.to(device) for name, tensor in self.pixels.items()},
            dense=self.dense.to(device),
            owners=self.owners.to(device),
            questions=self.questions,
            packed=self.packed.to(device),
            blind=self.blind.to(device),
            cells=self.cells.to(device),
        )


@dataclass(frozen=True)
class Material:
    """What batches are made with.

    Attributes:
        architecture: The row of the table.
        config: Of the model.
        tokenizer: Of the architecture's chat format.
    """

    architecture: Architecture
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerFast

    @property
    def tail(self) -> str:
        """What the template puts between a question and its answer."""
        return render_frame(self.tokenizer, None, video=True).tail

    def exchange(self, question: Question) -> Exchange:
        """Return the token ids of a question and of its answer, as the chat template lays them out."""
        texts = [question.text + self.tail, question.answer + self.architecture.chat.answer_end]
        ask, reply = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ask, reply


def sampling_times(generator: np.random.Generator, frame_count: int) -> Times:
    """Draw the times of a training video's frames: even, but not always from the same offset.

    Programs differ in how they choose frames from a video (the middles of equal shares, or from
    the first to the last frame); training covers what lies between.
    """
    margin = 1.0 / frame_count
    return np.linspace(generator.uniform(0.0, margin), 1.0 - generator.uniform(0.0, margin), frame_count)


def training_batch(recipe: Recipe, material: Material, stage: Stage, step: int) -> Batch:
    """Make the batch of one step."""
    grid = material.architecture.grid
    frames, dense, owners, questions, exchanges, blocked = [], [], [], [], [], []
    unknown = token_id(material.tokenizer, UNKNOWN)
    tail_length = len(material.tokenizer(material.tail, add_special_tokens=False)["input_ids"])
    for video in range(recipe.batch_videos):
        generator = recipe.item_generator(step, video)
        scene = recipe.scene(generator, stage)
        times = sampling_times(generator, grid.frame_count)
        yes_no = chance(generator, stage.yes_no_share)
        drawn = looking_questions(generator, scene) if yes_no else training_questions(generator, scene)
        frames.append(render(scene, times, grid.size_pixels))
        dense.append(dense_labels(scene, times, grid))
        owners.append(token_owners(scene, times, grid))
        questions.append(drawn)
        row = []
        for question in drawn:
            ask, reply = material.exchange(question)
            # Only the question's own words can be lost, never the markup behind it.
            lost = generator.random(len(ask) - tail_length) < recipe.unknown_word_chance
            row.append((_replaced(ask, lost, unknown), reply))
        exchanges.append(row)
        blocked.append(torch.from_numpy(generator.random(len(row)) < stage.blocked_share))
    packed, labels = pack(exchanges), torch.from_numpy(np.stack(dense))
    return Batch(
        pixels=pixel_tensors(material.architecture, material.config, torch.from_numpy(np.stack(frames))),
        dense=labels,
        owners=torch.from_numpy(np.stack(owners)),
        questions=questions,
        packed=packed,
        blind=packed.words & pad_sequence(blocked, batch_first=True).gather(1, packed.own_question),
        cells=asked_cells(questions, labels),
    )


def _replaced(token_ids: Sequence[int], lost: np.ndarray, replacement: int) -> list[int]:
    """Return the token ids with the first `len(lost)` of them replaced where `lost` is true."""
    replaced = list(token_ids)
    for index in np.flatnonzero(lost):
        replaced[index] = replacement
    return replaced


class _Batches(IterableDataset[Batch]):
    """The batches of some steps of one stage."""

    def __init__(self, recipe: Recipe, material: Material, stage: Stage, steps: range) -> None:
        super().__init__()
        self._arguments = (recipe, material, stage)
        self._steps = steps

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        for step in self._steps:
            yield training_batch(*self._arguments, step)


def load_batches(recipe: Recipe, material: Material, stage: Stage, steps: range) -> Iterator[Batch]:
    """Yield the batches of some steps of one stage, made in one process beside this one."""
    batches = _Batches(recipe, material, stage, steps)
    loader: DataLoader[Batch] = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=_PREFETCHED_BATCHES)
    return iter(loader)
