"""Sizes and texts of InternVL; exactness is checked in tests/backends of the repository."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import InternVLConfig, InternVLVisionConfig

from stvg_core.errors import ModelError
from stvg_core.settings import InputSettings
from stvg_huggingface.testing import IMAGE_PIXELS, tiny_internvl, tiny_tokenizer
from stvg_internvl.family import InternVLFamily

FAMILY = InternVLFamily()
TOKEN_PIXELS = 8


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    model, tokenizer = tiny_internvl(layers=1)
    return model.config, tokenizer


def test_published_sizes() -> None:
    """The configuration's own defaults are InternVL3's: 448 pixels, 16 x 16 tokens of 28 pixels."""
    config = InternVLConfig(vision_config=InternVLVisionConfig())
    assert FAMILY.frame_size_pixels(config, None) == 448
    assert FAMILY.cells_per_side(config, 448, InputSettings()) == 16
    assert FAMILY.frame_size_pixels(config, 224) == 224
    assert FAMILY.cells_per_side(config, 224, InputSettings()) == 8


def test_default_size_is_the_checkpoints(parts: tuple[Any, Any]) -> None:
    assert FAMILY.frame_size_pixels(parts[0], None) == IMAGE_PIXELS


@given(wanted=st.integers(1, 4096))
def test_sizes_are_the_nearest_whole_tokens(parts: tuple[Any, Any], wanted: int) -> None:
    size = FAMILY.frame_size_pixels(parts[0], wanted)
    assert size % TOKEN_PIXELS == 0
    assert size >= TOKEN_PIXELS
    assert size == TOKEN_PIXELS or abs(size - wanted) <= TOKEN_PIXELS / 2
    assert FAMILY.cells_per_side(parts[0], size, InputSettings()) * TOKEN_PIXELS == size


def test_text_between_frames(parts: tuple[Any, Any]) -> None:
    config, tokenizer = parts
    pixels = torch.zeros(3, 3, 16, 16)
    layout = FAMILY.layout(config, 3, 16, InputSettings())
    text = FAMILY.clip_text(config, tokenizer, layout)
    tokens = "<IMG_CONTEXT>" * 4
    assert text == "\n".join(f"Frame{number}: <img>{tokens}</img>" for number in (1, 2, 3))
    assert layout.shape == (3, 2, 2)
    tensors = FAMILY.pixel_tensors(config, pixels, InputSettings())
    assert list(tensors) == ["pixel_values"]
    assert torch.equal(tensors["pixel_values"], pixels)
    ids = torch.tensor(tokenizer(text)["input_ids"])
    places = (ids == FAMILY.visual_token_id(config)).nonzero()[:, 0]
    assert len(places) == layout.cell_count
    assert (places.diff() > 1).sum() == 2, "visual tokens of different frames lie apart"


def test_a_strangers_tokenizer_is_refused(parts: tuple[Any, Any]) -> None:
    with pytest.raises(ModelError, match=r"the marker '<img>'.*download the whole checkpoint again"):
        FAMILY.clip_text(parts[0], tiny_tokenizer(), FAMILY.layout(parts[0], 1, 16, InputSettings()))
