"""What training and calibration never see, so that the test split can ask for it.

Held out are six of the 30 pairs of a colour and a shape (each colour once, each shape at least
once), 17 of the 168 triples of a remaining pair and an action (no pair, no colour with an action
and no shape with an action twice), the finest background, and scenes of five objects. Every single
colour, shape and action stays: what is new to a model is only the combination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from stvg_tiny.scenes import COLOR_NAMES, EVENTS, SHAPE_NAMES, STILL

HELD_OUT_PAIRS: Final = (
    ("red", "square"),
    ("green", "triangle"),
    ("blue", "ring"),
    ("yellow", "circle"),
    ("white", "cross"),
    ("purple", "triangle"),
)
"""Pairs of a colour and a shape that no object of a training or development scene has."""

_TRIPLE_PERIOD: Final = 10
_TRIPLE_REMAINDER: Final = 1
_SHAPE_STRIDE: Final = 3

HELD_OUT_TRIPLES: Final = tuple(
    (color, shape, action)
    for color_index, color in enumerate(COLOR_NAMES)
    for shape_index, shape in enumerate(SHAPE_NAMES)
    for action_index, action in enumerate(EVENTS)
    if (color, shape) not in HELD_OUT_PAIRS
    and (color_index + _SHAPE_STRIDE * shape_index + action_index) % _TRIPLE_PERIOD == _TRIPLE_REMAINDER
)
"""Triples of a colour, a shape and an action that no object of a training or development scene has."""

HELD_OUT_GRID_CELLS: Final = 12
"""The `Texture.grid_cells` of the held-out background."""

HELD_OUT_OBJECT_COUNT: Final = 5
"""Objects in the crowded scenes that only the test split has."""

_GRID_CELLS: Final = (4, 7, HELD_OUT_GRID_CELLS)


@dataclass(frozen=True)
class Combinations:
    """What a scene may hold.

    An object that stays still is allowed wherever its pair is.

    Attributes:
        without_pairs: Pairs (colour, shape) that no object may have.
        without_triples: Triples (colour, shape, action) that no object may have.
        grid_cells: The backgrounds to choose from, as `Texture.grid_cells`.
        most_objects: Objects that a scene has at most.
    """

    without_pairs: frozenset[tuple[str, str]] = frozenset()
    without_triples: frozenset[tuple[str, str, str]] = frozenset()
    grid_cells: tuple[int, ...] = _GRID_CELLS
    most_objects: int = HELD_OUT_OBJECT_COUNT

    def allows(self, color: str, shape: str, action: str = STILL) -> bool:
        """Return whether an object may look and act like this; without an action, whether it may look so.

        >>> TRAINING.allows("red", "circle"), TRAINING.allows("red", "square")
        (True, False)
        """
        return (color, shape) not in self.without_pairs and (color, shape, action) not in self.without_triples

    def shapes(self, color: str, action: str = STILL) -> Sequence[str]:
        """Return the shapes that an object of this colour and action may have."""
        return [shape for shape in SHAPE_NAMES if self.allows(color, shape, action)]

    def colors(self, shape: str, action: str = STILL) -> Sequence[str]:
        """Return the colours that an object of this shape and action may have."""
        return [color for color in COLOR_NAMES if self.allows(color, shape, action)]

    def events(self, color: str, shape: str) -> Sequence[str]:
        """Return what an object of this colour and shape may do, other than stay still."""
        return [action for action in EVENTS if self.allows(color, shape, action)]

    def with_pair(self, color: str, shape: str) -> Combinations:
        """Return these combinations and one held-out pair, with every action."""
        return replace(self, without_pairs=self.without_pairs - {(color, shape)})

    def with_triple(self, color: str, shape: str, action: str) -> Combinations:
        """Return these combinations and one held-out triple."""
        return replace(self, without_triples=self.without_triples - {(color, shape, action)})


EVERYTHING: Final = Combinations()
"""Nothing is held out."""

TRAINING: Final = Combinations(
    without_pairs=frozenset(HELD_OUT_PAIRS),
    without_triples=frozenset(HELD_OUT_TRIPLES),
    grid_cells=tuple(cells for cells in _GRID_CELLS if cells != HELD_OUT_GRID_CELLS),
    most_objects=HELD_OUT_OBJECT_COUNT - 1,
)
"""What training and development scenes are made of."""
