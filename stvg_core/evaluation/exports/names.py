"""File names made from foreign texts: plain, short, never two alike, never out of the folder."""

import unicodedata
from pathlib import PurePosixPath
from typing import Final

_LONGEST: Final = 80
_KEPT_MARKS: Final = "-_"
# Windows opens a device for these, whatever the ending.
_DEVICES: Final = frozenset({"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))})


class FileNames:
    """Gives each text a file name of its own; the same text gets the same name."""

    def __init__(self) -> None:
        """Start with no name taken."""
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, text: str) -> str:
        """Return the name of a text: letters, digits, "-" and "_".

        >>> names = FileNames()
        >>> names.of("clips/a b.mp4"), names.of("clips/a_b.mp4"), names.of("clips/a b.mp4"), names.of("../..")
        ('clips_a_b_mp4', 'clips_a_b_mp4-2', 'clips_a_b_mp4', 'unnamed')
        """
        if text not in self._names:
            plain = unicodedata.normalize("NFC", text)
            kept = "".join(letter if letter.isalnum() or letter in _KEPT_MARKS else "_" for letter in plain)
            name = kept.strip("_-")[:_LONGEST].rstrip("_-") or "unnamed"
            name = f"_{name}" if name.casefold() in _DEVICES else name
            count, free = 1, name
            # Some file systems do not tell letters' case apart.
            while free.casefold() in self._taken:
                count += 1
                free = f"{name}-{count}"
            self._taken.add(free.casefold())
            self._names[text] = free
        return self._names[text]


def without_ending(path: str) -> str:
    """Return a video's path without the ending of its file.

    >>> without_ending("clips/a.b.mp4"), without_ending("clips.d/a")
    ('clips/a.b', 'clips.d/a')
    """
    pure = PurePosixPath(path.replace("\\", "/"))
    return path if not pure.suffix else path[: -len(pure.suffix)]
