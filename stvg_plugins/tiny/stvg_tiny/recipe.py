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
class Stage:
    """What the scenes and losses are like, up to a step.

    Attributes:
        until_step: First step that is no longer of this stage.
        few_share: Share of scenes with few objects; of the others, `Recipe.hard_share` is `hard`.
        few_objects: The most objects that such a scene has.
        dense_weight: Weight of the dense losses beside the answers; None while they are alone.
        middle_looks: Whether the middle layer's dense loss has colour and shape, not action alone.
        drill: Whether scenes are asked about each single colour and shape, and nothing else.
        attribute_pairs: How often a scene is asked for a colour with a shape, once with answer yes, once no.
    """

    until_step: int
    few_share: float
    few_objects: int
    dense_weight: float | None
    middle_looks: bool = False
    drill: bool = False
    attribute_pairs: int = 1


STAGES: Final = (
    Stage(768, few_share=0.9, few_objects=2, dense_weight=None),
    Stage(1050, few_share=0.9, few_objects=2, dense_weight=1.0),
    Stage(1650, few_share=0.6, few_objects=3, dense_weight=1.0),
    Stage(2100, few_share=0.0, few_objects=3, dense_weight=1.0),
    Stage(2400, few_share=0.0, few_objects=3, dense_weight=0.3),
    # Up to here colours and actions are learned, but "a circle" is still answered by chance. Shapes
    # that are legible in the middle of the model, and a drill, make them break through.
    Stage(2720, few_share=0.9, few_objects=2, dense_weight=1.0, middle_looks=True, drill=True),
    Stage(2820, few_share=0.0, few_objects=3, dense_weight=1.0, middle_looks=True, drill=True),
    Stage(3300, few_share=0.0, few_objects=3, dense_weight=1.0, middle_looks=True),
    Stage(3600, few_share=0.0, few_objects=3, dense_weight=0.3, middle_looks=True),
    # Circles and squares are told apart now; the other three shapes need the drill once more.
    Stage(3800, few_share=0.9, few_objects=2, dense_weight=1.0, middle_looks=True, drill=True),
    Stage(3900, few_share=0.0, few_objects=3, dense_weight=1.0, middle_looks=True, drill=True),
    Stage(4800, few_share=0.0, few_objects=3, dense_weight=0.3, middle_looks=True),
    # What is left are absent pairs of a colour and a shape that are both there: ask for more of them.
    Stage(100_000, few_share=0.0, few_objects=3, dense_weight=0.3, middle_looks=True, attribute_pairs=4),
)


@dataclass(frozen=True)
class RateCycle:
    """A course of the learning rate: a ramp, a constant part, a cosine decay to `end_step`.

    A later cycle cuts an earlier one short.
    """

    first_step: int
    ramp_steps: int
    end_step: int


CYCLES: Final = (
    RateCycle(0, 200, 4000),
    RateCycle(768, 200, 4000),
    RateCycle(2400, 50, 4500),
    RateCycle(3600, 50, 4800),
    RateCycle(4800, 50, 5400),
)


@dataclass(frozen=True)
class Recipe:
    """All settings of one training run.

    Attributes:
        seed: Seed of the weights and of the data.
        steps: Optimiser steps in all.
        stages: What is learned when; the first stage, without answers, trains the vision tower.
        cycles: The course of the learning rate.
        hard_share: Share of `hard` scenes among those without few objects; the rest is `easy`.
        batch_videos: Videos per step.
        peak_learning_rate: Of AdamW; reached after the ramp of a cycle.
        constant_share: Share of a cycle before its decay begins.
        final_rate_share: Learning rate at a cycle's end, as a share of the peak.
        weight_decay: Of matrices; vectors have none.
        betas: Of AdamW.
        clip_norm: Largest norm of the model's gradient.
        unknown_word_chance: Chance that a question's word is replaced by the unknown token.
        end_weight: Loss weight of the token that ends an answer.
        evaluate_every: Steps between two looks at the development accuracy.
        save_every: Steps between two saved states.
    """

    seed: int = 0
    steps: int = 5400
    stages: tuple[Stage, ...] = STAGES
    cycles: tuple[RateCycle, ...] = CYCLES
    hard_share: float = 0.6
    batch_videos: int = 8
    peak_learning_rate: float = 1.3e-3
    constant_share: float = 0.3
    final_rate_share: float = 0.02
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    unknown_word_chance: float = 0.01
    end_weight: float = 0.05
    evaluate_every: int = 250
    save_every: int = 200

    def stage(self, step: int) -> Stage:
        """Return the stage that a step belongs to."""
        return next((stage for stage in self.stages if step < stage.until_step), self.stages[-1])

    def learning_rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        cycle = [cycle for cycle in self.cycles if cycle.first_step <= step][-1]
        cycle_step = step - cycle.first_step
        share_done = min(1.0, cycle_step / (cycle.end_step - cycle.first_step))
        decayed = max(0.0, (share_done - self.constant_share) / (1.0 - self.constant_share))
        cosine = 0.5 * (1.0 + math.cos(math.pi * decayed))
        scale = self.final_rate_share + (1.0 - self.final_rate_share) * cosine
        return self.peak_learning_rate * min(1.0, (cycle_step + 1) / cycle.ramp_steps) * scale

    def item_generator(self, step: int, video: int) -> np.random.Generator:
        """Return the source of all randomness of one training video."""
        return split_generator(Split.TRAIN, self.seed, step, video)

    def scene(self, generator: np.random.Generator, step: int) -> Scene:
        """Draw a training scene of the difficulty that the step calls for."""
        stage = self.stage(step)
        if chance(generator, stage.few_share):
            return sample_scene(generator, "easy", int(generator.integers(1, stage.few_objects + 1)))
        difficulty: Difficulty = "hard" if chance(generator, self.hard_share) else "easy"
        return sample_scene(generator, difficulty)
