"""Foreign text made harmless: one line, bounded, nothing that steers a terminal or the reader's eye."""

import re
import unicodedata

LONGEST_LINE = 2000
# Overrides of the writing direction can make a text read as another one.
DIRECTION_CONTROLS = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
SURROGATES = re.compile("[\ud800-\udfff]")


def is_plain_line(text: str) -> bool:
    r"""Return whether text is written into documents as it is: composed, on one line, with single spaces.

    >>> is_plain_line("You are kind."), is_plain_line("two  spaces"), is_plain_line("two\nlines"), is_plain_line("")
    (True, False, False, False)
    """
    steered = any(pattern.search(text) for pattern in (DIRECTION_CONTROLS, CONTROLS, SURROGATES))
    return bool(text) and not steered and text == " ".join(unicodedata.normalize("NFC", text).split())


def one_line(text: str, maximum_length: int = LONGEST_LINE) -> str:
    r"""Return text on one line without control characters, cut where it is very long.

    >>> one_line("no\x1b[31m such\nfile")
    'no[31m such file'
    """
    # Controls of the writing direction are no printable characters either.
    tidy = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return tidy if len(tidy) <= maximum_length else f"{tidy[:maximum_length]} ..."
