"""Draws random scenes.

`easy` scenes hold 2-4 objects at random. `hard` scenes hold 3-4, of which one has the target's
colour and shape but another action, and one has the target's action but another colour or shape,
so that neither half of a query is enough to find the target.

The random streams of the splits never meet: each begins with its own key.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, TypeVar

import numpy as np

from stvg_tiny.errors import SceneError
from stvg_tiny.scenes import (
    COLOR_NAMES,
    DIRECTIONS,
    EVENTS,
    SHAPE_NAMES,
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
_HARD_DISTRACTORS: Final = 2
_MINIMUM_GAP: Final = 0.95
"""Least distance between two centres, in sums of their radii."""

_Item = TypeVar("_Item")
_Description = tuple[str, str, str]


class Split(IntEnum):
    """First key of each split's random stream; the test stream is frozen, never train or tune on it."""

    TRAIN = 1
    DEVELOPMENT = 2
    TEST = 3
    DEMO = 4


def split_generator(split: Split, *keys: int) -> np.random.Generator:
    """Return the random generator of one item of a split; equal keys give equal streams."""
    return np.random.default_rng([int(split), *keys])


def held_out_scene(split: Split, index: int, difficulty: Difficulty) -> Scene:
    """Return scene number `index` of a split: the same scene today and in a year."""
    return sample_scene(split_generator(split, int(difficulty == "hard"), index), difficulty)


def pick(generator: np.random.Generator, items: Sequence[_Item]) -> _Item:
    """Return one item, each as likely as another."""
    return items[int(generator.integers(len(items)))]


def chance(generator: np.random.Generator, probability: float) -> bool:
    """Return true with the given probability."""
    return float(generator.random()) < probability


def branch(generator: np.random.Generator, bounds: Sequence[float]) -> int:
    """Return which of `len(bounds) + 1` ways to take; the bounds are cumulative probabilities."""
    return bisect_right(bounds, float(generator.random()))


def sample_scene(generator: np.random.Generator, difficulty: Difficulty, object_count: int | None = None) -> Scene:
    """Draw a scene.

    Args:
        generator: Source of every random choice.
        difficulty: `hard` adds the two distractors described at the head of this module.
        object_count: Exact number of objects wanted; random if None. A crowded easy scene may end
            with fewer, when no free place is found.

    Raises:
        SceneError: If a hard scene is asked for with too few objects to hold its distractors.
    """
    least = _HARD_DISTRACTORS + 1 if difficulty == "hard" else 1
    if object_count is not None and object_count < least:
        raise SceneError(f"a {difficulty} scene needs at least {least} objects, got object_count={object_count}")
    while True:
        wanted = object_count or int(generator.integers(max(least, 2), 5))
        descriptions = _sample_descriptions(generator, difficulty, wanted)
        objects = _place(generator, descriptions)
        if len(objects) >= least and _kept_in_order(objects, descriptions, least):
            return Scene(objects=tuple(objects), texture=_sample_texture(generator))


def _sample_descriptions(generator: np.random.Generator, difficulty: Difficulty, count: int) -> list[_Description]:
    """Draw (colour, shape, action) of each object; the first is the target."""
    color, shape = pick(generator, COLOR_NAMES), pick(generator, SHAPE_NAMES)
    action = pick(generator, EVENTS)
    target = (color, shape, action)
    descriptions = [target]
    if difficulty == "hard":
        descriptions.append((color, shape, _other(generator, (*EVENTS, STILL), action)))
        # Two in five distractors differ in shape alone, two in colour alone, one in both.
        change = branch(generator, (0.4, 0.8))
        changed_color = color if change == 0 else _other(generator, COLOR_NAMES, color)
        changed_shape = shape if change == 1 else _other(generator, SHAPE_NAMES, shape)
        descriptions.append((changed_color, changed_shape, action))
    while len(descriptions) < count:
        description = (
            pick(generator, COLOR_NAMES) if chance(generator, 0.6) else color,
            pick(generator, SHAPE_NAMES) if chance(generator, 0.6) else shape,
            STILL if chance(generator, 0.25) else pick(generator, EVENTS),
        )
        if description != target:
            descriptions.append(description)
    return descriptions


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


def _sample_texture(generator: np.random.Generator) -> Texture:
    return Texture(
        seed=int(generator.integers(2**31)),
        grid_cells=pick(generator, (4, 7, 12)),
        noise_level=float(generator.uniform(2.0, 10.0)),
        edge_softness=float(generator.uniform(0.5, 2.2) / NOMINAL_PIXELS),
    )
