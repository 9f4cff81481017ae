"""Where a noun phrase ends, and where the main verb of a sentence stands.

Works on words with everything they can be (stvg_core.inputs.query.lexicon) and decides from
their neighbours. Knows no sub-queries and no questions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stvg_core.inputs.query.lexicon import FINITE, POSSESSIVE_ENDINGS, Kind, Word, kind_of, tag_of
from stvg_core.inputs.query.words import (
    ADVERBIAL_PREPOSITIONS,
    COMMON_NOUNS,
    PLURAL_DETERMINERS,
    PLURAL_PRONOUNS,
    PRE_VERB_ADVERBS,
    QUANTITY_NOUNS,
)

Words = Sequence[Word]
END: Final = Word("", 0, 0, Kind.PUNCTUATION)
_TOKEN: Final = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*(?:['\u2019](?=\s))?|[^\w\s]|_")
_CONTENT: Final = Kind.ADJECTIVE | Kind.NOUN | Kind.PARTICIPLE | Kind.ING | Kind.BASE | Kind.NUMBER
_SURE_VERB: Final = Kind.THIRD | Kind.AUXILIARY


@dataclass(frozen=True)
class NounPhrase:
    """A noun with what stands before it; positions count words.

    Attributes:
        start: first word.
        head: its noun (the last one where phrases are joined by "and").
        end: one past its last word.
        plural: whether a verb after it has no -s.
        heads: the noun of each joined phrase.
    """

    start: int
    head: int
    end: int
    plural: bool
    heads: tuple[int, ...]


@dataclass(frozen=True)
class VerbPlace:
    """Where the main verb stands, as positions of words.

    Attributes:
        verb: main verb of the sentence, or None.
        relative: first relative pronoun before it, or None.
        relative_verb: its verb, or None.
    """

    verb: int | None
    relative: int | None = None
    relative_verb: int | None = None


def split_words(text: str) -> list[Word]:
    """Return words and marks of a lower-case sentence, with everything that each can be."""
    return [Word(found.group(), *found.span(), kind_of(found.group())) for found in _TOKEN.finditer(text)]


def at(words: Words, position: int) -> Word:
    """Return the word there, or an empty mark outside the sentence."""
    return words[position] if 0 <= position < len(words) else END


def starts_noun_phrase(words: Words, position: int) -> bool:
    """Whether a noun phrase can start here."""
    word = at(words, position)
    if word.can_be(Kind.PREPOSITION | Kind.AUXILIARY | Kind.PUNCTUATION | Kind.CONJUNCTION):
        return False
    if word.can_be(Kind.DETERMINER | Kind.NUMBER | Kind.PRONOUN):
        return True
    if word.can_be(Kind.PARTICIPLE | Kind.ING) and not word.can_be(Kind.NOUN):
        return False
    if word.can_be(Kind.ADVERB):
        return False
    return word.can_be(Kind.NOUN) or (word.can_be(Kind.ADJECTIVE) and at(words, position + 1).can_be(_CONTENT))


def noun_phrase(words: Words, start: int) -> NounPhrase | None:
    """Return the noun phrase that starts at a word, joined ones included ("the man and the dog")."""
    phrase = _single_noun_phrase(words, start)
    while phrase and at(words, phrase.end).text in ("and", "&", "or") and _continues(words, phrase.end + 1):
        following = _single_noun_phrase(words, phrase.end + 1, joined=True)
        if following is None:
            break
        phrase = NounPhrase(start, following.head, following.end, True, phrase.heads + following.heads)
    return phrase


def after_noun_phrase(words: Words, start: int) -> int:
    """Return the position after the noun phrase that starts here, or start itself."""
    phrase = noun_phrase(words, start)
    return phrase.end if phrase else start


def find_main_verb(words: Words, phrase: NounPhrase) -> VerbPlace:
    """Return where the main verb of a subject stands, past its relative clauses and participles."""
    pending, consumed = 0, False
    relative: int | None = None
    relative_verb: int | None = None
    position = phrase.end
    while position < len(words):
        word = words[position]
        if word.can_be(Kind.RELATIVE) and not _is_plain_that(words, position):
            pending += 1
            relative = position if relative is None else relative
        elif _is_verb(words, position, phrase):
            if pending:
                pending, consumed = pending - 1, True
                relative_verb = position if relative_verb is None else relative_verb
            elif not (consumed and _is_joined(words, position)):
                return VerbPlace(verb_start(words, position), relative, relative_verb)
            position = _past_verb_group(words, position)
            if at(words, position).can_be(Kind.PAST):
                position += 1
            continue
        position += 1
    return VerbPlace(None, relative, relative_verb)


def find_weak_verb(words: Words, phrase: NounPhrase) -> int | None:
    """Return a verb that breaks agreement ("the man walk to ...") or that no lexicon knows."""
    for position in range(phrase.start + 1, len(words)):
        word, before, after = words[position], words[position - 1], at(words, position + 1)
        if word.can_be(Kind.ING):
            return None
        if not before.can_be(Kind.NOUN) or position == phrase.start + 1 != phrase.start + len(phrase.heads):
            continue
        followed = after is END or after.can_be(Kind.PREPOSITION | Kind.DETERMINER | Kind.ADVERB | Kind.PRONOUN)
        base = word.can_be(Kind.BASE) and tag_of(word.text) in ("VB", "VBP")
        unknown = word.text.endswith("s") and not tag_of(word.text) and not word.can_be(FINITE)
        if followed and (base or (unknown and "-" not in word.text and word.text not in COMMON_NOUNS)):
            return position
    return None


def verb_start(words: Words, position: int) -> int:
    """Return where the verb group starts, adverbs before it included ("slowly walks")."""
    while position > 0:
        before = words[position - 1]
        if not (before.text in PRE_VERB_ADVERBS or (before.text.endswith("ly") and before.can_be(Kind.ADVERB))):
            return position
        position -= 1
    return position


def _single_noun_phrase(words: Words, start: int, *, joined: bool = False) -> NounPhrase | None:
    first = at(words, start)
    if first.can_be(Kind.PRONOUN) and not first.can_be(Kind.DETERMINER):
        return NounPhrase(start, start, start + 1, first.text in PLURAL_PRONOUNS, (start,))
    position, content, noun, plural = start, 0, False, False
    while position < len(words):
        word = words[position]
        opening = content == 0 and (word.can_be(Kind.DETERMINER | Kind.NUMBER) or _is_plain_that(words, position))
        if opening or (word.text.endswith(POSSESSIVE_ENDINGS) and word.can_be(Kind.DETERMINER)):
            plural = plural or word.text in PLURAL_DETERMINERS or (word.can_be(Kind.NUMBER) and word.text != "one")
            content, noun = 0, False
        elif _joins_adjectives(words, position, noun) or (
            word.can_be(Kind.ADVERB) and _modifies(words, position, noun)
        ):
            pass
        elif _extends(words, position, content, noun, plural or (joined and word.can_be(Kind.LISTED))):
            content += 1
            noun = noun or (word.can_be(Kind.NOUN) and not _is_modifier(words, position))
        elif word.text == "of" and words[position - 1].text in QUANTITY_NOUNS:
            content, noun = 0, False
        else:
            break
        position += 1
    if position == start or (content == 0 and not words[position - 1].can_be(Kind.NUMBER | Kind.DETERMINER)):
        return None
    head = words[position - 1]
    plural = plural or head.can_be(Kind.PLURAL)
    return NounPhrase(start, position - 1, position, plural, (position - 1,))


def _extends(words: Words, position: int, content: int, noun: bool, plural: bool) -> bool:
    word, before, after = words[position], at(words, position - 1), at(words, position + 1)
    if word.can_be(Kind.PUNCTUATION | Kind.CONJUNCTION | Kind.AUXILIARY | Kind.RELATIVE | Kind.PRONOUN):
        return False
    if word.can_be(Kind.PREPOSITION):
        return content == 0 and position > 0 and before.can_be(Kind.DETERMINER) and after.can_be(_CONTENT)
    if content == 0:
        return word.can_be(_CONTENT) or not word.can_be(Kind.ADVERB | FINITE) or before.can_be(Kind.DETERMINER)
    if word.can_be(Kind.THIRD):
        return word.can_be(Kind.NOUN) and (not noun or _before_sure_verb(after))
    return word.can_be(_CONTENT) and not (noun and _ends_phrase(word, plural=plural or before.can_be(Kind.PLURAL)))


def _ends_phrase(word: Word, *, plural: bool) -> bool:
    """Whether a word after a noun belongs no more to its phrase."""
    if word.can_be(Kind.ADVERB) or (plural and word.can_be(Kind.BASE)):
        return True
    other = Kind.ADJECTIVE | Kind.PAST | Kind.PARTICIPLE | Kind.ING | Kind.BASE
    return word.can_be(other) and not word.can_be(Kind.NOUN)


def _is_modifier(words: Words, position: int) -> bool:
    """Whether a word that can be an adjective stands before the noun it describes."""
    word, after = words[position], at(words, position + 1)
    describes = not after.can_be(Kind.THIRD) or words[position - 1].can_be(Kind.DETERMINER)
    return word.can_be(Kind.ADJECTIVE) and after.can_be(Kind.NOUN | Kind.ADJECTIVE) and describes


def _joins_adjectives(words: Words, position: int, noun: bool) -> bool:
    before, after = at(words, position - 1), at(words, position + 1)
    joined = words[position].text in (",", "and") and not after.can_be(Kind.DETERMINER)
    return joined and not noun and before.can_be(Kind.ADJECTIVE) and after.can_be(Kind.ADJECTIVE | Kind.NOUN)


def _modifies(words: Words, position: int, noun: bool) -> bool:
    return not noun and at(words, position + 1).can_be(Kind.ADJECTIVE | Kind.PARTICIPLE | Kind.ING)


def _continues(words: Words, position: int) -> bool:
    word = at(words, position)
    if word.can_be(Kind.DETERMINER | Kind.NUMBER):
        return True
    return word.can_be(Kind.NOUN) and not word.can_be(Kind.THIRD | Kind.PRONOUN | Kind.LISTED)


def _is_plain_that(words: Words, position: int) -> bool:
    """Whether "that" points ("that man") instead of opening a relative clause."""
    before = at(words, position - 1)
    return words[position].text == "that" and (position == 0 or before.can_be(Kind.PREPOSITION | Kind.PUNCTUATION))


def _is_verb(words: Words, position: int, phrase: NounPhrase) -> bool:
    """Whether a word can be the verb of a clause, by what stands around it."""
    word, after = words[position], at(words, position + 1)
    if not word.can_be(FINITE) or _waits_for_noun(word, words[position - 1]):
        return False
    if word.can_be(Kind.AUXILIARY):
        return True
    if word.can_be(Kind.NOUN) and (_opens_noun(words, position) or _before_sure_verb(after)):
        return False
    if word.can_be(Kind.PAST) and not word.can_be(Kind.THIRD) and not words[position - 1].can_be(Kind.CONJUNCTION):
        return not (word.can_be(Kind.PARTICIPLE) and _is_reduced_participle(words, position, phrase))
    return word.can_be(Kind.THIRD) or (word.can_be(Kind.BASE) and _has_plural_subject(words, position, phrase))


def _waits_for_noun(word: Word, before: Word) -> bool:
    """Whether a determiner or preposition just before makes the word a noun."""
    if before.can_be(Kind.DETERMINER) and not before.can_be(Kind.PRONOUN):
        return True
    alone = before.text in ADVERBIAL_PREPOSITIONS and (word.can_be(Kind.AUXILIARY) or _is_listed_third(word))
    return before.can_be(Kind.PREPOSITION) and not alone


def _is_listed_third(word: Word) -> bool:
    return word.can_be(Kind.LISTED) and word.can_be(Kind.THIRD)


def _before_sure_verb(after: Word) -> bool:
    return after.can_be(_SURE_VERB) and not after.can_be(Kind.NOUN)


def _opens_noun(words: Words, position: int) -> bool:
    """Whether the words before still wait for a noun ("the green lights", "two more steps")."""
    before = words[position - 1]
    return before.can_be(Kind.ADJECTIVE | Kind.NUMBER) and not before.can_be(Kind.NOUN)


def _has_plural_subject(words: Words, position: int, phrase: NounPhrase) -> bool:
    word, before = words[position], words[position - 1]
    joined = any(
        words[place].text == "and" and words[place + 1].can_be(Kind.DETERMINER)
        for place in range(phrase.end, position - 1)
    )
    if not (phrase.plural or (joined and word.can_be(Kind.LISTED))):
        return False
    return before.can_be(Kind.NOUN | Kind.PRONOUN | Kind.ADVERB | Kind.CONJUNCTION) and not word.can_be(Kind.ADVERB)


def _is_reduced_participle(words: Words, position: int, phrase: NounPhrase) -> bool:
    """Whether a past form describes ("the boy pushed by him falls"): a free finite verb follows, or "by"."""
    after = at(words, position + 1)
    if after.text == "by" or after.can_be(_SURE_VERB):
        return True
    if not after.can_be(Kind.PREPOSITION | Kind.ADVERB):
        return False
    for place in range(position + 1, len(words)):
        word = words[place]
        if word.can_be(Kind.RELATIVE | Kind.CONJUNCTION) or word.text == ",":
            return False
        if word.can_be(_SURE_VERB) and _is_verb(words, place, phrase):
            return True
    return False


def _is_joined(words: Words, position: int) -> bool:
    """Whether a verb continues the clause before it ("who sits and reads")."""
    return words[verb_start(words, position) - 1].can_be(Kind.CONJUNCTION)


def _past_verb_group(words: Words, position: int) -> int:
    """Return the position after a verb and, for an auxiliary, after the verb it helps."""
    if not words[position].can_be(Kind.AUXILIARY):
        return position + 1
    position += 1
    helped = Kind.BASE | Kind.PAST | Kind.PARTICIPLE | Kind.ING | Kind.AUXILIARY
    while at(words, position).can_be(helped) or at(words, position).text in ("not", "also", "still"):
        position += 1
    return position
