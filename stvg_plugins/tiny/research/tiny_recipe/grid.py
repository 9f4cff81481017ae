"""The size of training videos and of their visual tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoGrid:
    """The size of a training video, in frames and pixels, and of its visual tokens.

    Attributes:
        frame_count: Frames per video.
        size_pixels: Side of the square frames.
        patch_pixels: Side of one patch of the vision tower.
        merge_patches: Patches per side that make one visual token.
        token_frames: Frames that make one visual token.
    """

    frame_count: int = 16
    size_pixels: int = 96
    patch_pixels: int = 8
    merge_patches: int = 2
    token_frames: int = 2

    @property
    def steps(self) -> int:
        """Visual tokens along time."""
        return self.frame_count // self.token_frames

    @property
    def cells(self) -> int:
        """Visual tokens along each side of the frame."""
        return self.size_pixels // (self.patch_pixels * self.merge_patches)

    @property
    def patches(self) -> int:
        """Patches along each side of the frame."""
        return self.size_pixels // self.patch_pixels

    @property
    def visual_tokens(self) -> int:
        """Visual tokens per video."""
        return self.steps * self.cells**2
