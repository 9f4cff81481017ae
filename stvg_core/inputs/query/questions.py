"""Questions of VidSTG: "who touches ...?", "what does ... hold?", "which dog ...?".

What is asked for becomes the subject to be found: "the person" for who, "the object" for
what, the noun itself for which. Statements are the business of stvg_core.inputs.query.declarative.
"""

import re
from typing import Final

from stvg_core.inputs.query.declarative import (
    end_of_description,
    place_object,
    read_existence,
    read_statement,
    verb_position,
)
from stvg_core.inputs.query.lexicon import FINITE, Kind, past, third_person
from stvg_core.inputs.query.phrases import (
    NounPhrase,
    Words,
    after_noun_phrase,
    at,
    find_main_verb,
    noun_phrase,
    split_words,
    starts_noun_phrase,
)
from stvg_core.inputs.query.reading import Reading, cut, describe, generic_subject, join
from stvg_core.inputs.query.words import AUXILIARIES, BE, DO, HAVE, QUESTION_WORDS, REQUESTS, STATIC_PARTICIPLES

PERSON: Final = "the person"
OBJECT: Final = "the object"
_SINGULAR: Final = {"are": "is", "were": "was", "have": "has"}
_KIND_OF: Final = re.compile(r"^(what|which) (?:kind|type|sort) of ")
_CONTRACTED: Final = re.compile(r"\b(who|what|where|there|that|he|she|it)['\u2019]s\b")


def normalise(text: str) -> str:
    """Return a lower-case sentence without contractions, without "please find".

    >>> normalise("find the man who's running")
    'the man who is running'
    """
    text = _CONTRACTED.sub(r"\1 is", text).strip(" \"'\u201c\u201d\u2018\u2019\u00ab\u00bb()[]")
    parts = _KIND_OF.sub(r"\1 ", text).split(" ")
    while len(parts) > 1 and parts[0] in REQUESTS:
        parts = parts[1:]
    return " ".join(parts)


def read_question(text: str, words: Words) -> Reading | None:
    """Return the reading of a question, or None where the sentence is none that is known."""
    first, second = at(words, 0), at(words, 1)
    if first.text in AUXILIARIES and len(words) > 1:
        return _read_yes_no(text, words, 0)
    if first.text not in QUESTION_WORDS:
        return None
    if first.text in ("where", "when", "why", "how"):
        return _read_yes_no(text, words, 1) if second.text in AUXILIARIES else None
    asked = PERSON if first.text in ("who", "whom") else OBJECT
    if first.text in ("which", "whose") or (first.text == "what" and _asks_for_noun(words)):
        return _read_which(text, words)
    if second.text in AUXILIARIES:
        return _read_inverted(text, words, 1, asked, asked)
    return _read_subject(text, words, asked)


def _asks_for_noun(words: Words) -> bool:
    second = at(words, 1)
    return second.can_be(Kind.NOUN | Kind.ADJECTIVE) and not second.can_be(Kind.THIRD | Kind.AUXILIARY)


def _read_subject(text: str, words: Words, asked: str) -> Reading | None:
    """Read "who in black plays ...": question word, description, verb."""
    phrase = NounPhrase(0, 0, 1, False, (0,))
    if at(words, verb_position(words, 1)).can_be(FINITE) and not at(words, 1).can_be(Kind.PREPOSITION):
        return Reading(asked, join(asked, cut(text, words, 1)))
    verb = find_main_verb(words, phrase).verb
    if verb is None:
        return None
    return Reading(join(asked, cut(text, words, 1, verb)), join(asked, cut(text, words, verb)))


def _read_which(text: str, words: Words) -> Reading | None:
    """Read "which dog ...": the noun is what is asked for."""
    opening = "one" if at(words, 1).text == "of" else "the"
    statement = opening + text[words[0].end :]
    again = split_words(statement)
    phrase = noun_phrase(again, 0)
    if phrase is None:
        return None
    verb = find_main_verb(again, phrase).verb
    if verb is not None and again[verb].text in AUXILIARIES and starts_noun_phrase(again, verb + 1):
        attribute = describe(statement, again, 0, verb)
        return _read_inverted(statement, again, verb, attribute, generic_subject(statement, again, phrase))
    return read_statement(statement, again)


def _read_inverted(text: str, words: Words, auxiliary: int, attribute: str, asked: str) -> Reading | None:
    """Read what follows a question word: "is beneath ...", "does the adult hold", "is she carrying"."""
    helper = words[auxiliary].text
    start = auxiliary + 1 + (at(words, auxiliary + 1).text == "there")
    if start >= len(words):
        return None
    if helper not in DO and not starts_noun_phrase(words, start):
        singular = _SINGULAR.get(helper, helper) if asked in (PERSON, OBJECT) else helper
        return Reading(attribute, join(asked, singular, cut(text, words, start)))
    phrase = noun_phrase(words, start)
    if phrase is None:
        return None
    if helper in BE | HAVE:
        verb = _first_participle(words, phrase.end, Kind.ING if helper in BE else Kind.PARTICIPLE)
    else:
        verb = _first_base(words, phrase.start + 1)
    if verb is None:
        return _read_place(text, words, phrase, helper, attribute, asked) if helper in BE else None
    subject, predicate = cut(text, words, phrase.start, verb), _inflect(helper, words[verb].text)
    return Reading(attribute, join(subject, predicate, place_object(text, words, verb + 1, asked)))


def _read_place(text: str, words: Words, phrase: NounPhrase, helper: str, attribute: str, asked: str) -> Reading | None:
    """Read "what is the dog on?" as a place, "what is the toy behind the dog?" as what there is."""
    if not words[-1].can_be(Kind.PREPOSITION):
        return read_existence(text, words, phrase.start, helper)
    end = end_of_description(words, phrase)
    return Reading(attribute, join(cut(text, words, phrase.start, end), helper, cut(text, words, end), asked))


def _read_yes_no(text: str, words: Words, auxiliary: int) -> Reading | None:
    """Read "is the man walking?", "when does the man sit down?"."""
    helper, start = words[auxiliary].text, auxiliary + 1
    if at(words, start).text == "there":
        return read_existence(text, words, start + 1, helper)
    phrase = noun_phrase(words, start)
    if phrase is None:
        return None
    if helper in BE:
        return read_existence(text, words, start, helper)
    verb = _first_base(words, start + 1)
    if verb is None:
        return None
    attribute = describe(text, words, start, verb)
    if phrase.end > verb:
        phrase = NounPhrase(start, verb - 1, verb, phrase.plural, (verb - 1,))
    subject = generic_subject(text, words, phrase)
    return Reading(attribute, join(subject, _inflect(helper, words[verb].text), cut(text, words, verb + 1)))


def _first_participle(words: Words, start: int, form: Kind) -> int | None:
    found = [place for place in range(start, len(words)) if words[place].can_be(form)]
    moving = [place for place in found if words[place].text not in STATIC_PARTICIPLES]
    return next(iter(moving or found), None)


def _first_base(words: Words, start: int) -> int | None:
    """Return the verb of a do-question: a base form that cannot be inside a noun phrase."""
    possible = [
        place
        for place in range(start, len(words))
        if words[place].can_be(Kind.BASE)
        and not words[place - 1].can_be(Kind.DETERMINER | Kind.PREPOSITION)
        and not (words[place - 1].can_be(Kind.ADJECTIVE) and not words[place - 1].can_be(Kind.NOUN))
    ]
    listed = [place for place in possible if words[place].can_be(Kind.LISTED)]
    if listed or possible:
        return (listed or possible)[0]
    end = after_noun_phrase(words, start - 1)
    return end if at(words, end).can_be(Kind.BASE) else None


def _inflect(helper: str, verb: str) -> str:
    if helper == "does":
        return third_person(verb)
    if helper == "did":
        return past(verb)
    return verb if helper == "do" else f"{helper} {verb}"
