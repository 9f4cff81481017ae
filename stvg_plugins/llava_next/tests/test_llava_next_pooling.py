"""Pooling against its definition, block by block."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stvg_llava_next.pooling import pool_frames


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.sampled_from(["average", "max"]), st.integers(0, 99))
def test_blocks(frames: int, cells: int, stride: int, mode: str, seed: int) -> None:
    side = cells * stride
    tokens = torch.randn(frames, side * side, 3, generator=torch.Generator().manual_seed(seed))
    pooled = pool_frames(tokens, stride, mode)
    assert pooled.shape == (frames, cells * cells, 3)
    for frame in range(frames):
        for row in range(cells):
            for column in range(cells):
                block = torch.stack(
                    [
                        tokens[frame, (row * stride + y) * side + column * stride + x]
                        for y in range(stride)
                        for x in range(stride)
                    ]
                )
                expected = block.mean(0) if mode == "average" else block.amax(0)
                torch.testing.assert_close(pooled[frame, row * cells + column], expected)


@pytest.mark.parametrize("mode", ["average", "max"])
def test_stride_one_changes_nothing(mode: str) -> None:
    tokens = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pool_frames(tokens, 1, mode), tokens)
