"""Draws random scenes.

`easy` scenes hold 2-4 objects at random. `hard` scenes hold 3-4, of which one has the target's
colour and shape but another action, and one has the target's action but another colour or shape,
so that neither half of a query is enough to find the target.

The random streams of the splits never meet: each begins with its own key. Training and development
scenes hold training combinations only (`stvg_tiny.combinations`); test scenes add what was held
out, in the shares that `planned_novelty` fixes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, Literal, TypeVar

import numpy as np

from stvg_tiny.combinations import (
    EVERYTHING,
    HELD_OUT_GRID_CELLS,
    HELD_OUT_OBJECT_COUNT,
    HELD_OUT_PAIRS,
    HELD_OUT_TRIPLES,
    TRAINING,
    Combinations,
)
from stvg_tiny.errors import SceneError
from stvg_tiny.scenes import (
    COLOR_NAMES,
    DIRECTIONS,
    EVENTS,
    STILL,
    Difficulty,
    Scene,
    SceneObject,
    Span,
    Texture,
    frame_times,
)

NOMINAL_FRAMES: Final = 16
NOMINAL_PIXELS: Final = 96
"""Sizes and durations below are written for a video of 16 frames of 96x96 pixels."""

_PLACEMENT_ATTEMPTS: Final = 25
_SCENE_ATTEMPTS: Final = 1000
_MOST_RANDOM_OBJECTS: Final = 4
_HARD_DISTRACTORS: Final = 2
_MINIMUM_GAP: Final = 0.95
"""Least distance between two centres, in sums of their radii."""

_NOVELTY_BLOCK: Final = 4
"""The test split's shares hold exactly within each block of this many scenes."""

_Item = TypeVar("_Item")
_Description = tuple[str, str, str]
TargetGroup = Literal["training", "pair", "triple"]
"""Whether a test scene's target is of the training combinations, or has a held-out pair or triple."""


class Split(IntEnum):
    """First key of each split's random stream; the test stream is frozen, never train or tune on it.

    Demo scenes draw from everything, for they are shown and not counted.
    """

    TRAIN = 1
    DEVELOPMENT = 2
    TEST = 3
    DEMO = 4


def split_generator(split: Split, *keys: int) -> np.random.Generator:
    """Return the random generator of one item of a split; equal keys give equal streams."""
    return np.random.default_rng([int(split), *keys])


@dataclass(frozen=True)
class Novelty:
    """What is new to a model in one test scene.

    Attributes:
        target: Which combination the target has; no other object has a held-out one that is not the target's.
        background: Whether the background is the held-out one.
        five_objects: Whether the scene has five objects.
    """

    target: TargetGroup
    background: bool
    five_objects: bool

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the names of the groups that the scene belongs to; none if nothing is new.

        >>> Novelty("pair", background=True, five_objects=False).tags
        ('pair', 'background')
        """
        named = {"background": self.background, "five_objects": self.five_objects}
        target = () if self.target == "training" else (self.target,)
        return target + tuple(name for name, holds in named.items() if holds)


def held_out_scene(split: Split, index: int, difficulty: Difficulty) -> Scene:
    """Return scene number `index` of a split: the same scene today and in a year."""
    if split is Split.TEST:
        return sample_test_scene(index, difficulty)
    combinations = EVERYTHING if split is Split.DEMO else TRAINING
    generator = split_generator(split, int(difficulty == "hard"), index)
    return sample_scene(generator, difficulty, combinations=combinations)


def planned_novelty(index: int, difficulty: Difficulty, seed: int = 0) -> Novelty:
    """Return what is new in test scene number `index`.

    Of each four consecutive scenes two have targets of the training combinations, one of a held-out
    pair, one of a held-out triple; one has the held-out background, one five objects. Where they
    stand among the four is drawn for each of the three on its own.
    """
    block, place = divmod(index, _NOVELTY_BLOCK)
    generator = split_generator(Split.TEST, seed, 1, int(difficulty == "hard"), block)
    groups: tuple[TargetGroup, ...] = ("training", "training", "pair", "triple")
    group = groups[int(generator.permutation(_NOVELTY_BLOCK)[place])]
    background, crowd = generator.integers(_NOVELTY_BLOCK, size=2)
    return Novelty(group, background=bool(place == background), five_objects=bool(place == crowd))


def sample_test_scene(index: int, difficulty: Difficulty, seed: int = 0) -> Scene:
    """Draw test scene number `index`; seed 0 is the test split, others are further samples like it."""
    novelty = planned_novelty(index, difficulty, seed)
    generator = split_generator(Split.TEST, seed, 0, int(difficulty == "hard"), index)
    combinations, target = TRAINING, None
    if novelty.target == "pair":
        color, shape = pick(generator, HELD_OUT_PAIRS)
        target = (color, shape, pick(generator, EVENTS))
        combinations = TRAINING.with_pair(color, shape)
    elif novelty.target == "triple":
        target = pick(generator, HELD_OUT_TRIPLES)
        combinations = TRAINING.with_triple(*target)
    if novelty.background:
        combinations = replace(combinations, grid_cells=(HELD_OUT_GRID_CELLS,))
    count = HELD_OUT_OBJECT_COUNT
    if not novelty.five_objects:
        count = int(generator.integers(_least_objects(difficulty, 2), _MOST_RANDOM_OBJECTS + 1))
    combinations = replace(combinations, most_objects=count)
    return sample_scene(generator, difficulty, count, combinations=combinations, target=target, exact_count=True)


def pick(generator: np.random.Generator, items: Sequence[_Item]) -> _Item:
    """Return one item, each as likely as another."""
    return items[int(generator.integers(len(items)))]


def chance(generator: np.random.Generator, probability: float) -> bool:
    """Return true with the given probability."""
    return float(generator.random()) < probability


def branch(generator: np.random.Generator, bounds: Sequence[float]) -> int:
    """Return which of `len(bounds) + 1` ways to take; the bounds are cumulative probabilities."""
    return bisect_right(bounds, float(generator.random()))


def sample_scene(
    generator: np.random.Generator,
    difficulty: Difficulty,
    object_count: int | None = None,
    *,
    combinations: Combinations = TRAINING,
    target: _Description | None = None,
    exact_count: bool = False,
) -> Scene:
    """Draw a scene.

    Args:
        generator: Source of every random choice.
        difficulty: `hard` adds the two distractors described at the head of this module.
        object_count: Number of objects; random (at most four) if None. A crowded scene may
            end with fewer, when there is no free place.
        combinations: What the scene may hold.
        target: Colour, shape and action of the target; random among the combinations if None.
        exact_count: Draw until every object has a place.

    Raises:
        SceneError: If a hard scene is asked for with too few objects to hold its distractors, the
            combinations do not allow the target, or there is no place for the objects.
    """
    least = _least_objects(difficulty, 1)
    if object_count is not None and object_count < least:
        raise SceneError(f"a {difficulty} scene needs at least {least} objects, got object_count={object_count}")
    if object_count is not None and object_count > combinations.most_objects:
        raise SceneError(f"expected at most {combinations.most_objects} objects here, got object_count={object_count}")
    if target is not None and not combinations.allows(*target):
        raise SceneError(f"expected a target that the combinations allow, got {' '.join(target)}")
    for _ in range(_SCENE_ATTEMPTS):
        most = min(_MOST_RANDOM_OBJECTS, combinations.most_objects)
        object_total = object_count or int(generator.integers(_least_objects(difficulty, 2), most + 1))
        descriptions = _sample_descriptions(generator, difficulty, object_total, combinations, target)
        objects = _place(generator, descriptions)
        needed = object_total if exact_count else least
        if len(objects) >= needed and _kept_in_order(objects, descriptions, needed):
            return Scene(objects=tuple(objects), texture=_sample_texture(generator, combinations))
    raise SceneError(f"found no place for all objects in {_SCENE_ATTEMPTS} attempts; ask for fewer")


def _least_objects(difficulty: Difficulty, least_easy: int) -> int:
    return max(least_easy, _HARD_DISTRACTORS + 1) if difficulty == "hard" else least_easy


def _sample_descriptions(
    generator: np.random.Generator,
    difficulty: Difficulty,
    count: int,
    combinations: Combinations,
    target: _Description | None,
) -> list[_Description]:
    """Draw (colour, shape, action) of each object; the first is the target."""
    target = target or _sample_target(generator, combinations)
    color, shape, _ = target
    descriptions = [target]
    if difficulty == "hard":
        descriptions += _sample_distractors(generator, target, combinations)
    while len(descriptions) < count:
        other_color = pick(generator, COLOR_NAMES) if chance(generator, 0.6) else color
        shapes = combinations.shapes(other_color)
        other_shape = pick(generator, shapes) if chance(generator, 0.6) or shape not in shapes else shape
        still = chance(generator, 0.25)
        action = STILL if still else pick(generator, combinations.events(other_color, other_shape))
        # One draw in four at least stays still, so this ends.
        if (other_color, other_shape, action) != target:
            descriptions.append((other_color, other_shape, action))
    return descriptions


def _sample_target(generator: np.random.Generator, combinations: Combinations) -> _Description:
    color = pick(generator, COLOR_NAMES)
    shape = pick(generator, combinations.shapes(color))
    return color, shape, pick(generator, combinations.events(color, shape))


def _sample_distractors(
    generator: np.random.Generator, target: _Description, combinations: Combinations
) -> list[_Description]:
    """Draw an object that looks like the target, and one that acts like it."""
    color, shape, action = target
    looks_alike = (color, shape, _other(generator, (*combinations.events(color, shape), STILL), action))
    # Two in five distractors differ in shape alone, two in colour alone, one in both.
    change = branch(generator, (0.4, 0.8))
    if change == 1:
        return [looks_alike, (_other(generator, combinations.colors(shape, action), color), shape, action)]
    changed_color = color if change == 0 else _other(generator, COLOR_NAMES, color)
    changed_shape = _other(generator, combinations.shapes(changed_color, action), shape)
    return [looks_alike, (changed_color, changed_shape, action)]


def _other(generator: np.random.Generator, names: Sequence[str], excluded: str) -> str:
    return pick(generator, [name for name in names if name != excluded])


def _place(generator: np.random.Generator, descriptions: Sequence[_Description]) -> list[SceneObject]:
    """Give each object a way through the frame on which it meets no other; drop what finds none."""
    times = frame_times(NOMINAL_FRAMES)
    placed: list[SceneObject] = []
    for description in descriptions:
        for _ in range(_PLACEMENT_ATTEMPTS):
            candidate = _sample_object(generator, *description)
            if all(_apart(candidate, other, times) for other in placed):
                placed.append(candidate)
                break
    return placed


def _apart(first: SceneObject, second: SceneObject, times: np.ndarray) -> bool:
    distances = np.linalg.norm(first.centers(times) - second.centers(times), axis=1)
    return bool((distances > _MINIMUM_GAP * (first.radii(times) + second.radii(times))).all())


def _kept_in_order(objects: Sequence[SceneObject], descriptions: Sequence[_Description], count: int) -> bool:
    """Return whether the first `count` objects are those that were asked for."""
    placed = [(item.color, item.shape, item.action) for item in objects[:count]]
    return placed == list(descriptions[:count])


def _sample_object(generator: np.random.Generator, color: str, shape: str, action: str) -> SceneObject:
    duration = generator.uniform(6.0 if action == "blinks" else 5.0, 9.5)
    start = generator.uniform(0.0, NOMINAL_FRAMES - duration)
    span = Span(start / NOMINAL_FRAMES, (start + duration) / NOMINAL_FRAMES)
    if action == STILL:
        span = Span(0.0, 1.0)
    displacement = np.zeros(2)
    start_radius = end_radius = generator.uniform(8.0, 13.0)
    if action in DIRECTIONS:
        step = np.array(DIRECTIONS[action])
        distance = min(generator.uniform(28.0, 44.0) * duration / 8.0 + 4.0, 50.0)
        displacement = distance * step + generator.uniform(-3.0, 3.0) * step[::-1]
    elif action in ("grows", "shrinks"):
        small, large = generator.uniform(7.0, 8.5), generator.uniform(14.0, 17.0)
        start_radius, end_radius = (small, large) if action == "grows" else (large, small)
    margin = max(start_radius, end_radius) + 1.0
    lowest = np.maximum(margin, margin - displacement)
    highest = np.minimum(NOMINAL_PIXELS - margin, NOMINAL_PIXELS - margin - displacement)
    center = generator.uniform(lowest, np.maximum(highest, lowest + 1e-3))
    tint = generator.uniform(-18.0, 18.0, 3)
    return SceneObject(
        color=color,
        shape=shape,
        action=action,
        span=span,
        start_center=(float(center[0] / NOMINAL_PIXELS), float(center[1] / NOMINAL_PIXELS)),
        displacement=(
            float(displacement[0] / NOMINAL_PIXELS),
            float(displacement[1] / NOMINAL_PIXELS),
        ),
        start_radius=start_radius / NOMINAL_PIXELS,
        end_radius=end_radius / NOMINAL_PIXELS,
        blink_offset=float(generator.uniform(0.0, 2.0)) if action == "blinks" else 0.0,
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
    )


def _sample_texture(generator: np.random.Generator, combinations: Combinations) -> Texture:
    return Texture(
        seed=int(generator.integers(2**31)),
        grid_cells=pick(generator, combinations.grid_cells),
        noise_level=float(generator.uniform(2.0, 10.0)),
        edge_softness=float(generator.uniform(0.5, 2.2) / NOMINAL_PIXELS),
    )
