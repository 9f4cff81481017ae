"""Tokens of a clip that are no cells: kept in their places, whatever their pattern."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedConfig

from stvg_core.errors import TokenLayoutError, UsageError
from stvg_core.plugin.adapter import EncodedClip
from stvg_core.settings import InputSettings
from stvg_core.values import TokenLayout
from stvg_huggingface.answers import AnswerTokens
from stvg_huggingface.chat import PromptFrame
from stvg_huggingface.clips import STATE, ClipPrompt, clip_embeddings, split_clip_tokens
from stvg_huggingface.family import PerFrameFamily, SequentialPositions, cells_of_clip

PATTERNS = st.lists(st.booleans(), min_size=1, max_size=12).filter(any)


def clip_of(tokens: Tensor, cells: Tensor) -> EncodedClip:
    shown, separators = split_clip_tokens(tokens, cells)
    layout = TokenLayout(1, 1, int(cells.sum()), (0,))
    frame, answers = PromptFrame("", "", add_special_tokens=False), AnswerTokens((1,), (0,))
    state = ClipPrompt(frame, SequentialPositions(), cells, separators, answers)
    return EncodedClip(shown, layout, (0,), {STATE: state})


@given(PATTERNS, st.integers(0, 100))
def test_cells_take_the_prompt_and_separators_stay_as_they_are(pattern: list[bool], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randn(len(pattern), 3, generator=draw)
    clip = clip_of(tokens, torch.tensor(pattern))
    assert torch.equal(clip_embeddings(clip, None), tokens)
    prompt = torch.randn(clip.visual_tokens.shape, generator=draw).requires_grad_()
    received = clip_embeddings(clip, prompt)
    added = iter(prompt.detach())
    for token, found, is_cell in zip(tokens, received, pattern, strict=True):
        assert torch.equal(found, token + next(added) if is_cell else token)
    (gradient,) = torch.autograd.grad(received.sum(), prompt)
    assert torch.equal(gradient, torch.ones_like(prompt))


def test_a_wide_prompt_keeps_its_precision() -> None:
    clip = clip_of(torch.ones(3, 2, dtype=torch.bfloat16), torch.tensor([True, False, True]))
    received = clip_embeddings(clip, torch.full((2, 2), 1e-4))
    np.testing.assert_allclose(received.numpy(), [[1.0001] * 2, [1.0] * 2, [1.0001] * 2], rtol=1e-7)


def test_what_disagrees_is_refused() -> None:
    cells = torch.tensor([True, False, True])
    with pytest.raises(TokenLayoutError, match="expected 3 tokens of the clip, got 2"):
        split_clip_tokens(torch.ones(2, 4), cells)
    clip = clip_of(torch.ones(3, 4), cells)
    with pytest.raises(TokenLayoutError, match=r"expected a prompt of shape \(2, 4\), got \(3, 4\)"):
        clip_embeddings(clip, torch.ones(3, 4))
    with pytest.raises(UsageError, match="another backend's"):
        clip_embeddings(EncodedClip(clip.visual_tokens, clip.layout, (0,)), None)


@dataclass(frozen=True)
class Plain(PerFrameFamily):
    """Of cells alone."""

    architectures: tuple[str, ...] = ()
    token_position: int = -1

    def frame_size_pixels(self, config: PreTrainedConfig, requested: int | None) -> int:
        return 8

    def cells_per_side(self, config: PreTrainedConfig, size_pixels: int, settings: InputSettings) -> int:
        return 2

    def pixel_tensors(self, config: PreTrainedConfig, pixels: Tensor, settings: InputSettings) -> dict[str, Tensor]:
        return {"pixel_values": pixels}


class OneTooFew(Plain):
    def cells_of_clip(self, layout: TokenLayout) -> Bool[Tensor, " clip_token"]:
        return torch.arange(layout.cell_count) > 0


def test_a_family_without_separators_has_cells_alone_and_a_wrong_count_is_refused() -> None:
    layout = TokenLayout(2, 2, 1, (0, 1))
    assert cells_of_clip(Plain(), layout).tolist() == [True] * 4
    with pytest.raises(TokenLayoutError, match="has 4 cells, the family's cells_of_clip names 3"):
        cells_of_clip(OneTooFew(), layout)
