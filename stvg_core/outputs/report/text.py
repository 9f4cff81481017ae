"""Text from users, made harmless: one line, bounded, nothing that steers a terminal or the reader's eye.

Knows no image and no font.
"""

import re
import unicodedata

from stvg_core._internal.plain_text import CONTROLS, DIRECTION_CONTROLS, SURROGATES

_ELLIPSIS = "..."


def replace_surrogates(text: str) -> str:
    r"""Return text that UTF-8 can carry; half characters (from odd file names) become U+FFFD.

    >>> replace_surrogates("a\udcffb") == "a\ufffdb"
    True
    """
    return SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def clean_text(text: str, maximum_length: int) -> str:
    r"""Return text on one line: no control characters, single spaces, at most maximum_length characters.

    >>> clean_text("a\x1b[31m man\n\n runs", 40)
    'a [31m man runs'
    >>> clean_text("the man in blue walks", 10)
    'the man...'
    """
    # Nothing beyond this can remain, and a huge text should not be walked several times.
    bounded = text[: 4 * maximum_length]
    without_controls = CONTROLS.sub(" ", DIRECTION_CONTROLS.sub("", replace_surrogates(bounded)))
    line = " ".join(unicodedata.normalize("NFC", without_controls).split())
    return line if len(line) <= maximum_length and len(bounded) == len(text) else shorten(line, maximum_length)


def shorten(line: str, maximum_length: int) -> str:
    """Return at most maximum_length characters of a line, ending in "..." .

    >>> shorten("abcdefgh", 6)
    'abc...'
    """
    return line[: max(0, maximum_length - len(_ELLIPSIS))].rstrip() + _ELLIPSIS[:maximum_length]


def escape_controls(json_text: str) -> str:
    r"""Return JSON text in which control characters inside strings are escapes, as JSON allows.

    Line feeds stay: outside of strings they are layout, inside json.dumps has escaped them.

    >>> escape_controls('"\x9b"')
    '"\\u009b"'
    """
    escaped = re.sub("[\x7f-\x9f\u2028\u2029]", _escape, json_text)
    return DIRECTION_CONTROLS.sub(_escape, escaped)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"
