"""The chat template gives exactly the tokens that training uses."""

import pytest
from transformers import AutoTokenizer

from stvg_tiny.architectures import VideoGrid
from stvg_tiny.batches import exchange
from stvg_tiny.evaluate import prompt_ids
from stvg_tiny.packing import SharedHead
from stvg_tiny.questions import Question, vocabulary_texts
from stvg_tiny.tokenizer import build_tokenizer, token_id

GRID = VideoGrid()
TEXTS = ["Is there the red circle that moves left in this video?", "Describe this video in details."]


@pytest.fixture(scope="module", params=["built", "saved"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    built = build_tokenizer()
    if request.param == "built":
        return built
    folder = tmp_path_factory.mktemp("tokenizer")
    built.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", TEXTS)
def test_template_gives_the_training_tokens(tokenizer, text: str) -> None:
    ask, reply = exchange(tokenizer, Question("combined", text, "yes"))
    head = SharedHead.of(tokenizer, GRID).token_ids.tolist()
    assert prompt_ids(tokenizer, text, GRID.visual_tokens) == head + ask
    assert tokenizer.convert_ids_to_tokens(reply) == ["yes", "<|im_end|>"]


@pytest.mark.parametrize("text", TEXTS)
def test_last_six_tokens_are_those_of_qwen2_vl(tokenizer, text: str) -> None:
    tail = tokenizer.convert_ids_to_tokens(prompt_ids(tokenizer, text, 4)[-6:])
    assert tail == [text[-1], "<|im_end|>", "\n", "<|im_start|>", "assistant", "\n"]


def test_plain_string_content_and_system_turns(tokenizer) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What moves left?"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nWhat moves left?<|im_end|>\n<|im_start|>assistant\n"


def test_every_word_is_known_and_strangers_are_not(tokenizer) -> None:
    unknown = token_id(tokenizer, "<unk>")
    for text in vocabulary_texts():
        assert unknown not in tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = tokenizer("The RED-ish dragon, moves!", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["the", "red", "<unk>", "<unk>", "<unk>", ",", "moves", "<unk>"]


def test_yes_and_no_are_single_tokens(tokenizer) -> None:
    for word in ("yes", "no"):
        assert tokenizer.convert_ids_to_tokens(tokenizer(word, add_special_tokens=False)["input_ids"]) == [word]
