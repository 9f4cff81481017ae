"""The chat templates give exactly the tokens that training uses, in the layouts of the three families."""

import pytest
import torch
from transformers import AutoTokenizer

from tiny_recipe.architectures import ARCHITECTURES
from tiny_recipe.batches import Material
from tiny_recipe.checkpoint import Checkpoint
from tiny_recipe.evaluate import prompt_text
from tiny_recipe.packing import SharedHead
from tiny_recipe.questions import Question, vocabulary_texts
from tiny_recipe.tokenizer import build_tokenizer, token_id

TEXTS = ["Is there the red circle that moves left in this video?", "Describe this video in details."]
TAILS = {
    "qwen2-vl": ["<|im_end|>", "\n", "<|im_start|>", "assistant", "\n"],
    "internvl": ["<|im_end|>", "\n", "<|im_start|>", "assistant", "\n"],
    "llava-next": ["a", "ss", "ist", "ant", ":"],
}
HEADS = {
    "qwen2-vl": ["<|im_start|>", "user", "\n", "<|vision_start|>", "<|video_pad|>", "<|video_pad|>"],
    "internvl": ["<|im_start|>", "user", "\n", "frame1", ":", "<img>"],
    "llava-next": ["user", ":", "<video>", "<video>", "<video>", "<video>"],
}


@pytest.fixture(scope="module", params=["built", "saved"])
def saved(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "saved")


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def checkpoint(request: pytest.FixtureRequest, saved: bool, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    row = ARCHITECTURES[request.param]
    tokenizer = build_tokenizer(row.chat)
    model = row.build(row.grid, tokenizer, 0)
    if saved:
        folder = tmp_path_factory.mktemp("tokenizer")
        tokenizer.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    return Checkpoint(row, model, tokenizer)


@pytest.mark.parametrize("text", TEXTS)
def test_template_gives_the_training_tokens(checkpoint: Checkpoint, text: str) -> None:
    material = Material(checkpoint.architecture, checkpoint.model.config, checkpoint.tokenizer)
    ask, reply = material.exchange(Question("combined", text, "yes"))
    head = SharedHead.of(checkpoint.architecture, checkpoint.tokenizer, checkpoint.model.config)
    whole = checkpoint.tokenizer(prompt_text(checkpoint, text), add_special_tokens=False)["input_ids"]
    assert whole == head.token_ids.tolist() + ask
    answer_end = checkpoint.architecture.chat.answer_end
    assert checkpoint.tokenizer.convert_ids_to_tokens(reply) == ["yes", answer_end]
    assert token_id(checkpoint.tokenizer, "<unk>") not in whole
    assert int(head.visual.sum()) == checkpoint.architecture.grid.visual_tokens
    assert head.positions.shape[1] > len(whole)


@pytest.mark.parametrize("text", TEXTS)
def test_prompts_begin_and_end_as_the_familys_do(checkpoint: Checkpoint, text: str) -> None:
    ids = checkpoint.tokenizer(prompt_text(checkpoint, text), add_special_tokens=False)["input_ids"]
    tokens = checkpoint.tokenizer.convert_ids_to_tokens(ids)
    assert tokens[-6:] == [text[-1], *TAILS[checkpoint.architecture.name]]
    assert tokens[:6] == HEADS[checkpoint.architecture.name]


def test_positions_follow_the_families_rules(checkpoint: Checkpoint) -> None:
    head = SharedHead.of(checkpoint.architecture, checkpoint.tokenizer, checkpoint.model.config)
    behind = int(head.visual.nonzero()[-1]) + 1
    if checkpoint.architecture.name == "qwen2-vl":
        assert head.positions[:, 4].tolist() == [4, 4, 4]
        assert head.positions[:, behind - 1].tolist() == [11, 9, 9]
        # Text resumes after the largest visual position, which is a time here.
        assert head.positions[:, behind : behind + 3].tolist() == [[12, 13, 14]] * 3
    else:
        assert torch.equal(head.positions, torch.arange(head.positions.shape[1])[None])


def test_plain_string_content_and_system_turns() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What moves left?"}]
    texts = {
        name: build_tokenizer(row.chat).apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        for name, row in ARCHITECTURES.items()
    }
    brief = "<|im_start|>system\nBe brief.<|im_end|>\n"
    marked = f"{brief}<|im_start|>user\nWhat moves left?<|im_end|>\n<|im_start|>assistant\n"
    named = "Be brief. USER: What moves left? ASSISTANT:"
    assert texts == {"qwen2-vl": marked, "internvl": marked, "llava-next": named}


def test_every_word_is_known_and_strangers_are_not(checkpoint: Checkpoint) -> None:
    tokenizer = checkpoint.tokenizer
    for text in vocabulary_texts():
        assert token_id(tokenizer, "<unk>") not in tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = tokenizer("The RED-ish dragon, moves!", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["the", "red", "<unk>", "<unk>", "<unk>", ",", "moves", "<unk>"]


def test_yes_and_no_are_single_tokens(checkpoint: Checkpoint) -> None:
    for word in ("yes", "no"):
        ids = checkpoint.tokenizer(word, add_special_tokens=False)["input_ids"]
        assert checkpoint.tokenizer.convert_ids_to_tokens(ids) == [word]
