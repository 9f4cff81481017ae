"""Yes/no accuracy and pointing during training, through the packed forward pass.

`tiny_recipe.evaluate` and `tiny_recipe.pointing` measure a finished checkpoint by other code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from stvg_tiny.combinations import EVERYTHING, TRAINING
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split, held_out_scene, split_generator
from stvg_tiny.scenes import Difficulty, Scene, frame_times
from tiny_recipe.batches import Material
from tiny_recipe.packing import SharedHead, encode_videos, pack, packed_forward
from tiny_recipe.pixels import pixel_tensors
from tiny_recipe.questions import YES, Question, yes_no_questions
from tiny_recipe.supervision import asked_cells, dense_labels

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


Cut = Literal["nothing", "words", "roles"]
"""Which of a question's tokens do not see the video: none, its own words, or the role tokens behind them."""
CUTS: Final[tuple[Cut, ...]] = get_args(Cut)


@dataclass(frozen=True)
class AnsweredScenes:
    """Some scenes with what a model says and looks at.

    Attributes:
        scenes: The scenes.
        questions: Per scene, its questions.
        right: Per scene and question, whether the most likely word is the true answer.
        role_attention: Attention of the role tokens to the visual tokens, the mean over layers and heads.
    """

    scenes: Sequence[Scene]
    questions: Sequence[Sequence[Question]]
    right: Sequence[Sequence[bool]]
    role_attention: Float[Tensor, "video question role visual_token"]


@torch.no_grad()
def answer_scenes(
    material: Material,
    model: PreTrainedModel,
    head: SharedHead,
    samples: Sequence[tuple[Scene, Sequence[Question]]],
    cut: Cut = "nothing",
) -> AnsweredScenes:
    """Return a model's answers to yes/no questions about a few scenes, in one pass."""
    grid = material.architecture.grid
    scenes, questions = [scene for scene, _ in samples], [part for _, part in samples]
    frames = np.stack([render(scene, frame_times(grid.frame_count), grid.size_pixels) for scene in scenes])
    tensors = pixel_tensors(material.architecture, material.config, torch.from_numpy(frames))
    tensors = {name: tensor.to(model.device) for name, tensor in tensors.items()}
    packed = pack([[material.exchange(item) for item in part] for part in questions]).to(model.device)
    blind = None if cut == "nothing" else packed.words if cut == "words" else packed.roles
    states = packed_forward(model, encode_videos(material.architecture, model, tensors), packed, head, blind=blind)
    lm_head: Any = model.lm_head
    hits = lm_head(states.predicting).argmax(dim=-1) == packed.labels
    # The first token of the reply is the answer, the second ends the turn.
    answers = packed.role_places[..., -1] + 1
    right = [
        [bool(hits[video, answers[video, number]]) for number in range(len(part))]
        for video, part in enumerate(questions)
    ]
    return AnsweredScenes(scenes, questions, right, states.role_attention.mean(dim=0).cpu())


def answers_by_passes(
    material: Material,
    model: PreTrainedModel,
    head: SharedHead,
    samples: Sequence[tuple[Scene, Sequence[Question]]],
    cut: Cut = "nothing",
) -> Iterator[AnsweredScenes]:
    """Yield a model's answers about many scenes, some scenes at a time."""
    for first in range(0, len(samples), _SCENES_PER_PASS):
        yield answer_scenes(material, model, head, samples[first : first + _SCENES_PER_PASS], cut)


def development_accuracy(
    material: Material, model: PreTrainedModel, head: SharedHead
) -> tuple[Accuracy, dict[str, float]]:
    """Return yes/no accuracy on the first hard development scenes, and pointing accuracy by kind.

    Pointing is the share of role tokens of answerable questions whose strongest visual token, in
    the mean over layers, has what the question names.
    """
    grid = material.architecture.grid
    outcomes: list[tuple[Question, bool]] = []
    pointing: dict[str, list[float]] = defaultdict(list)
    samples = [held_out_questions(Split.DEVELOPMENT, index, "hard") for index in range(_DEVELOPMENT_SCENES)]
    for answered in answers_by_passes(material, model, head, samples):
        labels = [dense_labels(scene, frame_times(grid.frame_count), grid) for scene in answered.scenes]
        cells = asked_cells(answered.questions, torch.from_numpy(np.stack(labels)))
        strongest = answered.role_attention.argmax(dim=-1)
        for video, part in enumerate(answered.questions):
            outcomes += zip(part, answered.right[video], strict=True)
            for number, question in enumerate(part):
                if question.answer == YES and cells[video, number].any():
                    described = cells[video, number][strongest[video, number]]
                    pointing[question.kind].append(float(described.float().mean()))
    return summarize(outcomes), {kind: round(float(np.mean(values)), 4) for kind, values in sorted(pointing.items())}
