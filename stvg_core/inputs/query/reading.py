"""What the rules write once they know where subject and verb stand. Knows no grammar."""

from collections.abc import Sequence
from dataclasses import dataclass

from stvg_core.inputs.query.lexicon import Word
from stvg_core.inputs.query.phrases import NounPhrase
from stvg_core.inputs.query.words import QUANTITY_NOUNS, SUBJECT_PRONOUNS


@dataclass(frozen=True)
class Reading:
    """Both sub-queries of a sentence, before final marks are taken off."""

    attribute: str
    action: str


def cut(text: str, words: Sequence[Word], start: int, end: int | None = None) -> str:
    """Return the text from one word up to another, without marks at either end."""
    chosen = words[start:end]
    return text[chosen[0].start : chosen[-1].end].strip(" ,;") if chosen else ""


def join(*parts: str) -> str:
    """Return parts that are not empty as one sentence."""
    return " ".join(part for part in parts if part)


def describe(text: str, words: Sequence[Word], start: int, end: int) -> str:
    """Return a subject as an attribute; a pronoun becomes something that can be seen."""
    description = cut(text, words, start, end)
    pronoun = SUBJECT_PRONOUNS.get(words[start].text)
    return join(pronoun, cut(text, words, start + 1, end)) if pronoun else description


def generic_subject(text: str, words: Sequence[Word], phrase: NounPhrase) -> str:
    """Return the subject without what describes it: "the man", "the man and the dog".

    A quantity keeps its noun ("the group of people"); one word stays as it is ("john").
    """
    first = words[phrase.start]
    if first.text in SUBJECT_PRONOUNS:
        return SUBJECT_PRONOUNS[first.text]
    nouns = [_generic_noun(text, words, phrase.start, head) for head in phrase.heads]
    if phrase.end == phrase.start + 1:
        return first.text
    return " and ".join(noun if noun.startswith("one of ") else f"the {noun}" for noun in nouns)


def _generic_noun(text: str, words: Sequence[Word], start: int, head: int) -> str:
    if head >= start + 2 and words[head - 1].text == "of":
        return cut(text, words, head - 2, head + 1)
    for place in range(head - 1, start, -1):
        if words[place].text == "of" and words[place - 1].text in QUANTITY_NOUNS:
            return cut(text, words, place - 1, head + 1)
    return words[head].text
