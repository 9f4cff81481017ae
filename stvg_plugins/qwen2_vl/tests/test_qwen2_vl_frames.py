"""Frame sizes, patches and temporal merging, each against an independent way."""

import ast
import importlib.util
import math
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from stvg_huggingface.pixels import PixelStatistics, normalize, square_frames
from stvg_qwen2_vl import frame_sizes
from stvg_qwen2_vl.family import Qwen2VLFamily
from stvg_qwen2_vl.frame_sizes import square_size, token_aligned_size
from stvg_qwen2_vl.patches import cut_patches, merge_in_time


@cache
def smart_resize_from_source() -> Callable[..., tuple[int, int]]:
    """Return qwen-vl-utils' own function, without its module's import of torchvision."""
    found = importlib.util.find_spec("qwen_vl_utils")
    assert found is not None
    assert found.submodule_search_locations
    source = Path(found.submodule_search_locations[0], "vision_process.py").read_text(encoding="utf-8")
    names = {"round_by_factor", "ceil_by_factor", "floor_by_factor", "smart_resize"}
    body = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name in names]
    scope: dict[str, Any] = {
        "math": math, "Optional": Optional, "Tuple": tuple, "MAX_RATIO": 200,
        "IMAGE_MAX_TOKEN_NUM": 16384, "IMAGE_MIN_TOKEN_NUM": 4,
    }  # fmt: skip
    exec(compile(ast.Module(body, []), "smart_resize", "exec"), scope)
    resize: Callable[..., tuple[int, int]] = scope["smart_resize"]
    return resize


@given(st.integers(16, 4096), st.sampled_from([8, 16, 28, 32]))
@settings(max_examples=300, deadline=None)
def test_own_square_rule_is_smart_resize(side: int, factor: int) -> None:
    limits = {"factor": factor, "min_pixels": 4 * factor**2, "max_pixels": 16384 * factor**2}
    assert square_size(side, side, **limits) == smart_resize_from_source()(side, side, **limits)


def test_frame_sizes_come_from_qwen_vl_utils_where_it_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    real = smart_resize_from_source()
    for replacement, expected in ((real, 224), (lambda *_, **__: (56, 56), 56), (None, 224)):
        stand_in = None if replacement is None else ModuleType("qwen_vl_utils")
        if stand_in is not None:
            stand_in.smart_resize = replacement  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "qwen_vl_utils", stand_in)
        frame_sizes._smart_resize.cache_clear()
        assert token_aligned_size(230, 28) == expected
    frame_sizes._smart_resize.cache_clear()


@given(st.integers(1, 40), st.integers(1, 3))
@settings(deadline=None)
def test_temporal_merging(count: int, per_step: int) -> None:
    shown, steps = merge_in_time(count, per_step, "duplicate")
    assert list(shown) == np.repeat(np.arange(count), per_step).tolist()
    assert list(steps) == list(range(count))
    shown, steps = merge_in_time(count, per_step, "merge")
    assert len(shown) % per_step == 0
    assert list(shown[:count]) == list(range(count))
    assert set(shown[count:]) <= {count - 1}
    assert list(steps) == [frame // per_step for frame in range(count)]
    assert max(steps) + 1 == len(shown) // per_step


def test_patches_pixel_by_pixel() -> None:
    per_step, patch, merge, side = 2, 3, 2, 12
    pixels = torch.arange(4 * 3 * side * side, dtype=torch.float32).reshape(4, 3, side, side)
    own = cut_patches(pixels, per_step, patch, merge)
    number = 0
    for step in range(2):
        for block_row in range(2):
            for block_column in range(2):
                for row in range(merge):
                    for column in range(merge):
                        top, left = (block_row * merge + row) * patch, (block_column * merge + column) * patch
                        values = [
                            pixels[step * per_step + frame, channel, top + y, left + x]
                            for channel in range(3)
                            for frame in range(per_step)
                            for y in range(patch)
                            for x in range(patch)
                        ]
                        assert own[number].tolist() == values
                        number += 1
    assert number == len(own)


@pytest.mark.parametrize("source", [56, 60])
def test_pixels_equal_transformers_processor(source: int) -> None:
    """One frame shown twice is what Qwen's image processor makes of one picture."""
    side, statistics = 56, PixelStatistics()
    picture = np.random.default_rng(5).integers(0, 255, (source, source, 3), dtype=np.uint8)
    limits = {"shortest_edge": side * side, "longest_edge": side * side}
    expected = Qwen2VLImageProcessorPil(size=limits)(images=[Image.fromarray(picture)], return_tensors="pt")
    own = normalize(square_frames(picture[None], side), statistics)
    patches = cut_patches(own[[0, 0]], 2, 14, 2)
    assert expected["image_grid_thw"].tolist() == [[1, 4, 4]]
    level = 1 / 255 / min(statistics.deviation)
    tolerance = 2e-6 if source == side else 1.01 * level
    torch.testing.assert_close(patches, expected["pixel_values"], rtol=0, atol=tolerance)


def test_the_default_frame_is_eight_tokens_wide_whatever_a_token_s_size() -> None:
    family = Qwen2VLFamily()
    for patch, expected in ((14, 224), (4, 64)):
        config = Qwen2VLConfig(vision_config={"patch_size": patch, "spatial_merge_size": 2})
        assert family.frame_size_pixels(config, None) == expected
        assert family.frame_size_pixels(config, 2 * expected + 1) == 2 * expected
