"""The decomposer that asks the loaded model itself (the paper asks GPT-4o; section 3.3, Fig. 13).

The authors' literal prompt is not published, so instruction and examples are our own. What
a model answers is untrusted: read, checked, and replaced by the rules where it is no answer.
"""

import json
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from stvg_core.errors import UsageError
from stvg_core.inputs.query.rules import RulesDecomposer
from stvg_core.inputs.query.sentence import as_sub_query, clean_sentence, words_of
from stvg_core.inputs.query.words import (
    AUXILIARIES,
    CONJUNCTIONS,
    DETERMINERS,
    POSSESSIVES,
    PREPOSITIONS,
    QUESTION_WORDS,
)
from stvg_core.plugin.decomposer import Decomposer, GenerateText
from stvg_core.values import SubQueries

MAXIMUM_NEW_TOKENS: Final = 160
_MAXIMUM_ANSWER_CHARACTERS: Final = 8_000
_MAXIMUM_OBJECTS: Final = 50
_SHOWN_CHARACTERS: Final = 60
_GENERIC: Final = frozenset(
    ("person", "people", "object", "thing", "animal", "man", "woman", "child", "someone", "something")
)
_EMPTY_WORDS: Final = DETERMINERS | POSSESSIVES | PREPOSITIONS | AUXILIARIES | CONJUNCTIONS | QUESTION_WORDS | _GENERIC

_INSTRUCTION: Final = """\
Split a sentence about a video into two parts.
"attribute": who or what the sentence is about, with everything that describes how it looks.
"action": what it does or where it is, as a sentence with a generic subject such as "the man".
Rules: use the words of the sentence; add nothing that it does not say; lower case, no final stop; \
where the sentence asks who, the subject is "the person", where it asks what, "the object". \
Answer with one JSON object with the keys "attribute" and "action", and nothing else.
"""
_EXAMPLES: Final = (
    (
        "The tall woman in a green coat opens the gate and waves to the driver.",
        "the tall woman in a green coat",
        "the woman opens the gate and waves to the driver",
    ),
    ("there is a gray kitten under a bench in the park.", "a gray kitten", "the kitten is under a bench in the park"),
    ("who feeds the goat on the farm?", "the person", "the person feeds the goat on the farm"),
    ("what does the girl in white throw?", "the object", "the girl in white throws the object"),
)


class ModelAnswer(BaseModel):
    """What the model is asked to answer; further keys are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    attribute: str
    action: str


class ModelDecomposer(Decomposer):
    """Asks the loaded model for both sub-queries; the rules stand in for an answer that is none."""

    def __init__(self, generate: GenerateText) -> None:
        """Keep the model's text generation; nothing is generated yet.

        Args:
            generate: (instruction, maximum new tokens) to answer.
        """
        self._generate = generate
        self._rules = RulesDecomposer()

    @classmethod
    def open(cls, argument: str, generate: GenerateText | None, video_name: str | None) -> Decomposer:
        """Return the decomposer of the loaded model.

        Raises:
            UsageError: no model is loaded, or there is an argument.
        """
        if argument:
            raise UsageError(f"decomposer mllm takes no argument, got {argument!r}; leave it out")
        if generate is None:
            raise UsageError("expected a loaded model for decomposer mllm, got none; name a model, or use rules")
        return cls(generate)

    @property
    def name(self) -> str:
        """Name as the user types it."""
        return "mllm"

    def decompose(self, text: str) -> SubQueries:
        """Return what the model answers, or what the rules find, with a warning that says why.

        Raises:
            QueryError: the text holds no word, or more than 512 words or 4,000 characters.
        """
        sentence = clean_sentence(text)
        answer = self._generate(instruction_for(sentence), MAXIMUM_NEW_TOKENS)
        parts = read_answer(answer)
        reason = _no_answer(answer) if parts is None else why_rejected(sentence, parts)
        if parts is not None and not reason:
            return SubQueries(sentence, as_sub_query(parts.attribute), as_sub_query(parts.action), self.name)
        found = self._rules.decompose(sentence)
        warning = f"the model's decomposition was not used ({reason}), so the rules made the sub-queries"
        return SubQueries(sentence, found.attribute, found.action, found.decomposer, (warning, *found.warnings))


def instruction_for(sentence: str) -> str:
    """Return the instruction with examples; the sentence stands in it as a JSON string."""
    examples = "".join(
        f"\nSentence: {json.dumps(example)}\nAnswer: {json.dumps({'attribute': attribute, 'action': action})}\n"
        for example, attribute, action in _EXAMPLES
    )
    return f"{_INSTRUCTION}{examples}\nSentence: {json.dumps(sentence, ensure_ascii=False)}\nAnswer:"


def read_answer(answer: str) -> ModelAnswer | None:
    """Return the first JSON object with both keys in an answer, whatever stands around it.

    >>> read_answer('Sure: {"attribute": "the cat", "action": "the cat sits"} Anything else?')
    ModelAnswer(attribute='the cat', action='the cat sits')
    """
    answer = answer[:_MAXIMUM_ANSWER_CHARACTERS]
    start = -1
    for _ in range(_MAXIMUM_OBJECTS):
        start = answer.find("{", start + 1)
        if start < 0:
            return None
        try:
            return ModelAnswer.model_validate(json.JSONDecoder().raw_decode(answer, start)[0])
        except (json.JSONDecodeError, RecursionError, ValidationError):
            continue
    return None


def why_rejected(sentence: str, parts: ModelAnswer) -> str:
    """Return why an answer cannot be a decomposition of the sentence, or an empty string.

    A part must not be empty, must not be far longer than the sentence, and must share a
    word with it; "the person" and the like may stand for who and what.
    """
    limit = 2 * len(sentence) + 20
    for what, part in (("attribute", parts.attribute), ("action", parts.action)):
        sub_query = as_sub_query(part)
        if not words_of(sub_query):
            return f"its {what} is empty"
        if len(sub_query) > limit:
            return f"its {what} is far longer than the sentence"
        if not _shares_words(sentence, sub_query):
            return f"its {what} shares no word with the sentence"
    return ""


def _shares_words(sentence: str, sub_query: str) -> bool:
    theirs = set(words_of(sub_query))
    content = theirs - _EMPTY_WORDS
    if not content:
        return bool(theirs & _GENERIC)
    if content & set(words_of(sentence)):
        return True
    letters = {character for character in sub_query if character.isalpha() and not character.isascii()}
    return bool(letters & set(sentence.lower()))


def _no_answer(answer: str) -> str:
    shown = " ".join(answer.split())[:_SHOWN_CHARACTERS]
    return f"it answered {shown!r}, no JSON object with attribute and action"
