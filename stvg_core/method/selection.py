"""Selection of prompt tokens and decoder layers for attention maps: the values of `--tokens` and `--layers`.

The syntax is checked at once, the numbers when the prompt and the model are available.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from stvg_core.errors import UsageError
from stvg_core.plugin.adapter import PromptToken

GROUNDING: Final = "grounding"
_KINDS: Final = {
    "all": ("word", "punctuation", "role", "thinking"),
    "words": ("word",),
    "roles": ("punctuation", "role"),
}
_TEXT: Final = "text:"
_TOKENS_CURE: Final = "name grounding, all, words, roles, text:PHRASE, or positions such as 0,3,-1"
_LAYERS_CURE: Final = "name all, or layers such as 0-7 or 3,5,-1"
# What tokenizers write for a space before a word.
_SPACE_MARKS: Final = "\u0120\u2581 "
_RANGE: Final = re.compile(r"(-?[0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_POSITION: Final = re.compile(r"-?[0-9]{1,6}", re.ASCII)


@dataclass(frozen=True)
class TokenSelection:
    """Which tokens' rows are averaged into the maps.

    Attributes:
        text: `grounding` (the rule of the settings, through the backend's hook), `all`, `words` (of the
            question), `roles` (its final punctuation and the template's tokens), `text:PHRASE`, or positions,
            0-based from the question's first token, negative ones from the prompt's end.

    Raises:
        UsageError: the text is none of these.
    """

    text: str = GROUNDING

    def __post_init__(self) -> None:
        """Check the syntax; `positions` checks the numbers."""
        if self.text in (GROUNDING, *_KINDS):
            return
        if self.text.startswith(_TEXT) and self.text.removeprefix(_TEXT).strip():
            return
        if not all(_POSITION.fullmatch(part.strip()) for part in self.text.split(",")):
            raise UsageError(f"expected prompt tokens, got {self.text!r}; {_TOKENS_CURE}")

    def positions(self, tokens: Sequence[PromptToken], grounding: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
        """Return the positions of the selected tokens, ascending; at least one.

        Args:
            tokens: from the question's first to the prompt's last.
            grounding: returns the grounding tokens by the backend's rule; called for `grounding` alone.

        Raises:
            UsageError: the prompt has no such token.

        >>> tokens = (PromptToken("a", "word"), PromptToken("\u0120red", "word"), PromptToken("?", "punctuation"))
        >>> TokenSelection("text:red").positions(tokens, tuple), TokenSelection("-1,0").positions(tokens, tuple)
        ((1,), (0, 2))
        """
        if self.text == GROUNDING:
            return grounding()
        if self.text in _KINDS:
            kinds = _KINDS[self.text]
            selected = [place for place, token in enumerate(tokens) if token.kind in kinds]
        elif self.text.startswith(_TEXT):
            selected = _positions_of(self.text.removeprefix(_TEXT), tokens)
        else:
            selected = [_position(int(part), len(tokens), "token", _TOKENS_CURE) for part in self.text.split(",")]
        if not selected:
            prompt = " ".join(token.text for token in tokens)
            raise UsageError(f"expected tokens {self.text!r} in the prompt, got none among {prompt!r}; {_TOKENS_CURE}")
        return tuple(sorted(set(selected)))


@dataclass(frozen=True)
class LayerSelection:
    """Which decoder layers are averaged.

    Attributes:
        text: `all`, or numbers and ranges such as `0-7`, `3,5`, `-1` (the last).

    Raises:
        UsageError: the text is none of these.
    """

    text: str

    def __post_init__(self) -> None:
        """Check the syntax."""
        parts = self.text.split(",")
        if self.text != "all" and not all(_RANGE.fullmatch(part.strip()) for part in parts):
            raise UsageError(f"expected decoder layers, got {self.text!r}; {_LAYERS_CURE}")

    def layers(self, layer_count: int) -> tuple[int, ...]:
        """Return 0-based layer numbers, ascending.

        Raises:
            UsageError: the model has no such layer.

        >>> LayerSelection("0-2,-1").layers(8)
        (0, 1, 2, 7)
        """
        if self.text == "all":
            return tuple(range(layer_count))
        selected: set[int] = set()
        for part in self.text.split(","):
            match = _RANGE.fullmatch(part.strip())
            first, last = (None, None) if match is None else match.groups()
            start = _position(int(first or 0), layer_count, "layer", _LAYERS_CURE)
            stop = start if last is None else _position(int(last), layer_count, "layer", _LAYERS_CURE)
            if stop < start:
                raise UsageError(f"expected a range of layers that ascends, got {part.strip()!r}; {_LAYERS_CURE}")
            selected.update(range(start, stop + 1))
        return tuple(sorted(selected))


def _position(number: int, count: int, what: str, cure: str) -> int:
    place = number + count if number < 0 else number
    if not 0 <= place < count:
        raise UsageError(f"expected a {what} within 0..{count - 1} (or -{count}..-1), got {number}; {cure}")
    return place


def _positions_of(phrase: str, tokens: Sequence[PromptToken]) -> list[int]:
    """Return the positions of every occurrence of a phrase, ignoring case and spaces."""
    letters = "".join(phrase.split()).casefold()
    pieces = ["".join(token.text.strip(_SPACE_MARKS).split()).casefold() for token in tokens]
    positions: list[int] = []
    for start in range(len(pieces)):
        length, stop = 0, start
        while stop < len(pieces) and length < len(letters):
            length += len(pieces[stop])
            stop += 1
        if "".join(pieces[start:stop]) == letters and pieces[start]:
            positions += [place for place in range(start, stop) if pieces[place]]
    return positions
