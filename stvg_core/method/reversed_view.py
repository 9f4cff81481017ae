"""Temporally assembled spatial attention (TAS): the reversed view, and the sum of both views.

Paper section 3.4. Reference implementations for `stvg_augment_frames`: flip the tokens
where encoding is per frame (exact), encode the reversed frames where a token covers
several frames (a temporal convolution is not symmetric).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from stvg_core.errors import TokenLayoutError
from stvg_core.plugin.adapter import EncodedClip, MLLMAdapter
from stvg_core.settings import InputSettings
from stvg_core.values import FrameMaps, Frames, TokenLayout


def reverse_by_flipping(clip: EncodedClip) -> EncodedClip:
    """Return the clip with its token grids in reversed time.

    Raises:
        TokenLayoutError: a grid covers several frames, so flipping is not the reversed clip.
    """
    if clip.layout.time_steps != clip.layout.frame_count:
        raise TokenLayoutError(
            f"expected one token grid per frame to flip, got {clip.layout.time_steps} grids for "
            f"{clip.layout.frame_count} frames; use reverse_by_encoding"
        )
    return replace(
        clip,
        visual_tokens=flip_time(clip.visual_tokens, clip.layout),
        frame_order=tuple(reversed(clip.frame_order)),
    )


def reverse_by_encoding(
    adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
) -> EncodedClip:
    """Return the clip encoded again with its frames in reversed order."""
    return adapter.encode(frames, settings, tuple(reversed(clip.frame_order)))


def flip_time(tokens: Float[Tensor, "cell width"], layout: TokenLayout) -> Float[Tensor, "cell width"]:
    """Return visual tokens, or a prompt for them, with time steps in reversed order."""
    return tokens.reshape(*layout.shape, -1).flip(0).reshape(tokens.shape)


def assemble(views: Sequence[FrameMaps], combine: Literal["sum", "product"] = "sum") -> FrameMaps:
    """Return several views' maps, each already in source order, as one.

    Released research code: A = A_rel + flip(A_rel of the reversed view), a plain sum. Ours, `product`: their
    geometric mean, which keeps what all views attend to.

    >>> views = [FrameMaps(np.array([[[1.0, 8.0]]])), FrameMaps(np.array([[[4.0, 0.0]]]))]
    >>> assemble(views).values.tolist(), assemble(views, "product").values.tolist()
    ([[[5.0, 8.0]]], [[[2.0, 0.0]]])
    """
    if combine == "product":
        values = np.prod([view.values for view in views], axis=0) ** (1 / len(views))
    else:
        values = views[0].values
        for view in views[1:]:
            values = values + view.values
    return FrameMaps(values, tuple(token for view in views for token in view.grounding_tokens))
