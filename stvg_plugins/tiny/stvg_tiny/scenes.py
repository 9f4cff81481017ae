"""Scene values: what is in a synthetic video, as functions of continuous time.

A scene knows nothing about pixels or frames. Positions and lengths are fractions of the frame's
side (0 is left or top), times are fractions of the video's duration in [0, 1]. So one scene can be
rendered at any size and with any number of frames, and its ground truth is exact at each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

COLORS: Final = MappingProxyType(
    {
        "red": (215, 40, 40),
        "green": (40, 180, 60),
        "blue": (45, 70, 220),
        "yellow": (225, 210, 40),
        "white": (240, 240, 240),
        "purple": (160, 45, 190),
    }
)
"""Mean RGB value (0..255) of each colour name."""

SHAPE_EXTENTS: Final = MappingProxyType(
    {
        "circle": (1.0, 1.0, 1.0, 1.0),
        "square": (0.9, 0.9, 0.9, 0.9),
        "triangle": (1.0, 1.0, 1.0, 0.95),
        "cross": (1.0, 1.0, 1.0, 1.0),
        "ring": (1.0, 1.0, 1.0, 1.0),
    }
)
"""How far each shape reaches left, up, right and down from its centre, in radii."""

DIRECTIONS: Final = MappingProxyType(
    {"moves left": (-1, 0), "moves right": (1, 0), "moves up": (0, -1), "moves down": (0, 1)}
)
"""Unit step (x to the right, y down) of each action that moves."""

COLOR_NAMES: Final = tuple(COLORS)
SHAPE_NAMES: Final = tuple(SHAPE_EXTENTS)
EVENTS: Final = (*DIRECTIONS, "grows", "shrinks", "blinks")
STILL: Final = "stays still"
BLINK_HALF_PERIOD: Final = 1 / 8
"""For this long a blinking object is shown, then for as long it is hidden (fraction of the video)."""

Difficulty = Literal["easy", "hard"]
Times = Float[np.ndarray, " frame"]


def frame_times(frame_count: int) -> NDArray[np.float64]:
    """Return the time of each of `frame_count` evenly spaced frames, as fractions of the video.

    A frame stands for the middle of its share of the video.

    >>> frame_times(4)
    array([0.125, 0.375, 0.625, 0.875])
    """
    return (np.arange(frame_count) + 0.5) / frame_count


@dataclass(frozen=True)
class Span:
    """A half-open time interval [start, end), in fractions of the video."""

    start: float
    end: float

    def contains(self, times: Times) -> Bool[np.ndarray, " frame"]:
        """Return which times lie inside."""
        return np.asarray((times >= self.start) & (times < self.end))

    def frames(self, frame_count: int) -> tuple[int, int]:
        """Return the first and the last frame (inclusive) inside, of `frame_count` in the video."""
        inside = np.flatnonzero(self.contains(frame_times(frame_count)))
        return int(inside[0]), int(inside[-1])


@dataclass(frozen=True)
class SceneObject:
    """One object: what it looks like, what it does, and when.

    Attributes:
        color: A key of `COLORS`.
        shape: A key of `SHAPE_EXTENTS`.
        action: One of `EVENTS`, or `STILL`.
        span: When the action happens; the whole video for `STILL`.
        start_center: Centre (x, y) before the action, in fractions of the frame's side.
        displacement: Way (x, y) travelled during the action, likewise.
        start_radius: Half of the shape's full size before the action, likewise.
        end_radius: The same after the action.
        blink_offset: Where in its on-off cycle a blinking object begins, in half-periods [0, 2).
        tint: Offset of this object's RGB value from the colour's mean, 0..255 scale.
    """

    color: str
    shape: str
    action: str
    span: Span
    start_center: tuple[float, float]
    displacement: tuple[float, float]
    start_radius: float
    end_radius: float
    blink_offset: float = 0.0
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_event(self) -> bool:
        """Whether the object does anything at all."""
        return self.action != STILL

    def progress(self, times: Times) -> Float[np.ndarray, " frame"]:
        """Return how much of the action is done at each time, 0..1."""
        return np.asarray(np.clip((times - self.span.start) / (self.span.end - self.span.start), 0.0, 1.0))

    def centers(self, times: Times) -> Float[np.ndarray, "frame xy=2"]:
        """Return the centre (x, y) at each time, in fractions of the frame's side."""
        way = self.progress(times)[:, None] * np.asarray(self.displacement)
        return np.asarray(np.asarray(self.start_center) + way)

    def radii(self, times: Times) -> Float[np.ndarray, " frame"]:
        """Return the radius at each time, in fractions of the frame's side."""
        return np.asarray(self.start_radius + (self.end_radius - self.start_radius) * self.progress(times))

    def visible(self, times: Times) -> Bool[np.ndarray, " frame"]:
        """Return whether the object is shown at each time (a blinking one is hidden now and then)."""
        if self.action != "blinks":
            return np.ones(len(times), dtype=bool)
        half_periods = np.floor((times - self.span.start) / BLINK_HALF_PERIOD + self.blink_offset)
        return np.asarray(~self.span.contains(times) | (half_periods % 2 == 0))

    def boxes(self, times: Times, size_pixels: int) -> Float[np.ndarray, "frame xyxy=4"]:
        """Return the box at each time in pixels of a square frame, clipped to the frame.

        A hidden object keeps its box: it is still there.
        """
        left, up, right, down = SHAPE_EXTENTS[self.shape]
        reach = self.radii(times)[:, None] * np.array([-left, -up, right, down])
        boxes = np.tile(self.centers(times), 2) + reach
        return np.asarray(np.clip(boxes, 0.0, 1.0) * size_pixels)


@dataclass(frozen=True)
class Texture:
    """Everything in the picture that no question asks about.

    Attributes:
        seed: Seed of the background's and the noise's random values.
        grid_cells: The background is a smooth field with this many random values per side.
        noise_level: Standard deviation of the pixel noise, 0..255 scale.
        edge_softness: Width of an object's soft edge, in fractions of the frame's side
            (never below one pixel of the rendered size).
    """

    seed: int
    grid_cells: int
    noise_level: float
    edge_softness: float


@dataclass(frozen=True)
class Scene:
    """A synthetic video. `objects[0]` is the target: no other object shares its full description."""

    objects: tuple[SceneObject, ...]
    texture: Texture

    @property
    def target(self) -> SceneObject:
        """The object that a grounding query about this scene describes."""
        return self.objects[0]
