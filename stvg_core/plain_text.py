"""Foreign text made harmless: one line, bounded, nothing that steers a terminal or the reader's eye."""

LONGEST_LINE = 2000


def one_line(text: str, maximum_length: int = LONGEST_LINE) -> str:
    r"""Return text on one line without control characters, cut where it is very long.

    >>> one_line("no\x1b[31m such\nfile")
    'no[31m such file'
    """
    # Controls of the writing direction are no printable characters either.
    tidy = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return tidy if len(tidy) <= maximum_length else f"{tidy[:maximum_length]} ..."
