"""Own rotary positions against the installed transformers and against the published rule."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from transformers import Qwen2_5_VLConfig, Qwen2VLConfig

from stvg_core.errors import TokenLayoutError
from stvg_core.values import TokenLayout
from stvg_huggingface.testing import tiny_qwen2_vl
from stvg_qwen2_vl.family import QWEN2_5_VL, QWEN2_VL, time_interval
from stvg_qwen2_vl.positions import MultimodalPositions

GRIDS = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 6))


def layout_of(grid: tuple[int, int, int]) -> TokenLayout:
    return TokenLayout(*grid, tuple(range(grid[0])))


def visual_mask(before: int, count: int, after: int) -> torch.Tensor:
    return torch.tensor([False] * before + [True] * count + [False] * after)


@pytest.mark.parametrize("version", ["2", "2.5"])
@pytest.mark.parametrize("grid", [(1, 1, 1), (10, 3, 4), (10, 12, 12), (3, 4, 2), (24, 2, 2)])
@pytest.mark.parametrize("seconds_per_step", [0.5, 1.0, 2.5])
def test_transformers_rule_is_the_installed_one(
    version: str, grid: tuple[int, int, int], seconds_per_step: float
) -> None:
    if version == "2.5" and seconds_per_step % 1 and Version(transformers.__version__) < Version("5.23"):
        pytest.skip("earlier transformers cut seconds per step to whole numbers (pull request 48669)")
    model, _ = tiny_qwen2_vl(version, layers=1)
    interval = 1.0 if version == "2" else 2 * seconds_per_step
    visual = visual_mask(7, grid[0] * grid[1] * grid[2], 5)
    timing = {} if version == "2" else {"second_per_grid_ts": torch.tensor([seconds_per_step])}
    expected, _ = model.model.get_rope_index(
        input_ids=torch.zeros(1, visual.numel(), dtype=torch.long),
        mm_token_type_ids=visual.int()[None] * 2,
        video_grid_thw=torch.tensor([[grid[0], grid[1] * 2, grid[2] * 2]]),
        **timing,
    )
    own = MultimodalPositions(layout_of(grid), interval, "transformers")(visual)
    assert torch.equal(own, expected[:, 0])


@given(GRIDS, st.integers(0, 6), st.integers(0, 6), st.floats(0, 8))
@settings(deadline=None)
def test_original_rule_token_by_token(grid: tuple[int, int, int], before: int, after: int, interval: float) -> None:
    expected = [(place,) * 3 for place in range(before)]
    expected += [
        (before + int(np.float32(step) * np.float32(interval)), before + row, before + column)
        for step in range(grid[0])
        for row in range(grid[1])
        for column in range(grid[2])
    ]
    resume = max(max(place) for place in expected) + 1
    expected += [(resume + place,) * 3 for place in range(after)]
    own = MultimodalPositions(layout_of(grid), interval, "original")(
        visual_mask(before, grid[0] * grid[1] * grid[2], after)
    )
    assert own.T.tolist() == [list(place) for place in expected]


@pytest.mark.parametrize("version", ["2", "2.5"])
@pytest.mark.parametrize("grid", [(1, 1, 1), (10, 3, 4), (24, 2, 2)])
def test_sequential_rule_is_what_transformers_counts_without_ids_and_grid(
    version: str, grid: tuple[int, int, int]
) -> None:
    """The authors' call: generate(inputs_embeds=, attention_mask=)."""
    visual = visual_mask(7, grid[0] * grid[1] * grid[2], 5)
    model, _ = tiny_qwen2_vl(version, layers=1)
    seen: list[torch.Tensor] = []
    model.model.language_model.rotary_emb.register_forward_pre_hook(
        lambda _module, given, keywords: seen.append(keywords.get("position_ids", given[-1])), with_kwargs=True
    )
    width = model.get_input_embeddings().weight.shape[1]
    with torch.no_grad():
        model.generate(
            inputs_embeds=torch.zeros(1, visual.numel(), width),
            attention_mask=torch.ones(1, visual.numel(), dtype=torch.long),
            max_new_tokens=1,
        )
    own = MultimodalPositions(layout_of(grid), 3.0, "sequential")(visual)
    assert torch.equal(own, seen[0][:, 0])


def test_rules_differ_once_time_outgrows_the_grid() -> None:
    visual = visual_mask(17, 10 * 3 * 4, 1)
    resumed = {
        rule: int(MultimodalPositions(layout_of((10, 3, 4)), 1.0, rule)(visual)[0, -1])
        for rule in ("original", "transformers")
    }
    assert resumed == {"original": 27, "transformers": 21}


def test_separated_visual_tokens_are_refused() -> None:
    rule = MultimodalPositions(layout_of((1, 1, 2)), 1.0, "original")
    with pytest.raises(TokenLayoutError, match="side by side"):
        rule(torch.tensor([True, False, True]))


def test_time_interval_counts_steps_or_seconds() -> None:
    older = Qwen2VLConfig(architectures=[QWEN2_VL])
    newer = Qwen2_5_VLConfig(architectures=[QWEN2_5_VL], vision_config={"tokens_per_second": 2})
    uneven = np.array([0.0, 0.5, 3.0])
    assert time_interval(older, uneven, 2) == 1
    assert time_interval(newer, uneven, 1) == 2 * 1.5
    assert time_interval(newer, uneven, 2) == 2 * 1.5 * 2
    assert time_interval(newer, np.array([4.0]), 1) == 0
