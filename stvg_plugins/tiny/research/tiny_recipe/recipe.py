"""The training schedule: every number of it.

Stages end when the development accuracy is good enough, or after their most steps. Nothing here
depends on the clock, so a run is the same on a slow machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np

from stvg_tiny.sampling import Split, chance, sample_scene, split_generator
from stvg_tiny.scenes import Difficulty, Scene
from tiny_recipe.questions import Kind

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
class Stage:
    """What the scenes and losses are like for some steps.

    Attributes:
        name: What the log calls it.
        most_steps: Steps after which it ends whatever the accuracy.
        few_share: Share of scenes with few objects; of the others, `Recipe.hard_share` is `hard`.
        few_objects: The most objects that such a scene has.
        dense_weight: Weight of the dense losses.
        answers: Whether questions are asked; without, the vision tower learns alone.
        yes_no_share: Share of scenes that are asked yes/no questions alone, the others all kinds.
        blocked_share: Share of questions whose own words do not see the video, so that the answer must
            run through the tokens behind them.
        gate: Development accuracy by kind at which the stage ends early; never, if empty.
        decays: Whether the learning rate falls from its peak to its end within the stage.
    """

    name: str
    most_steps: int
    few_share: float
    few_objects: int
    dense_weight: float
    answers: bool = True
    yes_no_share: float = 0.7
    blocked_share: float = 0.0
    gate: Mapping[str, float] = field(default_factory=dict)
    decays: bool = False


STAGES: Final = (
    Stage("see", 500, few_share=0.9, few_objects=2, dense_weight=1.0, answers=False),
    Stage("few", 600, few_share=0.85, few_objects=2, dense_weight=1.0, gate={"single": 0.85, "action": 0.85}),
    Stage("many", 1000, few_share=0.25, few_objects=3, dense_weight=0.5, gate={"attribute": 0.9, "action": 0.93}),
    Stage("settle", 600, few_share=0.1, few_objects=3, dense_weight=0.3, blocked_share=0.5, decays=True),
)


@dataclass(frozen=True)
class Recipe:
    """All settings of one training run.

    Attributes:
        seed: Seed of the weights and of the data.
        stages: What is learned one after the other.
        hard_share: Share of `hard` scenes among those without few objects; the rest is `easy`.
        batch_videos: Videos per step.
        looking_weight: Weight of the loss that makes role tokens look at what a question names.
        reading_weight: Weight of the loss that makes them read the words that name it.
        place_weight: Weight of the loss that makes visual tokens tell their place, where a visual token is of
            one frame and so shows no movement itself.
        following_weight: Weight of the loss that makes them look at their object a frame earlier, likewise.
        peak_learning_rate: Of AdamW; reached after the ramp of the run and of the first stage with answers.
        ramp_steps: Steps of a ramp.
        final_rate_share: Learning rate at the end, as a share of the peak.
        weight_decay: Of matrices; vectors have none.
        betas: Of AdamW.
        clip_norm: Largest norm of the model's gradient.
        unknown_word_chance: Chance that a question's word is replaced by the unknown token.
        end_weight: Loss weight of the token that ends an answer.
        evaluate_every: Steps of a stage between two looks at the development accuracy, after which the
            state is saved.
        looking_tokens: Which role tokens those two losses make look and read, by their place from the prompt's
            end; empty: all. With some alone the others are free, and which token is read matters.
    """

    seed: int = 0
    stages: tuple[Stage, ...] = STAGES
    hard_share: float = 0.6
    batch_videos: int = 8
    looking_weight: float = 1.0
    reading_weight: float = 0.3
    place_weight: float = 0.5
    following_weight: float = 0.3
    peak_learning_rate: float = 1.3e-3
    ramp_steps: int = 100
    final_rate_share: float = 0.02
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    unknown_word_chance: float = 0.01
    end_weight: float = 0.05
    evaluate_every: int = 100
    looking_tokens: tuple[int, ...] = ()

    def learning_rate(self, stage_number: int, stage_step: int) -> float:
        """Return the learning rate at a step of a stage: a ramp, a constant, at last a cosine."""
        stage = self.stages[stage_number]
        starts = stage_number == 0 or (stage.answers and not self.stages[stage_number - 1].answers)
        ramp = min(1.0, (stage_step + 1) / self.ramp_steps) if starts else 1.0
        share_done = stage_step / stage.most_steps if stage.decays else 0.0
        cosine = 0.5 * (1.0 + math.cos(math.pi * share_done))
        return self.peak_learning_rate * ramp * (self.final_rate_share + (1.0 - self.final_rate_share) * cosine)

    def item_generator(self, step: int, video: int) -> np.random.Generator:
        """Return the source of all randomness of one training video."""
        return split_generator(Split.TRAIN, self.seed, step, video)

    def scene(self, generator: np.random.Generator, stage: Stage) -> Scene:
        """Draw a training scene of the difficulty that a stage calls for."""
        if chance(generator, stage.few_share):
            return sample_scene(generator, "easy", int(generator.integers(1, stage.few_objects + 1)))
        difficulty: Difficulty = "hard" if chance(generator, self.hard_share) else "easy"
        return sample_scene(generator, difficulty)
