"""Yes/no accuracy and pointing during training, through the packed forward pass.

`stvg_tiny.evaluate` and `stvg_tiny.pointing` measure a finished checkpoint by other code.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import numpy as np
import torch
from transformers import PreTrainedModel

from stvg_tiny.batches import Material
from stvg_tiny.combinations import EVERYTHING, TRAINING
from stvg_tiny.packing import SharedHead, encode_videos, pack, packed_forward
from stvg_tiny.pixels import pixel_tensors
from stvg_tiny.questions import YES, Question, yes_no_questions
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split, held_out_scene, split_generator
from stvg_tiny.scenes import Difficulty, Scene, frame_times
from stvg_tiny.supervision import asked_cells, dense_labels

Accuracy = dict[str, float]
"""Share of right answers by kind of question, and by kind and true answer ("action_no")."""

_QUESTION_KEY: Final = 7
_DEVELOPMENT_SCENES: Final = 96
_SCENES_PER_PASS: Final = 8


def held_out_questions(split: Split, index: int, difficulty: Difficulty) -> tuple[Scene, list[Question]]:
    """Return a held-out scene and its yes/no questions, the same on every call."""
    generator = split_generator(split, _QUESTION_KEY, int(difficulty == "hard"), index)
    scene = held_out_scene(split, index, difficulty)
    return scene, yes_no_questions(generator, scene, EVERYTHING if split is Split.TEST else TRAINING)


def summarize(outcomes: list[tuple[Question, bool]]) -> Accuracy:
    """Return the share of right answers by kind, and by kind and true answer."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for question, right in outcomes:
        groups[question.kind].append(right)
        groups[f"{question.kind}_{question.answer}"].append(right)
    return {name: round(float(np.mean(rights)), 4) for name, rights in sorted(groups.items())}


@torch.no_grad()
def development_accuracy(
    material: Material, model: PreTrainedModel, head: SharedHead
) -> tuple[Accuracy, dict[str, float]]:
    """Return yes/no accuracy on the first hard development scenes, and pointing accuracy by kind.

    Pointing is the share of role tokens of answerable questions whose strongest visual token, in
    the mean over layers, has what the question names.
    """
    grid = material.architecture.grid
    lm_head: Any = model.lm_head
    times = frame_times(grid.frame_count)
    outcomes: list[tuple[Question, bool]] = []
    pointing: dict[str, list[float]] = defaultdict(list)
    for first in range(0, _DEVELOPMENT_SCENES, _SCENES_PER_PASS):
        pairs = [
            held_out_questions(Split.DEVELOPMENT, index, "hard") for index in range(first, first + _SCENES_PER_PASS)
        ]
        frames = np.stack([render(scene, times, grid.size_pixels) for scene, _ in pairs])
        labels = torch.from_numpy(np.stack([dense_labels(scene, times, grid) for scene, _ in pairs]))
        tensors = pixel_tensors(material.architecture, material.config, torch.from_numpy(frames))
        packed = pack([[material.exchange(item) for item in asked] for _, asked in pairs])
        states = packed_forward(model, encode_videos(material.architecture, model, tensors), packed, head)
        answers = lm_head(states.predicting).argmax(dim=-1)
        right = answers == packed.labels
        cells = asked_cells([asked for _, asked in pairs], labels)
        strongest = states.role_attention.mean(dim=0).argmax(dim=-1)
        for video, (_, asked) in enumerate(pairs):
            for number, question in enumerate(asked):
                reply = (packed.segments[video] == number + 1) & (packed.labels[video] >= 0)
                # The first token of the reply is the answer, the second ends the turn.
                outcomes.append((question, bool(right[video][reply][0])))
                if question.answer == YES and cells[video, number].any():
                    found = cells[video, number][strongest[video, number]]
                    pointing[question.kind].append(float(found.float().mean()))
    return summarize(outcomes), {kind: round(float(np.mean(found)), 4) for kind, found in sorted(pointing.items())}
