"""Which words of a query its attribute and its action part were made of."""

import re
from difflib import SequenceMatcher
from typing import Final, Literal

Part = Literal["attribute", "action", ""]
_WORD: Final = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*")
_TAKEN: Final = "\0"


def query_parts(text: str, attribute: str, action: str) -> list[tuple[str, Part]]:
    """Return a query in pieces, each with the part it belongs to; the pieces together are the query.

    A decomposer may write a sub-query in words of its own; words that the query does not have are left out. Where
    both parts have a word, it is the attribute's: the action's subject is a stand-in for it.

    >>> query_parts("The man in blue walks away.", "the man in blue", "the man walks away")
    [('The man in blue', 'attribute'), (' ', ''), ('walks away', 'action'), ('.', '')]
    """
    found = list(_WORD.finditer(text))
    words = [match.group().lower() for match in found]
    marks: list[Part] = [""] * len(words)
    parts: tuple[tuple[Part, str], ...] = (("attribute", attribute), ("action", action))
    for part, sub_query in parts:
        open_words = [_TAKEN if mark else word for word, mark in zip(words, marks, strict=True)]
        wanted = [match.group().lower() for match in _WORD.finditer(sub_query)]
        for start, _, length in SequenceMatcher(None, open_words, wanted, autojunk=False).get_matching_blocks():
            marks[start : start + length] = [part] * length
    pieces: list[tuple[str, Part]] = []
    end = 0
    for match, mark in zip(found, marks, strict=True):
        # What stands between two words of one part is of that part as well.
        joins = bool(pieces) and pieces[-1][1] == mark and mark != ""
        _add(pieces, text[end : match.start()], mark if joins else "")
        _add(pieces, match.group(), mark)
        end = match.end()
    _add(pieces, text[end:], "")
    return pieces


def _add(pieces: list[tuple[str, Part]], text: str, part: Part) -> None:
    if pieces and pieces[-1][1] == part:
        pieces[-1] = (pieces[-1][0] + text, part)
    elif text:
        pieces.append((text, part))
