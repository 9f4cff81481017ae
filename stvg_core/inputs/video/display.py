"""From a decoded frame to the image that a viewer sees: RGB, rotated, with square pixels.

Knows geometry and colour of one frame; no times and no files.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from jaxtyping import UInt8

_UNSPECIFIED_COLORSPACE = 2
_HIGH_DEFINITION_WIDTH, _STANDARD_DEFINITION_HEIGHT = 1280, 576
_WIDEST_PIXEL = 16


@dataclass(frozen=True)
class Display:
    """How the stored images of a stream are shown.

    Attributes:
        width: pixels as displayed.
        height: pixels as displayed.
        transposed: rows and columns change places, before mirroring and flipping.
        mirrored: left and right change places.
        flipped: top and bottom change places.
    """

    width: int
    height: int
    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @classmethod
    def of(cls, frame: VideoFrame, sample_aspect_ratio: Fraction | None) -> "Display":
        """Return how a decoded frame is shown.

        The stored width is multiplied by the sample aspect ratio (ratios beyond 16 are a damaged header
        and ignored); the height stays. Rotation is rounded to quarter turns.
        """
        ratio = sample_aspect_ratio or Fraction(1)
        if not Fraction(1, _WIDEST_PIXEL) <= ratio <= _WIDEST_PIXEL:
            ratio = Fraction(1)
        width, height = max(1, round(frame.width * ratio)), frame.height
        transposed, mirrored, flipped = _orientation(frame)
        if transposed:
            width, height = height, width
        return cls(width, height, transposed, mirrored, flipped)

    def size(self, maximum_side_pixels: int | None) -> tuple[int, int]:
        """Return the (width, height) of images whose longer side is bounded; the aspect ratio is preserved.

        >>> Display(1920, 1080).size(640)
        (640, 360)
        """
        longest = max(self.width, self.height)
        if maximum_side_pixels is None or longest <= maximum_side_pixels:
            return self.width, self.height
        scale = Fraction(maximum_side_pixels, longest)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Return (transposed, mirrored, flipped) of a frame's display matrix.

    The matrix (libavutil/display.h; in mp4 the tkhd box) takes a stored point (x, y) to
    (a x + c y, b x + d y), with a, b at 0, 1 and c, d at 3, 4 of nine native 32-bit integers.
    """
    side_data = cast(SideDataContainer, frame.side_data).get(Type.DISPLAYMATRIX)
    if side_data is None:
        return False, False, False
    matrix = np.frombuffer(bytes(side_data), dtype=np.int32).astype(np.int64)
    a, b, c, d = (int(matrix[position]) for position in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


class ImageMaker:
    """Turns frames of one stream into images of one size; keeps libav's scaler between frames."""

    def __init__(self, display: Display, maximum_side_pixels: int | None = None) -> None:
        """Prepare for images as displayed, or smaller."""
        self._display = display
        self.width, self.height = display.size(maximum_side_pixels)
        self._reformatter = VideoReformatter()

    def image(self, frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        """Return a frame as displayed: RGB, 0..255, transparent parts over black.

        Colours follow the matrix and range that the frame states; where it states none, BT.709 from
        high definition on and BT.601 below, as players do.
        """
        width, height = (self.height, self.width) if self._display.transposed else (self.width, self.height)
        transparent = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
        shrinks = width * height < frame.width * frame.height
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgba" if transparent else "rgb24",
            src_colorspace=_colorspace(frame),
            interpolation=(Interpolation.AREA if shrinks else Interpolation.BICUBIC) | Interpolation.FULL_CHR_H_INT,
            threads=1,
        )
        pixels = np.asarray(converted.to_ndarray(), dtype=np.uint8)
        if transparent:
            weighted = pixels[..., :3].astype(np.uint16) * pixels[..., 3:]
            pixels = ((weighted + 127) // 255).astype(np.uint8)
        if self._display.transposed:
            pixels = pixels.swapaxes(0, 1)
        if self._display.mirrored:
            pixels = pixels[:, ::-1]
        if self._display.flipped:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


def _colorspace(frame: VideoFrame) -> Colorspace | None:
    if frame.format.is_rgb or frame.colorspace != _UNSPECIFIED_COLORSPACE:
        return None
    high = frame.width >= _HIGH_DEFINITION_WIDTH or frame.height > _STANDARD_DEFINITION_HEIGHT
    return Colorspace.ITU709 if high else Colorspace.ITU601
