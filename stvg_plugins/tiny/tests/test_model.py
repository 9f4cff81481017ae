"""The packed training forward pass against the ordinary one; positions; patches."""

import numpy as np
import pytest
import torch
from transformers import Qwen2VLImageProcessorPil

from stvg_tiny.architectures import ARCHITECTURES
from stvg_tiny.batches import Batch, training_batch
from stvg_tiny.evaluate import next_token_logits
from stvg_tiny.packing import batched_vision, encode_videos, packed_forward
from stvg_tiny.pixels import normalized_patches, preprocessor_config, rotary_positions
from stvg_tiny.recipe import Recipe
from stvg_tiny.training import Learner

ARCHITECTURE = ARCHITECTURES["qwen2-vl"]
GRID = ARCHITECTURE.grid


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def learner() -> Learner:
    return Learner(ARCHITECTURE, seed=1)


@pytest.fixture(scope="module")
def batch(learner: Learner) -> Batch:
    recipe = Recipe(batch_videos=2, unknown_word_chance=0.0)
    return training_batch(recipe, GRID, learner.tokenizer, step=3000)


@torch.no_grad()
def test_packed_forward_equals_one_plain_forward_per_question(learner: Learner, batch: Batch) -> None:
    model = learner.model
    with batched_vision(model):
        visual = encode_videos(model, batch.patches, GRID)
    packed = model.lm_head(packed_forward(model, visual, batch.packed, learner.head).predicting)
    patches = batch.patches.view(2, -1, batch.patches.shape[-1])
    for video, questions in enumerate(batch.questions):
        for number, question in enumerate(questions[:6], start=1):
            answer = (batch.packed.segments[video] == number) & (batch.packed.labels[video] >= 0)
            plain = next_token_logits(model, learner.tokenizer, patches[video], question.text, GRID)
            torch.testing.assert_close(packed[video][answer][0], plain, atol=1e-4, rtol=0)


@torch.no_grad()
def test_batched_vision_equals_the_plain_tower_and_is_undone(learner: Learner, batch: Batch) -> None:
    plain = encode_videos(learner.model, batch.patches, GRID)
    with batched_vision(learner.model):
        batched = encode_videos(learner.model, batch.patches, GRID)
    torch.testing.assert_close(batched, plain, atol=1e-4, rtol=0)
    assert "forward" not in vars(learner.model.model.visual.patch_embed)


def test_positions_follow_the_original_rule() -> None:
    positions = rotary_positions(4, GRID, 3)
    assert positions.shape == (3, 4 + 288 + 3)
    assert positions[:, :4].tolist() == [[0, 1, 2, 3]] * 3
    assert positions[:, 4].tolist() == [4, 4, 4]
    assert positions[:, 4 + 287].tolist() == [11, 9, 9]
    # Text resumes after the largest visual position, which is a time here.
    assert positions[:, -3:].tolist() == [[12, 13, 14]] * 3


def test_patches_run_over_cells_then_over_the_patches_within() -> None:
    frames = np.zeros((1, 16, 96, 96, 3), np.uint8)
    frames[0, 2, 16:24, 40:48, 1] = 255
    patches = normalized_patches(torch.from_numpy(frames), GRID)
    lit = (patches > 0).any(dim=1).nonzero()[:, 0].tolist()
    # Token step 1; cell (row 1, column 2); within it the upper right of the 2x2 patches.
    assert lit == [144 + (1 * 6 + 2) * 4 + 1]
    assert sorted(patches.unique().tolist()) == [-1.0, 1.0]


def test_patches_equal_those_of_the_transformers_processor() -> None:
    config = preprocessor_config(GRID)
    keys = ("image_mean", "image_std", "patch_size", "merge_size", "temporal_patch_size", "size")
    processor = Qwen2VLImageProcessorPil(**{key: config[key] for key in keys})
    pictures = np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), dtype=np.uint8)
    theirs = processor(images=list(pictures), return_tensors="pt")["pixel_values"]
    # The processor shows each picture twice, for a visual token covers two frames.
    ours = normalized_patches(torch.from_numpy(pictures.repeat(2, axis=0))[None], GRID)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
