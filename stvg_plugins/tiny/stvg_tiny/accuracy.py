"""Yes/no accuracy during training, through the packed forward pass.

`stvg_tiny.evaluate` measures a finished checkpoint by ordinary forward passes instead.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration

from stvg_tiny.architectures import VideoGrid
from stvg_tiny.batches import exchange
from stvg_tiny.packing import SharedHead, encode_videos, pack, packed_forward
from stvg_tiny.pixels import normalized_patches
from stvg_tiny.questions import Question, yes_no_questions
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split, held_out_scene, split_generator
from stvg_tiny.scenes import Difficulty, Scene, frame_times

Accuracy = dict[str, float]
"""Share of right answers by kind of question, and by kind and true answer ("action_no")."""

_QUESTION_KEY: Final = 7
_DEVELOPMENT_SCENES: Final = 96
_SCENES_PER_PASS: Final = 8


def held_out_questions(split: Split, index: int, difficulty: Difficulty) -> tuple[Scene, list[Question]]:
    """Return a held-out scene and its yes/no questions, the same on every call."""
    generator = split_generator(split, _QUESTION_KEY, int(difficulty == "hard"), index)
    scene = held_out_scene(split, index, difficulty)
    return scene, yes_no_questions(generator, scene)


def summarize(outcomes: list[tuple[Question, bool]]) -> Accuracy:
    """Return the share of right answers by kind, and by kind and true answer."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for question, right in outcomes:
        groups[question.kind].append(right)
        groups[f"{question.kind}_{question.answer}"].append(right)
    return {name: round(float(np.mean(rights)), 4) for name, rights in sorted(groups.items())}


@torch.no_grad()
def development_accuracy(
    model: Qwen2VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    head: SharedHead,
    grid: VideoGrid,
) -> Accuracy:
    """Return the yes/no accuracy on the first hard development scenes."""
    outcomes: list[tuple[Question, bool]] = []
    for first in range(0, _DEVELOPMENT_SCENES, _SCENES_PER_PASS):
        pairs = [
            held_out_questions(Split.DEVELOPMENT, index, "hard") for index in range(first, first + _SCENES_PER_PASS)
        ]
        times = frame_times(grid.frame_count)
        frames = np.stack([render(scene, times, grid.size_pixels) for scene, _ in pairs])
        patches = normalized_patches(torch.from_numpy(frames), grid)
        packed = pack([[exchange(tokenizer, item) for item in asked] for _, asked in pairs])
        states = packed_forward(model, encode_videos(model, patches, grid), packed, head)
        answers = model.lm_head(states.predicting).argmax(dim=-1)
        right = answers == packed.labels
        for video, (_, asked) in enumerate(pairs):
            for number, question in enumerate(asked, start=1):
                reply = (packed.segments[video] == number) & (packed.labels[video] >= 0)
                # The first token of the reply is the answer, the second ends the turn.
                outcomes.append((question, bool(right[video][reply][0])))
    return summarize(outcomes)
