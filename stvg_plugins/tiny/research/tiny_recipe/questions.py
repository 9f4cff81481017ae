"""Questions about a scene, with their true answers.

This module knows scenes and English, not pixels, tokens or models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from stvg_tiny.combinations import EVERYTHING, TRAINING, Combinations
from stvg_tiny.sampling import branch, chance, pick
from stvg_tiny.scenes import COLOR_NAMES, EVENTS, SHAPE_NAMES, Scene, SceneObject

YES_NO_TEMPLATE: Final = "Is there {} in this video?"
CAPTION_PROMPTS: Final = ("please describe this video", "Describe this video in details.")
YES: Final = "yes"
NO: Final = "no"

Kind = Literal["attribute", "single", "action", "subject_action", "combined", "caption", "what", "does", "when"]
YES_NO_KINDS: Final[tuple[Kind, ...]] = (
    "attribute",
    "single",
    "action",
    "subject_action",
    "combined",
)

_GENERIC_SUBJECTS: Final = ("something that", "something", "the object")
_SUBJECT_ACTION_SHARE: Final = 0.55
"""Chance that a scene's training questions hold a pair with a shape as the action's subject; with
the generic pair that every scene has, about 35 % of the action questions are of this kind."""
_ATTEMPTS: Final = 30
_EARLY_BEFORE: Final = 0.42
_LATE_FROM: Final = 0.58
"""Where "halfway" begins and ends, as fractions of the video."""


@dataclass(frozen=True)
class Question:
    """A question, as a user would write it, and its answer.

    Attributes:
        kind: Which family of questions it belongs to; accuracy is reported per kind.
        text: The question without any chat markup.
        answer: The true answer, in lower case.
    """

    kind: Kind
    text: str
    answer: str


def training_questions(generator: np.random.Generator, scene: Scene, attribute_pairs: int = 1) -> list[Question]:
    """Draw the questions that one training scene is asked, of every kind.

    No question of training names a combination that is held out, or its answer would always be no.
    """
    questions = [item for _ in range(attribute_pairs) for item in _pair(_attribute, generator, scene)]
    questions += _pair(_action, generator, scene)
    if chance(generator, _SUBJECT_ACTION_SHARE):
        questions += _pair(_subject_action, generator, scene)
    questions += _pair(_combined, generator, scene) + _pair(_combined, generator, scene)
    questions += _pair(_single, generator, scene)
    questions.append(Question("caption", pick(generator, CAPTION_PROMPTS), caption(scene)))
    return questions + _open_questions(generator, scene)


def looking_questions(generator: np.random.Generator, scene: Scene) -> list[Question]:
    """Draw the questions that teach where to look: yes/no alone, twice each of one property's kind."""
    families = (_attribute, _attribute, _action, _single, _action, _single, _subject_action, _combined)
    return [item for family in families for item in _pair(family, generator, scene)]


def named_properties(question: Question) -> tuple[int | None, int | None, int | None]:
    """Return which colour, shape and action a question names, as places in their lists.

    >>> named_properties(Question("action", "Is there the ring that moves left in this video?", "yes"))
    (None, 4, 0)
    """
    text = question.text.lower()
    words = text.rstrip("?").split()
    color = next((place for place, name in enumerate(COLOR_NAMES) if name in words), None)
    shape = next((place for place, name in enumerate(SHAPE_NAMES) if name in words), None)
    action = next((place for place, name in enumerate(EVENTS) if name in text), None)
    return color, shape, action


def naming_words() -> Sequence[str]:
    """Return every word that names a colour, a shape or a part of an action."""
    return (*COLOR_NAMES, *SHAPE_NAMES, *sorted({word for event in EVENTS for word in event.split()}))


def yes_no_questions(
    generator: np.random.Generator, scene: Scene, allowed: Combinations = EVERYTHING
) -> list[Question]:
    """Draw one question with answer yes and one with answer no of each yes/no kind.

    A question that the scene does not allow is left out. Questions with answer no ask for allowed
    combinations only.
    """
    families = (_attribute, _single, _action, _subject_action, _combined)
    return [item for family in families for item in _pair(family, generator, scene, allowed)]


def caption(scene: Scene) -> str:
    """Describe every object, from left to right at the start of the video."""
    ordered = sorted(scene.objects, key=lambda item: item.start_center[0])
    return " and ".join(f"a {item.color} {item.shape} that {item.action}" for item in ordered)


_Family = Callable[[np.random.Generator, Scene, bool, Combinations], Question | None]


def _pair(
    family: _Family, generator: np.random.Generator, scene: Scene, allowed: Combinations = TRAINING
) -> list[Question]:
    drawn = (family(generator, scene, True, allowed), family(generator, scene, False, allowed))
    return [item for item in drawn if item is not None]


def _ask(kind: Kind, what: str, truth: bool) -> Question:
    return Question(kind, YES_NO_TEMPLATE.format(what), YES if truth else NO)


def _events(scene: Scene) -> list[SceneObject]:
    return [item for item in scene.objects if item.is_event]


def _attribute(generator: np.random.Generator, scene: Scene, truth: bool, allowed: Combinations) -> Question | None:
    """Ask for a colour and shape: one object's, or a pair that only looks familiar."""
    objects = scene.objects
    present = {(item.color, item.shape) for item in objects}
    article = "a" if chance(generator, 0.25) else "the"
    if truth:
        item = pick(generator, objects)
        return _ask("attribute", f"{article} {item.color} {item.shape}", truth)
    for _ in range(_ATTEMPTS):
        first, second = pick(generator, objects), pick(generator, objects)
        match branch(generator, (0.4, 0.7)):
            case 0:
                color, shape = first.color, second.shape
            case 1:
                color, shape = first.color, pick(generator, SHAPE_NAMES)
            case _:
                color, shape = pick(generator, COLOR_NAMES), first.shape
        if (color, shape) not in present and allowed.allows(color, shape):
            return _ask("attribute", f"{article} {color} {shape}", truth)
    return None


def _single(generator: np.random.Generator, scene: Scene, truth: bool, allowed: Combinations) -> Question | None:
    """Ask for a colour alone or a shape alone."""
    by_color = chance(generator, 0.5)
    names = COLOR_NAMES if by_color else SHAPE_NAMES
    present = {item.color if by_color else item.shape for item in scene.objects}
    candidates = [name for name in names if (name in present) == truth]
    if not candidates:
        return None
    name = pick(generator, candidates)
    return _ask("single", f"something {name}" if by_color else f"a {name}", truth)


def _action(generator: np.random.Generator, scene: Scene, truth: bool, allowed: Combinations) -> Question | None:
    """Ask whether anything at all does something."""
    present = {item.action for item in scene.objects}
    events = _events(scene)
    subject = pick(generator, _GENERIC_SUBJECTS)
    if truth and not events:
        return None
    absent = [action for action in EVENTS if action not in present]
    action = pick(generator, events).action if truth else pick(generator, absent)
    return _ask("action", f"{subject} {action}", truth)


def _subject_action(
    generator: np.random.Generator, scene: Scene, truth: bool, allowed: Combinations
) -> Question | None:
    """Ask whether some object of one shape does something; false ones often do it in another shape."""
    present = {(item.shape, item.action) for item in scene.objects}
    events = _events(scene)
    if not events:
        return None
    if truth:
        item = pick(generator, events)
        return _ask("subject_action", f"the {item.shape} {item.action}", truth)
    for _ in range(_ATTEMPTS):
        shape = pick(generator, scene.objects).shape
        action = pick(generator, events).action if chance(generator, 0.6) else pick(generator, EVENTS)
        if (shape, action) not in present:
            return _ask("subject_action", f"the {shape} {action}", truth)
    return None


def _combined(generator: np.random.Generator, scene: Scene, truth: bool, allowed: Combinations) -> Question | None:
    """Ask for colour, shape and action at once."""
    objects, events = scene.objects, _events(scene)
    present = {(item.color, item.shape, item.action) for item in objects}
    if not events:
        return None
    article = "a" if chance(generator, 0.2) else "the"
    link = "that " if chance(generator, 0.4) else ""
    if truth:
        item = pick(generator, events)
        text = f"{article} {item.color} {item.shape} {link}{item.action}"
        return _ask("combined", text, truth)
    for _ in range(_ATTEMPTS):
        first, second = pick(generator, objects), pick(generator, events)
        match branch(generator, (0.5, 0.75, 0.87)):
            case 0:
                parts = (first.color, first.shape, second.action)
            case 1:
                parts = (first.color, first.shape, pick(generator, EVENTS))
            case 2:
                parts = (pick(generator, COLOR_NAMES), second.shape, second.action)
            case _:
                parts = (second.color, pick(generator, SHAPE_NAMES), second.action)
        if parts not in present and allowed.allows(*parts):
            return _ask("combined", f"{article} {parts[0]} {parts[1]} {link}{parts[2]}", truth)
    return None


def _open_questions(generator: np.random.Generator, scene: Scene) -> list[Question]:
    """Ask what an object does, which object does something, and when: where one answer is right."""
    objects, events = scene.objects, _events(scene)
    looks = [(item.color, item.shape) for item in objects]
    actions = [item.action for item in objects]
    unlike = [item for item in objects if looks.count((item.color, item.shape)) == 1]
    alone = [item for item in events if actions.count(item.action) == 1]
    questions = []
    if unlike:
        item = pick(generator, unlike)
        text = f"What does the {item.color} {item.shape} do?"
        questions.append(Question("does", text, item.action))
    if alone:
        item = pick(generator, alone)
        answer = f"the {item.color} {item.shape}"
        questions.append(Question("what", f"What {item.action}?", answer))
        item = pick(generator, alone)
        text = f"When is there something that {item.action}?"
        questions.append(Question("when", text, _when(item)))
    return questions


def _when(item: SceneObject) -> Literal["early", "halfway", "late"]:
    middle = (item.span.start + item.span.end) / 2
    if middle < _EARLY_BEFORE:
        return "early"
    return "halfway" if middle < _LATE_FROM else "late"


def vocabulary_texts() -> Sequence[str]:
    """Return texts that together hold every word a question or an answer can have."""
    return (
        *COLOR_NAMES,
        *SHAPE_NAMES,
        *EVENTS,
        *_GENERIC_SUBJECTS,
        *CAPTION_PROMPTS,
        YES_NO_TEMPLATE.format("a that"),
        "stays still. What does the object do? When is there something? and",
        f"{YES} {NO} early halfway late it,",
    )
