"""What a detector is told to look for, where the user names nothing: the head noun of the attribute sub-query."""

from typing import Final

from stvg_core.inputs.query.phrases import noun_phrase, split_words, starts_noun_phrase

_PERSON: Final = frozenset({"who", "whom", "he", "she", "him", "her", "someone", "somebody", "anyone", "they"})


def head_noun(attribute: str) -> str:
    """Return the noun that an attribute sub-query is about; "person" for a pronoun, else the whole text.

    >>> head_noun("the man in blue clothes"), head_noun("a red baby seat on the floor"), head_noun("who")
    ('man', 'seat', 'person')
    """
    words = split_words(attribute.lower())
    for start, word in enumerate(words):
        if word.text in _PERSON:
            return "person"
        if starts_noun_phrase(words, start):
            phrase = noun_phrase(words, start)
            if phrase is not None:
                return words[phrase.heads[0]].text
    return attribute.strip().strip(".").lower()
