"""A query as text: what is accepted, and how a sub-query is written.

Shared by all decomposers. This module knows no grammar and no language.
"""

import re
import unicodedata

from stvg_core.errors import QueryError
from stvg_core.values import tidy_text

MAXIMUM_WORDS = 512
"""Longest query in words; the longest sentences of HC-STVG and VidSTG have a few dozen."""
MAXIMUM_CHARACTERS = 4_000
"""Longest query in characters, for scripts that write no spaces."""

_FINAL = " .!?;:,\u2026\u3002\uff01\uff1f\uff1b\uff1a\uff0c\u3001"
"""Marks at the end of a sentence, full-width ones included."""
_JOINERS = "\u200c\u200d"


def clean_sentence(text: str) -> str:
    r"""Return a query on one line: composed characters, single spaces, nothing invisible.

    Raises:
        QueryError: no text, no word is left, or the text is longer than 512 words or 4,000 characters.

    >>> clean_sentence("  The man\n runs. ")
    'The man runs.'
    """
    if not isinstance(text, str):
        raise QueryError(f"expected a query as text, got {type(text).__name__}")
    if len(text) > MAXIMUM_CHARACTERS:
        raise QueryError(
            f"expected a query of at most {MAXIMUM_CHARACTERS:,} characters, got {len(text):,}; "
            "describe one object and what it does in one sentence"
        )
    visible = "".join(
        " " if unicodedata.category(character) == "Cc" else character
        for character in unicodedata.normalize("NFC", text)
        if unicodedata.category(character) not in ("Cf", "Cs") or character in _JOINERS
    )
    sentence = tidy_text(visible)
    words = len(sentence.split())
    if words > MAXIMUM_WORDS:
        raise QueryError(
            f"expected a query of at most {MAXIMUM_WORDS} words, got {words:,}; "
            "describe one object and what it does in one sentence"
        )
    if not as_sub_query(sentence).strip(_JOINERS + " "):
        raise QueryError("expected a sentence as query, got no word; describe an object and what it does")
    return sentence


def as_sub_query(text: str) -> str:
    """Return text the way a sub-query is written: lower case, without final stop.

    >>> as_sub_query("The man walks to the sofa. ")
    'the man walks to the sofa'
    """
    return tidy_text(text).lower().strip(_FINAL)


def words_of(text: str) -> list[str]:
    """Return the words of a text, lower case, without punctuation.

    >>> words_of("The man, who's 70, sits.")
    ['the', 'man', "who's", '70', 'sits']
    """
    return re.findall(r"[^\W_]+(?:[-'\u2019][^\W_]+)*", text.lower())
