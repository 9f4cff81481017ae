"""The packed training forward pass of every architecture against the ordinary one; visual tokens; pixels."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2VLImageProcessorPil

from stvg_huggingface.family import VisualInputs, intercept_visual_tokens
from stvg_huggingface.loading import language_model_of
from stvg_tiny.rendering import render
from tiny_recipe.architectures import ARCHITECTURES
from tiny_recipe.batches import Batch, training_batch
from tiny_recipe.checkpoint import Checkpoint
from tiny_recipe.evaluate import model_inputs, next_token_logits
from tiny_recipe.packing import NO_LABEL, PackedStates, encode_videos, packed_forward
from tiny_recipe.pixels import pixel_tensors, preprocessor_config
from tiny_recipe.recipe import Recipe
from tiny_recipe.training import Learner

VIDEOS = 2
RECIPE = Recipe(batch_videos=VIDEOS, unknown_word_chance=0.0)
STAGE = RECIPE.stages[-1]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def learner(request: pytest.FixtureRequest) -> Learner:
    return Learner(ARCHITECTURES[request.param], seed=1)


@pytest.fixture(scope="module")
def plain(learner: Learner) -> Checkpoint:
    """The same weights in the model as transformers has it, with attention that can be seen."""
    material = learner.material
    model = material.architecture.build(material.architecture.grid, material.tokenizer, 5)
    model.load_state_dict(copy.deepcopy(learner.model.state_dict()))
    model.set_attn_implementation("eager")
    model.train(False)
    return Checkpoint(material.architecture, model, material.tokenizer)


@pytest.fixture(scope="module")
def batch(learner: Learner) -> Batch:
    return training_batch(RECIPE, learner.material, STAGE, step=3)


@pytest.fixture(scope="module")
def videos(learner: Learner) -> list[torch.Tensor]:
    grid = learner.material.architecture.grid
    frames = []
    for video in range(VIDEOS):
        generator = RECIPE.item_generator(3, video)
        scene = RECIPE.scene(generator, STAGE)
        margin = 1.0 / grid.frame_count
        times = np.linspace(generator.uniform(0.0, margin), 1.0 - generator.uniform(0.0, margin), grid.frame_count)
        frames.append(torch.from_numpy(render(scene, times, grid.size_pixels)))
    return frames


@pytest.fixture(scope="module")
def states(learner: Learner, batch: Batch) -> PackedStates:
    with torch.no_grad():
        visual = encode_videos(learner.material.architecture, learner.model, batch.pixels)
        return packed_forward(learner.model, visual, batch.packed, learner.head, follow=True)


@torch.no_grad()
def test_packed_forward_equals_one_plain_forward_per_question(
    learner: Learner, plain: Checkpoint, batch: Batch, videos: list[torch.Tensor], states: PackedStates
) -> None:
    packed = learner.model.get_output_embeddings()(states.predicting)
    for video, questions in enumerate(batch.questions):
        for number, question in enumerate(questions[:5], start=1):
            answer = (batch.packed.segments[video] == number) & (batch.packed.labels[video] >= 0)
            expected = next_token_logits(plain, videos[video], question.text)
            torch.testing.assert_close(packed[video][answer][0], expected, atol=2e-4, rtol=0)


def test_blocked_questions_are_a_share_of_all_and_only_their_words_are_blind(learner: Learner) -> None:
    assert STAGE.blocked_share > 0
    batches = [training_batch(RECIPE, learner.material, STAGE, step) for step in range(12)]
    shares = []
    for one in batches:
        assert not (one.blind & ~one.packed.words).any()
        for video in range(VIDEOS):
            for number in range(1, len(one.questions[video]) + 1):
                own = one.packed.words[video] & (one.packed.segments[video] == number)
                blind = one.blind[video][own]
                assert blind.all() == blind.any()
                shares.append(bool(blind.any()))
    assert abs(np.mean(shares) - STAGE.blocked_share) < 4 * np.sqrt(STAGE.blocked_share / len(shares))
    plain_stage = replace(STAGE, blocked_share=0.0)
    assert not training_batch(RECIPE, learner.material, plain_stage, 0).blind.any()


@torch.no_grad()
def test_role_attention_equals_the_plain_models_own(
    plain: Checkpoint, batch: Batch, videos: list[torch.Tensor], states: PackedStates
) -> None:
    for video, questions in enumerate(batch.questions):
        for number, question in enumerate(questions[:3]):
            inputs = model_inputs(plain, videos[video], question.text)
            output = plain.model(**inputs, output_attentions=True)
            expected = torch.stack(output.attentions).mean(dim=2)[:, 0, -6:]
            pads = inputs["input_ids"][0] == plain.architecture.family.visual_token_id(plain.model.config)
            looking = states.role_attention[:, video, number]
            torch.testing.assert_close(looking, expected[..., pads], atol=2e-5, rtol=0)
            own = (batch.packed.segments[video] == number + 1) & (batch.packed.labels[video] == NO_LABEL)
            reading = states.role_reading[video, number][:, own]
            torch.testing.assert_close(reading, expected[0, :, -int(own.sum()) :], atol=2e-5, rtol=0)
            following = output.attentions[0][0, :2, pads][..., pads].mean(dim=0)
            torch.testing.assert_close(states.following[video], following, atol=2e-5, rtol=0)


def test_every_packed_token_is_a_word_a_role_token_of_an_answer_or_padding(learner: Learner, batch: Batch) -> None:
    tokenizer, packed = learner.material.tokenizer, batch.packed
    roles = tokenizer(f"?{learner.material.tail}", add_special_tokens=False)["input_ids"]
    for video, questions in enumerate(batch.questions):
        words, behind, answers = [], [], []
        for question in questions:
            ask, reply = learner.material.exchange(question)
            words, behind, answers = words + ask[:-6], behind + ask[-6:], answers + reply
            assert question.kind == "caption" or ask[-6:] == roles
        assert packed.token_ids[video][packed.words[video]].tolist() == words
        assert packed.token_ids[video][packed.roles[video]].tolist() == behind
        rest = ~packed.words[video] & ~packed.roles[video] & (packed.segments[video] > 0)
        assert packed.token_ids[video][rest].tolist() == answers


@torch.no_grad()
@pytest.mark.parametrize("cut", ["words", "roles"])
def test_blind_tokens_equal_the_plain_model_under_a_mask(
    cut: str, learner: Learner, plain: Checkpoint, batch: Batch, videos: list[torch.Tensor]
) -> None:
    visual = encode_videos(learner.material.architecture, learner.model, batch.pixels)
    blind = batch.packed.words if cut == "words" else batch.packed.roles
    states = packed_forward(learner.model, visual, batch.packed, learner.head, blind=blind)
    packed = learner.model.get_output_embeddings()(states.predicting)
    for number, question in enumerate(batch.questions[0][:3], start=1):
        inputs = model_inputs(plain, videos[0], question.text)
        ids = inputs["input_ids"][0]
        first = int((ids == plain.architecture.family.visual_token_id(plain.model.config)).nonzero()[0])
        length, asked = len(ids), int(((batch.packed.segments[0] == number) & (batch.packed.labels[0] < 0)).sum())
        seen = torch.ones(length, length, dtype=torch.bool).tril()
        rows = slice(length - asked, length - 6) if cut == "words" else slice(length - 6, length)
        seen[rows, first : length - asked] = False
        mask = torch.zeros(1, 1, length, length).masked_fill(~seen, torch.finfo(torch.float32).min)
        expected = plain.model(**{**inputs, "attention_mask": mask}, use_cache=False).logits[0, -1]
        answer = (batch.packed.segments[0] == number) & (batch.packed.labels[0] >= 0)
        torch.testing.assert_close(packed[0][answer][0], expected, atol=2e-4, rtol=0)
        assert (expected - next_token_logits(plain, videos[0], question.text)).abs().max() > 1e-2


@torch.no_grad()
def test_visual_tokens_are_those_at_the_language_models_door(
    learner: Learner, plain: Checkpoint, batch: Batch, videos: list[torch.Tensor]
) -> None:
    row, config = plain.architecture, plain.model.config
    ours = encode_videos(row, learner.model, batch.pixels)
    layout = row.family.layout(config, row.grid.frame_count, row.grid.size_pixels, row.inputs)
    rule = row.family.positions(config, layout, np.arange(row.grid.frame_count, dtype=np.float64), row.inputs)
    ids = learner.head.token_ids
    ids = ids[: int(learner.head.visual.nonzero()[-1]) + 1]
    for video, frames in enumerate(videos):
        inputs = VisualInputs(pixel_tensors(row, config, frames[None]), layout, rule)
        theirs = intercept_visual_tokens(plain.model, ids, row.family.visual_token_id(config), inputs)
        torch.testing.assert_close(ours[video], theirs, atol=1e-4, rtol=0)


def test_every_weight_of_the_model_but_unread_ones_learns(learner: Learner, batch: Batch) -> None:
    model = learner.model
    visual = encode_videos(learner.material.architecture, model, batch.pixels)
    states = packed_forward(model, visual, batch.packed, learner.head)
    torch.autograd.backward(model.get_output_embeddings()(states.predicting).square().mean())
    still = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
    model.zero_grad(set_to_none=True)
    # CLIP's last norm reads the class token, which LLaVA leaves out; LLaVA's line break is for pictures.
    assert {name for name in still if "post_layernorm" not in name and "image_newline" not in name} == set()


def test_the_language_model_is_left_with_its_own_attention(learner: Learner, states: PackedStates) -> None:
    config: Any = language_model_of(learner.model).config
    assert states.role_attention.shape[0] == config.num_hidden_layers
    assert config._attn_implementation == "sdpa"


def test_patches_equal_those_of_the_transformers_processor() -> None:
    row = ARCHITECTURES["qwen2-vl"]
    learner = Learner(row, seed=0)
    config = preprocessor_config(row)
    keys = ("image_mean", "image_std", "patch_size", "merge_size", "temporal_patch_size", "size")
    processor = Qwen2VLImageProcessorPil(**{key: config[key] for key in keys})
    pictures = np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), dtype=np.uint8)
    theirs = processor(images=list(pictures), return_tensors="pt")["pixel_values"]
    # The processor shows each picture twice, for a visual token covers two frames.
    frames = torch.from_numpy(pictures.repeat(2, axis=0))[None]
    ours = pixel_tensors(row, learner.model.config, frames)["pixel_values_videos"]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
