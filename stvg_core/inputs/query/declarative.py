"""Statements: "the man in blue walks ...", "there is a toy behind ...", "a circle that moves".

Knows no questions; stvg_core.inputs.query.questions turns those it can into statements.
"""

from stvg_core.inputs.query.lexicon import FINITE, Kind
from stvg_core.inputs.query.phrases import (
    NounPhrase,
    VerbPlace,
    Words,
    at,
    find_main_verb,
    find_weak_verb,
    noun_phrase,
    starts_noun_phrase,
    verb_start,
)
from stvg_core.inputs.query.reading import Reading, cut, describe, generic_subject, join
from stvg_core.inputs.query.words import (
    BE,
    CLOTHING,
    COLORS,
    STATIC_PARTICIPLES,
    STRANDED_PREPOSITIONS,
    SUBJECT_PRONOUNS,
)


def read_statement(text: str, words: Words) -> Reading | None:
    """Return the reading of a statement, or None where no subject is found."""
    start = subject_start(words)
    if at(words, start).text == "there" and at(words, start + 1).text in BE:
        return read_existence(text, words, start + 2, at(words, start + 1).text)
    phrase = noun_phrase(words, start)
    if phrase is None:
        return None
    lead = cut(text, words, 0, start) if at(words, 0).can_be(Kind.PREPOSITION) else ""
    place = find_main_verb(words, phrase)
    if place.verb is not None:
        return _with_verb(text, words, phrase, place.verb, lead)
    return _without_main_verb(text, words, phrase, place)


def read_existence(text: str, words: Words, start: int, verb: str) -> Reading | None:
    """Return the reading of "there is ...": what there is, and where it is or what it does.

    Args:
        text: the sentence.
        words: its words.
        start: first word of what there is.
        verb: the form of "be" that was used.
    """
    phrase = noun_phrase(words, start)
    if phrase is None:
        return None
    end = end_of_description(words, phrase)
    attribute, subject = cut(text, words, start, end), generic_subject(text, words, phrase)
    rest = end
    while at(words, rest).text in (",", "and", "but", "who", "that", "which"):
        rest += 1
    if at(words, rest).text in SUBJECT_PRONOUNS:
        rest += 1
    if rest >= len(words):
        described = cut(text, words, phrase.end, end)
        return Reading(attribute, join(subject, verb, described) if described else "")
    predicate = cut(text, words, rest)
    if at(words, verb_position(words, rest)).can_be(FINITE) and not at(words, rest).can_be(Kind.PREPOSITION):
        return Reading(attribute, join(subject, predicate))
    return Reading(attribute, join(subject, "are" if phrase.plural and verb == "is" else verb, predicate))


def end_of_description(words: Words, phrase: NounPhrase) -> int:
    """Return the position after what describes looks: "with ...", "in blue", "wearing ..."."""
    position = phrase.end
    while position < len(words):
        following = noun_phrase(words, position + 1)
        word = words[position]
        if following is None:
            return position
        looks = range(following.start, following.end)
        described = any(words[place].text in COLORS | CLOTHING for place in looks)
        if word.text in ("with", "of") or word.text in STATIC_PARTICIPLES or (word.text == "in" and described):
            position = following.end
        else:
            return position
    return position


def subject_start(words: Words) -> int:
    """Return where the subject starts, after "then", "in the room," and the like."""
    start = 0
    while start < len(words):
        word = words[start]
        if word.can_be(Kind.PREPOSITION):
            behind = _after_opening(words, start)
            if behind is None:
                return start
            start = behind
        elif word.text in ("while", "when", "as"):
            comma = next((place for place in range(start, len(words)) if words[place].text == ","), None)
            if comma is None:
                return start
            start = comma + 1
        elif word.can_be(Kind.PUNCTUATION | Kind.CONJUNCTION) or _is_opening_adverb(words, start):
            start += 1
        else:
            return start
    return 0


def verb_position(words: Words, start: int) -> int:
    """Return the first word from start on that is no adverb."""
    while at(words, start).can_be(Kind.ADVERB) and not at(words, start).can_be(FINITE):
        start += 1
    return start


def place_object(text: str, words: Words, verb_end: int, placed: str) -> str:
    """Return what follows a verb with an object put in: after a preposition left behind, else at once."""
    position = verb_end
    while (
        at(words, position).text in STRANDED_PREPOSITIONS
        and not starts_noun_phrase(words, position + 1)
        and not (position > verb_end and at(words, position).text in ("on", "in", "at"))
    ):
        position += 1
    return join(cut(text, words, verb_end, position), placed, cut(text, words, position))


def _with_verb(text: str, words: Words, phrase: NounPhrase, verb: int, lead: str) -> Reading:
    subject = generic_subject(text, words, phrase)
    joined = any(words[place].text == "and" for place in range(phrase.end, verb))
    if joined and words[verb].can_be(Kind.BASE) and not words[verb].can_be(Kind.THIRD) and not phrase.plural:
        subject = cut(text, words, phrase.start, verb)
    opening = f"{lead}," if lead else ""
    return Reading(describe(text, words, phrase.start, verb), join(opening, subject, cut(text, words, verb)))


def _without_main_verb(text: str, words: Words, phrase: NounPhrase, place: VerbPlace) -> Reading | None:
    subject = generic_subject(text, words, phrase)
    if place.relative is not None and place.relative_verb is not None:
        attribute = describe(text, words, phrase.start, place.relative)
        if words[place.relative].text == "whose":
            return Reading(attribute, cut(text, words, phrase.start))
        inner = noun_phrase(words, place.relative + 1)
        if inner is None or place.relative_verb <= place.relative + 1:
            begin = verb_start(words, place.relative_verb)
            return Reading(attribute, join(subject, cut(text, words, begin)))
        before = cut(text, words, place.relative + 1, place.relative_verb + 1)
        return Reading(attribute, join(before, place_object(text, words, place.relative_verb + 1, subject)))
    weak = find_weak_verb(words, phrase)
    if weak is not None:
        cut_phrase = NounPhrase(phrase.start, min(phrase.head, weak - 1), weak, False, (min(phrase.head, weak - 1),))
        return _with_verb(text, words, cut_phrase, weak, "")
    return _fragment(text, words, phrase, subject)


def _fragment(text: str, words: Words, phrase: NounPhrase, subject: str) -> Reading | None:
    """Read "a man walking on the beach"; a participle that only describes is the last resort."""
    verb = "are" if phrase.plural else "is"
    participles = [
        place
        for place in range(phrase.end, len(words))
        if words[place].can_be(Kind.ING | Kind.PARTICIPLE)
        and not words[place - 1].can_be(Kind.DETERMINER | Kind.PREPOSITION)
        and (words[place].can_be(Kind.ING) or not at(words, place + 1).can_be(Kind.NOUN))
    ]
    for place in participles:
        if words[place].text not in STATIC_PARTICIPLES:
            attribute = describe(text, words, phrase.start, place)
            return Reading(attribute, join(subject, verb, cut(text, words, place)))
    if participles:
        return Reading(cut(text, words, phrase.start), join(subject, verb, cut(text, words, participles[0])))
    return None


def _after_opening(words: Words, start: int) -> int | None:
    """Return the position after an opening "in the room," when a subject follows it."""
    phrase = noun_phrase(words, start + 1)
    if phrase is None:
        return None
    end = phrase.end + (at(words, phrase.end).text == ",")
    if starts_noun_phrase(words, end) or at(words, end).can_be(Kind.PREPOSITION) or at(words, end).text == "there":
        return end
    return None


def _is_opening_adverb(words: Words, start: int) -> bool:
    return words[start].can_be(Kind.ADVERB) and words[start].text != "there" and not words[start].can_be(Kind.NOUN)
