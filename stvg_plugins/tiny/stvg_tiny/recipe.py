"""The training schedule: every number of it, as functions of the step.

Nothing here depends on the clock, so a run is the same on a slow machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from stvg_tiny.questions import Kind
from stvg_tiny.sampling import Split, chance, sample_scene, split_generator
from stvg_tiny.scenes import Difficulty, Scene

KIND_WEIGHTS: Final[Mapping[Kind, float]] = MappingProxyType(
    {
        "attribute": 2.5,
        "single": 2.5,
        "action": 2.5,
        "subject_action": 2.5,
        "combined": 2.5,
        "what": 0.5,
        "does": 0.5,
        "when": 0.3,
        "caption": 0.2,
    }
)
"""Loss weight of an answer's tokens, by kind of question."""


@dataclass(frozen=True)
class Recipe:
    """All settings of one training run.

    Attributes:
        seed: Seed of the weights and of the data.
        steps: Optimiser steps in all.
        vision_steps: The first of them train the vision tower alone, on the dense labels.
        pairs_until_step: Before this step a share `pairs_share` of the scenes has one or two objects.
        pairs_share: See above.
        triples_until_step: Before this step a share `triples_share` has one to three objects.
        triples_share: See above.
        hard_share: Share of `hard` scenes among all others; the rest is `easy`.
        dense_until_step: After this step the dense losses weigh `late_dense_weight` instead of 1.
        late_dense_weight: See above.
        batch_videos: Videos per step.
        peak_learning_rate: Of AdamW; reached after `ramp_steps` in each of the two phases.
        ramp_steps: See above.
        constant_share: Share of the joint phase before the cosine decay begins.
        final_rate_share: Learning rate at the end, as a share of the peak.
        weight_decay: Of matrices; vectors have none.
        betas: Of AdamW.
        clip_norm: Largest norm of the model's gradient.
        unknown_word_chance: Chance that a question's word is replaced by the unknown token.
        end_weight: Loss weight of the token that ends an answer.
        evaluate_every: Steps between two looks at the development accuracy.
        save_every: Steps between two saved states.
    """

    seed: int = 0
    steps: int = 4000
    vision_steps: int = 768
    pairs_until_step: int = 1050
    pairs_share: float = 0.9
    triples_until_step: int = 1650
    triples_share: float = 0.6
    hard_share: float = 0.6
    dense_until_step: int = 2100
    late_dense_weight: float = 0.3
    batch_videos: int = 8
    peak_learning_rate: float = 1.3e-3
    ramp_steps: int = 200
    constant_share: float = 0.3
    final_rate_share: float = 0.02
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    unknown_word_chance: float = 0.01
    end_weight: float = 0.05
    evaluate_every: int = 250
    save_every: int = 200

    def learning_rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        if step < self.vision_steps:
            return self.peak_learning_rate * min(1.0, (step + 1) / self.ramp_steps)
        joint_step = step - self.vision_steps
        share_done = joint_step / max(1, self.steps - self.vision_steps)
        decayed = max(0.0, (share_done - self.constant_share) / (1.0 - self.constant_share))
        cosine = 0.5 * (1.0 + math.cos(math.pi * decayed))
        scale = self.final_rate_share + (1.0 - self.final_rate_share) * cosine
        return self.peak_learning_rate * min(1.0, (joint_step + 1) / self.ramp_steps) * scale

    def dense_weight(self, step: int) -> float:
        """Return the weight of the dense losses in the joint phase."""
        return 1.0 if step < self.dense_until_step else self.late_dense_weight

    def item_generator(self, step: int, video: int) -> np.random.Generator:
        """Return the source of all randomness of one training video."""
        return split_generator(Split.TRAIN, self.seed, step, video)

    def scene(self, generator: np.random.Generator, step: int) -> Scene:
        """Draw a training scene of the difficulty that the step calls for."""
        draw = generator.random()
        if step < self.pairs_until_step and draw < self.pairs_share:
            return sample_scene(generator, "easy", int(generator.integers(1, 3)))
        if step < self.triples_until_step and draw < self.triples_share:
            return sample_scene(generator, "easy", int(generator.integers(1, 4)))
        difficulty: Difficulty = "hard" if chance(generator, self.hard_share) else "easy"
        return sample_scene(generator, difficulty)
