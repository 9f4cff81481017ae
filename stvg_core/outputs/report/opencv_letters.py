"""The letters that OpenCV 5 carries within itself: Latin with accents, Greek, Cyrillic, Chinese, Japanese, Korean.

They stand in where neither Pillow's bundled font nor one of the system has a text. OpenCV 4 has no such font.
"""

from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

_FACE: Final = "uni"
_WHITE: Final = 255
# Where the baseline lies between the line's middle and its lower edge, as a share of the letters' size.
_MIDDLE_TO_BASELINE: Final = 0.36
_ABOVE: Final = 1.25
_BELOW: Final = 0.5


class OpencvLetters:
    """A size of OpenCV's letters; what the pictures ask of a font."""

    def __init__(self, size_pixels: int) -> None:
        """Choose a size.

        Raises:
            OSError: this OpenCV has no letters of its own.
        """
        if not hasattr(cv2, "FontFace"):
            raise OSError(f"OpenCV {cv2.__version__} has no letters of its own")
        self.size_pixels = size_pixels

    def getlength(self, text: str) -> float:
        """Return how far a line runs, in pixels; named as Pillow's fonts name it."""
        _, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _face(), self.size_pixels)
        return float(width)

    def ink(self, text: str) -> UInt8[np.ndarray, "height width"]:
        """Return a line as coverage, 0 to 255; its baseline is 1.25 sizes below the upper edge."""
        above, below = round(_ABOVE * self.size_pixels), round(_BELOW * self.size_pixels)
        canvas = np.zeros((above + below, max(1, round(self.getlength(text)) + 2)), dtype=np.uint8)
        cv2.putText(canvas, text, (0, above), (_WHITE,), _face(), self.size_pixels)
        return canvas

    def write(
        self, draw: ImageDraw.ImageDraw, at_xy: tuple[int, int], text: str, color: tuple[int, int, int], anchor: str
    ) -> None:
        """Write a line.

        Args:
            draw: where to.
            at_xy: pixels; `anchor` says what lies there.
            text: one line.
            color: of the letters.
            anchor: as in Pillow: l or r for the line's left or right end, then m for its middle or s for its baseline.
        """
        ink = self.ink(text)
        x, y = at_xy
        left = x - round(self.getlength(text)) if anchor.startswith("r") else x
        baseline = y + (round(_MIDDLE_TO_BASELINE * self.size_pixels) if anchor.endswith("m") else 0)
        draw.bitmap((left, baseline - round(_ABOVE * self.size_pixels)), Image.fromarray(ink), fill=color)


@lru_cache(maxsize=1)
def _face() -> Any:  # noqa: ANN401  # OpenCV's
    return cv2.FontFace(_FACE)
