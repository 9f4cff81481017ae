"""What is held out is never trained on, and the test split asks for it in the promised shares."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_tiny import sampling
from stvg_tiny.combinations import HELD_OUT_PAIRS, HELD_OUT_TRIPLES, TRAINING, Combinations
from stvg_tiny.errors import SceneError
from stvg_tiny.sampling import (
    Split,
    held_out_scene,
    planned_novelty,
    sample_scene,
    sample_test_scene,
    split_generator,
)
from stvg_tiny.scenes import COLOR_NAMES, EVENTS, SHAPE_NAMES, Difficulty, Scene

LEVELS: tuple[Difficulty, ...] = ("easy", "hard")


def held_out_things(scene: Scene) -> list[str]:
    """What a scene has that training must not have, found without the code that samples."""
    found = [f"{item.color} {item.shape}" for item in scene.objects if (item.color, item.shape) in HELD_OUT_PAIRS]
    found += [
        f"{item.color} {item.shape} {item.action}"
        for item in scene.objects
        if (item.color, item.shape, item.action) in HELD_OUT_TRIPLES
    ]
    found += ["background"] * (scene.texture.grid_cells == 12)
    return found + ["objects"] * (len(scene.objects) > 4)


def test_six_pairs_are_held_out_each_colour_once_and_each_shape() -> None:
    assert sorted(color for color, _ in HELD_OUT_PAIRS) == sorted(COLOR_NAMES)
    assert {shape for _, shape in HELD_OUT_PAIRS} == set(SHAPE_NAMES)


def test_a_tenth_of_the_other_triples_is_held_out_and_spread_out() -> None:
    assert len(HELD_OUT_TRIPLES) == 17
    assert all((color, shape) not in HELD_OUT_PAIRS for color, shape, _ in HELD_OUT_TRIPLES)
    for parts in ((0, 1), (0, 2), (1, 2)):
        together = Counter(tuple(triple[part] for part in parts) for triple in HELD_OUT_TRIPLES)
        assert max(together.values()) == 1
    for part, names in enumerate((COLOR_NAMES, SHAPE_NAMES, EVENTS)):
        counts = Counter(triple[part] for triple in HELD_OUT_TRIPLES)
        assert all(counts[name] >= 2 for name in names)


def test_the_held_out_combinations_are_the_ones_checkpoints_were_trained_without() -> None:
    # Changing either list makes every published figure of the groups meaningless.
    assert "|".join(" ".join(pair) for pair in HELD_OUT_PAIRS) == (
        "red square|green triangle|blue ring|yellow circle|white cross|purple triangle"
    )
    assert [" ".join(triple) for triple in HELD_OUT_TRIPLES] == [
        "red circle moves right",
        "red triangle shrinks",
        "red cross moves up",
        "green circle moves left",
        "green cross moves right",
        "blue square blinks",
        "blue triangle moves down",
        "blue cross moves left",
        "yellow square shrinks",
        "yellow triangle moves up",
        "yellow ring blinks",
        "white square grows",
        "white triangle moves right",
        "white ring shrinks",
        "purple circle blinks",
        "purple square moves down",
        "purple ring grows",
    ]


@settings(max_examples=120, deadline=None)
@given(key=st.integers(0, 10_000), level=st.sampled_from(LEVELS), count=st.sampled_from([None, 1, 2, 3, 4]))
def test_training_scenes_hold_nothing_that_is_held_out(key: int, level: Difficulty, count: int | None) -> None:
    # Also where few objects are asked for, as the first stages of training do.
    if level == "hard" and count is not None:
        count = max(count, 3)
    assert held_out_things(sample_scene(split_generator(Split.TRAIN, key), level, count)) == []


@settings(max_examples=60, deadline=None)
@given(index=st.integers(0, 10_000), difficulty=st.sampled_from(LEVELS))
def test_development_scenes_hold_nothing_that_is_held_out(index: int, difficulty: Difficulty) -> None:
    assert held_out_things(held_out_scene(Split.DEVELOPMENT, index, difficulty)) == []


def test_training_holds_every_other_pair_and_triple() -> None:
    seen = Counter(
        (item.color, item.shape, item.action)
        for index in range(700)
        for level in LEVELS
        for item in held_out_scene(Split.DEVELOPMENT, index, level).objects
    )
    wanted = {
        triple
        for triple in product(COLOR_NAMES, SHAPE_NAMES, EVENTS)
        if triple[:2] not in HELD_OUT_PAIRS and triple not in HELD_OUT_TRIPLES
    }
    assert wanted <= set(seen)


def test_training_refuses_five_objects_and_held_out_targets() -> None:
    generator = split_generator(Split.DEVELOPMENT, 0)
    with pytest.raises(SceneError, match="at most 4 objects"):
        sample_scene(generator, "easy", object_count=5)
    with pytest.raises(SceneError, match="red square grows"):
        sample_scene(generator, "easy", target=("red", "square", "grows"))


def test_a_scene_that_has_no_room_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_SCENE_ATTEMPTS", 2)
    crowded = Combinations(most_objects=60)
    with pytest.raises(SceneError, match="no place"):
        sample_scene(split_generator(Split.DEVELOPMENT, 0), "easy", 60, combinations=crowded, exact_count=True)


@pytest.mark.parametrize("level", LEVELS)
def test_the_test_split_has_the_promised_shares(level: Difficulty) -> None:
    novelties = [planned_novelty(index, level) for index in range(300)]
    assert Counter(novelty.target for novelty in novelties) == {"training": 150, "pair": 75, "triple": 75}
    assert sum(novelty.background for novelty in novelties) == 75
    assert sum(novelty.five_objects for novelty in novelties) == 75
    # Drawn independently: every combination of the three occurs.
    assert len({(novelty.target, novelty.background, novelty.five_objects) for novelty in novelties}) == 12


@settings(max_examples=80, deadline=None)
@given(index=st.integers(0, 2000), level=st.sampled_from(LEVELS), seed=st.integers(0, 5))
def test_a_test_scene_is_as_planned_and_new_in_nothing_else(index: int, level: Difficulty, seed: int) -> None:
    scene, novelty = sample_test_scene(index, level, seed), planned_novelty(index, level, seed)
    target = (scene.target.color, scene.target.shape, scene.target.action)
    assert (target[:2] in HELD_OUT_PAIRS) == (novelty.target == "pair")
    assert (target in HELD_OUT_TRIPLES) == (novelty.target == "triple")
    assert (scene.texture.grid_cells == 12) == novelty.background
    assert (len(scene.objects) == 5) == novelty.five_objects
    assert len(scene.objects) >= (3 if level == "hard" else 2)
    for item in scene.objects[1:]:
        if (item.color, item.shape) in HELD_OUT_PAIRS:
            assert (item.color, item.shape) == target[:2]
        assert (item.color, item.shape, item.action) not in HELD_OUT_TRIPLES


def test_the_test_split_is_seed_zero() -> None:
    assert held_out_scene(Split.TEST, 7, "hard") == sample_test_scene(7, "hard", seed=0)
    assert sample_test_scene(7, "hard", seed=1) != sample_test_scene(7, "hard", seed=0)


def test_demo_scenes_are_those_of_the_shipped_clips() -> None:
    # As they were drawn before anything was held out.
    expected = {
        "easy": [("purple ring moves down", 4, 7, 0.48361), ("green circle moves left", 3, 12, 0.792317)],
        "hard": [("yellow cross moves up", 3, 7, 0.132177), ("green triangle moves right", 4, 4, 0.467448)],
    }
    for level, described in expected.items():
        for index, (words, count, grid_cells, left) in enumerate(described):
            scene = held_out_scene(Split.DEMO, index, level)
            target = scene.target
            assert f"{target.color} {target.shape} {target.action}" == words
            assert (len(scene.objects), scene.texture.grid_cells) == (count, grid_cells)
            np.testing.assert_allclose(scene.objects[-1].start_center[0], left, atol=1e-6)


def test_what_is_allowed_is_told_by_name() -> None:
    assert TRAINING.allows("red", "circle", "moves left")
    assert not TRAINING.allows("red", "circle", "moves right")
    assert not TRAINING.allows("red", "square", "stays still")
    assert "square" not in TRAINING.shapes("red")
    assert TRAINING.colors("triangle") == ["red", "blue", "yellow", "white"]
    assert "moves right" not in TRAINING.events("red", "circle")
