import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.errors import TokenLayoutError
from stvg_core.method.reversed_view import assemble, flip_time
from stvg_core.plugin import reverse_by_flipping
from stvg_core.plugin.adapter import EncodedClip
from stvg_core.values import FrameMaps, TokenLayout


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
def test_flipping_moves_whole_grids_and_keeps_places(steps: int, rows: int, columns: int) -> None:
    layout = TokenLayout(steps, rows, columns, tuple(range(steps)))
    tokens = torch.arange(layout.cell_count * 2.0).reshape(-1, 2)
    flipped = flip_time(tokens, layout)
    for step in range(steps):
        for place in range(rows * columns):
            expected = tokens[(steps - 1 - step) * rows * columns + place]
            assert torch.equal(flipped[step * rows * columns + place], expected)


def test_flipping_twice_is_the_clip_itself() -> None:
    layout = TokenLayout(3, 2, 2, (0, 1, 2))
    clip = EncodedClip(torch.rand(12, 4), layout, (0, 1, 2))
    once = reverse_by_flipping(clip)
    twice = reverse_by_flipping(once)
    assert once.frame_order == (2, 1, 0)
    assert twice.frame_order == clip.frame_order
    assert torch.equal(twice.visual_tokens, clip.visual_tokens)


def test_merged_frames_cannot_be_flipped() -> None:
    layout = TokenLayout(2, 1, 1, (0, 0, 1, 1))
    clip = EncodedClip(torch.rand(2, 4), layout, (0, 1, 2, 3))
    with pytest.raises(TokenLayoutError, match="reverse_by_encoding"):
        reverse_by_flipping(clip)


def test_views_are_summed() -> None:
    first, second = FrameMaps(np.ones((2, 1, 1)), ("a",)), FrameMaps(np.full((2, 1, 1), 2.5), ("b",))
    assembled = assemble([first, second])
    assert assembled.values.tolist() == [[[3.5]], [[3.5]]]
    assert assembled.grounding_tokens == ("a", "b")
