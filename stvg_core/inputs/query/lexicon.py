"""What an English word can be: noun, adjective, verb form, preposition.

Closed classes and visible verbs come from stvg_core.inputs.query.words; everything else from the
lexicon that TextBlob ships in its wheel (Brill's tagger lexicon, 94,000 words, one tag
each). It is read with the first sentence, not with the module. Knows words, no sentence.
"""

from dataclasses import dataclass
from enum import Flag, auto
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from stvg_core.errors import PluginError
from stvg_core.inputs.query import words


class Kind(Flag):
    """What a word can be; most words can be several things."""

    NONE = 0
    DETERMINER = auto()
    NUMBER = auto()
    ADJECTIVE = auto()
    NOUN = auto()
    PLURAL = auto()
    PRONOUN = auto()
    PREPOSITION = auto()
    ADVERB = auto()
    CONJUNCTION = auto()
    RELATIVE = auto()
    AUXILIARY = auto()
    BASE = auto()
    THIRD = auto()
    PAST = auto()
    PARTICIPLE = auto()
    ING = auto()
    LISTED = auto()
    PUNCTUATION = auto()


_LEXICON: Final = "textblob/en/en-lexicon.txt"
POSSESSIVE_ENDINGS: Final = ("'s", "\u2019s")
FINITE: Final = Kind.THIRD | Kind.PAST | Kind.AUXILIARY | Kind.BASE


@dataclass(frozen=True)
class Word:
    """One word or mark of a sentence.

    Attributes:
        text: lower case.
        start: first character in the sentence.
        end: one past its last character.
        kind: everything it can be.
    """

    text: str
    start: int
    end: int
    kind: Kind

    def can_be(self, kind: Kind) -> bool:
        """Whether the word can be any of these."""
        return self.kind.value & kind.value != 0


def third_person(verb: str) -> str:
    """Return the form after "he".

    >>> [third_person(verb) for verb in ("hold", "carry", "push", "do", "play")]
    ['holds', 'carries', 'pushes', 'does', 'plays']
    """
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def past(verb: str) -> str:
    """Return the past form.

    >>> [past(verb) for verb in ("hold", "carry", "hug", "push", "chase")]
    ['held', 'carried', 'hugged', 'pushed', 'chased']
    """
    return words.IRREGULAR_VERBS[verb][0] if verb in words.IRREGULAR_VERBS else _regular_past(verb)


def kind_of(word: str) -> Kind:
    """Return everything that a lower-case word can be.

    >>> Kind.THIRD in kind_of("squats"), Kind.NOUN in kind_of("jeans"), Kind.THIRD in kind_of("jeans")
    (True, True, False)
    """
    if not any(character.isalnum() for character in word):
        return Kind.CONJUNCTION if word == "&" else Kind.PUNCTUATION
    closed = _closed_kind(word)
    if closed & (Kind.DETERMINER | Kind.AUXILIARY | Kind.PRONOUN | Kind.RELATIVE):
        return closed
    return closed | _open_kind(word, known=closed != Kind.NONE)


def tag_of(word: str) -> str:
    """Return the lexicon's one tag of a lower-case word (Penn Treebank), or an empty string."""
    return _tags().get(word, "")


def _closed_kind(word: str) -> Kind:
    kind = Kind.NONE
    for names, member in (
        (words.DETERMINERS | words.POSSESSIVES, Kind.DETERMINER),
        (words.NUMBERS, Kind.NUMBER),
        (words.ORDINALS, Kind.ADJECTIVE),
        (words.COLORS, Kind.ADJECTIVE | Kind.NOUN),
        (words.CLOTHING | words.COMMON_NOUNS | words.QUANTITY_NOUNS, Kind.NOUN),
        (words.PREPOSITIONS, Kind.PREPOSITION),
        (words.ADVERBS, Kind.ADVERB),
        (words.CONJUNCTIONS, Kind.CONJUNCTION),
        (words.RELATIVES, Kind.RELATIVE),
        (words.AUXILIARIES, Kind.AUXILIARY),
        (words.SUBJECT_PRONOUNS.keys() | words.OBJECT_PRONOUNS | words.OTHER_PRONOUNS, Kind.PRONOUN),
        (words.PLURAL_NOUNS, Kind.NOUN | Kind.PLURAL),
    ):
        if word in names:
            kind |= member
    if word.isdigit():
        kind |= Kind.NUMBER
    if word.endswith((*POSSESSIVE_ENDINGS, "s'", "s\u2019")):
        kind |= Kind.DETERMINER
    if word == "her":
        kind = Kind.DETERMINER | Kind.PRONOUN
    return kind


def _open_kind(word: str, *, known: bool) -> Kind:
    kind = _verb_forms().get(word, Kind.NONE)
    clothing = word in words.CLOTHING
    if clothing:
        return Kind.NOUN | (Kind.PLURAL if word.endswith("s") else Kind.NONE)
    tag = tag_of(word)
    if tag.startswith("NN"):
        kind |= Kind.NOUN | (Kind.PLURAL if tag.endswith("S") else Kind.NONE)
    elif tag.startswith("JJ"):
        kind |= Kind.ADJECTIVE
    elif tag.startswith("RB"):
        kind |= Kind.ADVERB
    elif tag in ("VB", "VBP"):
        kind |= Kind.BASE
    elif tag == "VBZ":
        kind |= Kind.THIRD
    elif tag == "VBD":
        kind |= Kind.PAST | Kind.PARTICIPLE
    elif tag == "VBN":
        kind |= Kind.PARTICIPLE | Kind.ADJECTIVE
    elif tag == "VBG":
        kind |= Kind.ING
    if kind or known:
        return kind
    return _unknown_kind(word)


def _unknown_kind(word: str) -> Kind:
    """Guess from the ending; a hyphen in an unknown word makes it a description."""
    if "-" in word:
        return Kind.ADJECTIVE | Kind.NOUN
    for ending, kind in (("ly", Kind.ADVERB), ("ing", Kind.ING), ("ed", Kind.PAST | Kind.PARTICIPLE | Kind.ADJECTIVE)):
        if word.endswith(ending):
            return kind
    if word.endswith("s") and not word.endswith("ss"):
        base = tag_of(word[:-1])
        return Kind.THIRD if base.startswith("VB") else Kind.NOUN | Kind.PLURAL
    return Kind.NOUN


def _regular_past(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + (verb[-1] if verb in words.DOUBLED else "") + "ed"


def _ing(verb: str) -> str:
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + (verb[-1] if verb in words.DOUBLED else "") + "ing"


@cache
def _verb_forms() -> dict[str, Kind]:
    forms: dict[str, Kind] = {}
    for verb in words.ACTION_VERBS:
        past_form, participle = words.IRREGULAR_VERBS.get(verb, (_regular_past(verb),) * 2)
        for form, kind in (
            (verb, Kind.BASE),
            (third_person(verb), Kind.THIRD),
            (past_form, Kind.PAST),
            (participle, Kind.PARTICIPLE),
            (_ing(verb), Kind.ING),
        ):
            forms[form] = forms.get(form, Kind.NONE) | kind | Kind.LISTED
    return forms


@cache
def _tags() -> dict[str, str]:
    """Read the lexicon from the installed wheel; TextBlob itself would import nltk and scipy for it."""
    try:
        path = Path(str(distribution("textblob").locate_file(_LEXICON)))
        lines = path.read_text("utf-8").splitlines()
    except (PackageNotFoundError, OSError) as error:
        raise PluginError(
            f"expected the word list {_LEXICON} of textblob, got {error}; install it with pip install textblob"
        ) from error
    pairs = (line.split(" ", 2) for line in lines if " " in line and not line.startswith(";;;"))
    return {pair[0]: pair[1] for pair in pairs}
