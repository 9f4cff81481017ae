"""Frame sizes that Qwen's vision tower can cut into whole tokens; it knows no frames."""

import math
from collections.abc import Callable
from functools import cache
from typing import Final

DEFAULT_TOKENS_PER_SIDE: Final = 8
"""A frame in the released research code: 8 x 8 tokens (of 28 pixels: 224)."""

_LEAST_TOKENS: Final = 4
_MOST_TOKENS: Final = 16384
"""Tokens of one frame, as qwen-vl-utils bounds them."""


def token_aligned_size(wanted_pixels: int, token_pixels: int) -> int:
    """Return the side of a square frame nearest to the wanted one that holds whole tokens.

    `qwen_vl_utils.smart_resize` decides where it can be imported. It imports torchvision
    without declaring it, which many installations lack or have for another torch; then the
    same rule for squares is applied here.

    >>> token_aligned_size(224, 28), token_aligned_size(100, 16), token_aligned_size(16, 28)
    (224, 96, 56)
    """
    resize = _smart_resize() or square_size
    side, _ = resize(
        wanted_pixels,
        wanted_pixels,
        factor=token_pixels,
        min_pixels=_LEAST_TOKENS * token_pixels**2,
        max_pixels=_MOST_TOKENS * token_pixels**2,
    )
    return side


def square_size(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Return what `smart_resize` returns for a square, its rounding of tiny ones included.

    >>> square_size(224, 224, 28, 4 * 28**2, 16384 * 28**2)
    (224, 224)
    """
    side = max(factor, round(height / factor) * factor)
    if side * side > max_pixels:
        side = math.floor(height / math.sqrt((height * width) / max_pixels) / factor) * factor
    elif side * side < min_pixels:
        side = math.ceil(height * math.sqrt(min_pixels / (height * width)) / factor) * factor
    return side, side


@cache
def _smart_resize() -> Callable[..., tuple[int, int]] | None:
    try:
        from qwen_vl_utils import smart_resize
    except (ImportError, RuntimeError):
        # RuntimeError: a torchvision that was built for another torch.
        return None
    return smart_resize  # type: ignore[no-any-return]
