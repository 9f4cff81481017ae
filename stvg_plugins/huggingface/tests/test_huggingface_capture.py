"""Row-limited attention against a plain softmax over everything."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from stvg_huggingface.capture import (
    ATTENTION_NAME,
    AttentionCapture,
    LastLayerReached,
    PackedPass,
    attention_shares,
    register_attention,
    stvg_attention,
)
from stvg_huggingface.questions import suffix_mask


class Layer(nn.Module):
    """Stands for a decoder's attention module."""

    def __init__(self, layer_idx: int, groups: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.num_key_value_groups = groups
        self.is_causal = True


def whole_mask(prefix: int, lengths: list[int]) -> Tensor:
    causal = torch.ones(prefix, prefix + sum(lengths), dtype=torch.bool).tril()
    return torch.cat([causal, suffix_mask(prefix, lengths)[0, 0]])


def plain_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    groups = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scale
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return (weights @ value.repeat_interleave(groups, 1)).transpose(1, 2), weights


@given(
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 7),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_output_and_rows(key_heads: int, groups: int, prefix: int, lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    total, size = prefix + sum(lengths), 4
    query = torch.randn(1, key_heads * groups, total, size, generator=generator) * 2
    key, value = (torch.randn(1, key_heads, total, size, generator=generator) * 2 for _ in range(2))
    mask = whole_mask(prefix, lengths)
    expected, weights = plain_attention(query, key, value, mask, 0.5)
    rows = prefix + torch.randperm(sum(lengths), generator=generator)[: 1 + seed % sum(lengths)]
    columns = torch.randperm(prefix, generator=generator)
    capture = AttentionCapture([3, 7], rows, columns)
    run = PackedPass(prefix, suffix_mask(prefix, lengths), capture)
    output, _ = stvg_attention(Layer(3, groups), query, key, value, None, scaling=0.5, stvg=run)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    shares = weights[0].mean(0)[rows][:, columns]
    torch.testing.assert_close(attention_shares(query, key, mask[rows], rows, columns, 0.5), shares, rtol=0, atol=1e-6)
    # Recomputing a layer changes nothing; the last wanted layer ends the pass.
    stvg_attention(Layer(3, groups), query, key, value, None, scaling=0.5, stvg=run)
    stvg_attention(Layer(5, groups), query, key, value, None, scaling=0.5, stvg=run)
    assert not capture.complete
    with pytest.raises(LastLayerReached):
        stvg_attention(Layer(7, groups), query * 0, key, value, None, scaling=0.5, stvg=run)
    _, level = plain_attention(query * 0, key, value, mask, 0.5)
    torch.testing.assert_close(capture.mean(), (shares + level[0].mean(0)[rows][:, columns]) / 2, rtol=0, atol=1e-6)


def test_half_precision_is_scored_in_single() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 2, 6, 4, generator=generator).bfloat16() * 3 for _ in range(2))
    rows, columns, mask = torch.tensor([5]), torch.arange(4), torch.ones(1, 6, dtype=torch.bool)
    single = attention_shares(query.float(), key.float(), mask, rows, columns, 0.5)
    assert torch.equal(attention_shares(query, key, mask, rows, columns, 0.5), single)


def test_missing_layers_are_an_error() -> None:
    capture = AttentionCapture([0, 1], torch.tensor([0]), torch.tensor([0]))
    capture.add(0, torch.ones(1, 1))
    with pytest.raises(RuntimeError, match=r"layers \[1\]"):
        capture.mean()


def test_mask_function_is_registered_with_the_attention() -> None:
    register_attention()
    assert AttentionInterface()[ATTENTION_NAME] is stvg_attention
    assert AttentionMaskInterface()[ATTENTION_NAME] is sdpa_mask
