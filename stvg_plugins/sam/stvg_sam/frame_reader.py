"""Reads the frames that a tracker processes, in any order, a few at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int64, UInt8

from stvg_core.inputs.video import iterate_frames
from stvg_core.plugin import Frames

BLOCK: Final = 16
"""Frames held in memory at once: 48 MB at 1333 x 750 pixels."""


class FrameReader:
    """The looked-at frames of one video, or of the segment that was sampled, numbered from 0; read in blocks.

    A block is decoded forwards also where frames are asked for backwards. Where the video has no file,
    the sampled frames are all there is.
    """

    def __init__(self, frames: Frames, every: Sequence[int], longest_side_pixels: int) -> None:
        """Choose the frames; none is read yet.

        Args:
            frames: the sampled frames; they are looked at too, so that masks are exact there.
            every: distances of regularly looked-at frames.
            longest_side_pixels: larger pictures are shrunk.
        """
        self._frames = frames
        self._longest_side_pixels = longest_side_pixels
        self._streamed = Path(frames.info.path).is_file()
        first, last = frames.segment or (0, frames.info.frame_count - 1)
        grid = [np.arange(0, last + 1, step) for step in every] if self._streamed else []
        numbers = np.unique(np.concatenate([frames.indices, *grid])).astype(np.int64)
        self.source_frames: Int64[np.ndarray, " looked"] = numbers[(numbers >= first) & (numbers <= last)]
        self._block = -1
        self._held: dict[int, UInt8[np.ndarray, "height width rgb=3"]] = {}

    def __len__(self) -> int:
        """Return the number of looked-at frames."""
        return len(self.source_frames)

    def on_grid(self, every: int) -> frozenset[int]:
        """Return the positions whose source frame is a multiple of `every`, and the first.

        All of them, where the video has no file.
        """
        kept = np.flatnonzero(self.source_frames % every == 0) if self._streamed else range(len(self))
        return frozenset({0, *(int(position) for position in kept)})

    def __getitem__(self, position: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """Return a picture, RGB.

        Raises:
            VideoError: the file can no longer be read.
        """
        if not self._streamed:
            sample = int(np.searchsorted(self._frames.indices, self.source_frames[position]))
            return np.asarray(self._frames.pixels[sample], dtype=np.uint8)
        if position // BLOCK != self._block:
            self._held = {}
            self._read(position // BLOCK)
        return self._held[position]

    def _read(self, block: int) -> None:
        positions = range(block * BLOCK, min((block + 1) * BLOCK, len(self)))
        wanted = {int(self.source_frames[position]): position for position in positions}
        info = self._frames.info
        stream = iterate_frames(
            info.path, info, min(wanted), max(wanted), maximum_side_pixels=self._longest_side_pixels
        )
        self._held = {wanted[frame]: picture for frame, picture in stream if frame in wanted}
        self._block = block
