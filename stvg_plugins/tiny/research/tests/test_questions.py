"""Every yes/no answer is checked by reading the question's words against the objects."""

import re

import numpy as np
import pytest

from stvg_tiny.combinations import TRAINING
from stvg_tiny.sampling import Split, held_out_scene, sample_scene
from stvg_tiny.scenes import COLOR_NAMES, EVENTS, SHAPE_NAMES, STILL, Scene
from tiny_recipe.questions import (
    Question,
    caption,
    looking_questions,
    named_properties,
    training_questions,
    yes_no_questions,
)


def brute_force_answer(scene: Scene, text: str) -> str:
    """Answer by looking for an object that has every property the question mentions."""
    words = re.fullmatch(r"Is there (.+) in this video\?", text)[1]
    colors = [name for name in COLOR_NAMES if re.search(rf"\b{name}\b", words)]
    shapes = [name for name in SHAPE_NAMES if re.search(rf"\b{name}\b", words)]
    actions = [name for name in EVENTS if re.search(rf"\b{name}\b", words)]
    assert colors or shapes or actions
    found = any(
        all(item.color == name for name in colors)
        and all(item.shape == name for name in shapes)
        and all(item.action == name for name in actions)
        for item in scene.objects
    )
    return "yes" if found else "no"


def asked(draw: object, count: int) -> list[tuple[Scene, Question]]:
    pairs = []
    for index in range(count):
        generator = np.random.default_rng([99, index])
        scene = sample_scene(generator, "hard" if index % 2 else "easy", 1 if index % 10 == 4 else None)
        pairs += [(scene, question) for question in draw(generator, scene)]
    return pairs


@pytest.mark.parametrize("draw", [training_questions, yes_no_questions])
def test_yes_no_answers_are_true(draw: object) -> None:
    pairs = [(scene, item) for scene, item in asked(draw, 300) if item.answer in ("yes", "no")]
    wrong = [item for scene, item in pairs if brute_force_answer(scene, item.text) != item.answer]
    assert len(pairs) > 2000
    assert wrong == []


def test_each_kind_is_balanced_on_hard_scenes() -> None:
    answers: dict[str, list[bool]] = {}
    for index in range(200):
        for item in yes_no_questions(np.random.default_rng(index), held_out_scene(Split.DEVELOPMENT, index, "hard")):
            answers.setdefault(item.kind, []).append(item.answer == "yes")
    assert set(answers) == {"attribute", "single", "action", "subject_action", "combined"}
    assert all(0.48 < np.mean(values) < 0.55 for values in answers.values())


def test_about_a_third_of_the_training_action_questions_name_a_shape() -> None:
    kinds = [item.kind for _, item in asked(training_questions, 400)]
    share = kinds.count("subject_action") / (kinds.count("subject_action") + kinds.count("action"))
    assert 0.3 < share < 0.4


def test_looking_questions_are_balanced_yes_no_questions_of_every_kind() -> None:
    pairs = asked(looking_questions, 200)
    assert all(brute_force_answer(scene, item.text) == item.answer for scene, item in pairs)
    kinds = [item.kind for _, item in pairs]
    assert set(kinds) == {"attribute", "single", "action", "subject_action", "combined"}
    assert 0.47 < np.mean([item.answer == "yes" for _, item in pairs]) < 0.53
    for kind in ("attribute", "action", "single"):
        assert kinds.count(kind) > 1.5 * kinds.count("combined")


def test_false_questions_ask_for_allowed_combinations_alone() -> None:
    asked_for = []
    for index in range(300):
        scene = held_out_scene(Split.DEVELOPMENT, index, "hard")
        for item in yes_no_questions(np.random.default_rng(index), scene, TRAINING):
            color, shape, action = named_properties(item)
            if color is not None and shape is not None:
                asked_for.append((COLOR_NAMES[color], SHAPE_NAMES[shape], STILL if action is None else EVENTS[action]))
    assert len(asked_for) > 1000
    assert all(TRAINING.allows(*parts) for parts in asked_for)


def test_open_questions_have_one_right_answer() -> None:
    for scene, item in asked(training_questions, 200):
        if item.kind == "what":
            doers = [one for one in scene.objects if item.text == f"What {one.action}?"]
            assert [f"the {one.color} {one.shape}" for one in doers] == [item.answer]
        if item.kind == "does":
            doers = [one for one in scene.objects if item.text == f"What does the {one.color} {one.shape} do?"]
            assert [one.action for one in doers] == [item.answer]


def test_caption_names_every_object_from_left_to_right() -> None:
    scene = held_out_scene(Split.DEVELOPMENT, 3, "hard")
    text = caption(scene)
    ordered = sorted(scene.objects, key=lambda item: item.start_center[0])
    assert text.split(" and ") == [f"a {item.color} {item.shape} that {item.action}" for item in ordered]
