"""Text from annotation files: what steers a terminal is found, not passed on."""

import unicodedata

from stvg_core.values import tidy_text

__all__ = ["tidy_text", "unsafe_text"]

_WHITE_SPACE = "\t\n\r"
# Controls of the writing direction let a text look like another one.
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def unsafe_text(text: str, *, white_space: bool = False) -> bool:
    r"""Return whether text holds control characters, controls of direction, or half characters.

    Args:
        text: what a file says.
        white_space: let tabs and line ends pass.

    >>> unsafe_text("a man"), unsafe_text("\x1b[31m"), unsafe_text("a\n", white_space=True)
    (False, True, False)
    """
    if text.isascii() and text.isprintable():
        return False
    return any(
        (unicodedata.category(character) in {"Cc", "Cs"} and not (white_space and character in _WHITE_SPACE))
        or character in _DIRECTION
        for character in text
    )
