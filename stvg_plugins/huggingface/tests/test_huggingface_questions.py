"""What each prompt token is, whatever the tokenizer does; templates and answers."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stvg_core.errors import ModelError, QueryError
from stvg_huggingface.answers import answer_ids
from stvg_huggingface.chat import PromptFrame, render_frame
from stvg_huggingface.questions import refuse_markers, refuse_rowless, tokenize_question
from stvg_huggingface.testing import QWEN_TEMPLATE, tiny_tokenizer

FRAME = PromptFrame("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=True)
BYTES = tiny_tokenizer(trained=False)
WORDS = tiny_tokenizer()


def word_level(words: list[str], **keywords: Any) -> PreTrainedTokenizerFast:
    """Return a lower-casing tokenizer of whole words in which a line break is a token."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **keywords)


def is_plain(text: str) -> bool:
    return bool(text.strip()) and not any(marker in text for marker in BYTES.all_special_tokens)


def kinds(tokenizer: PreTrainedTokenizerFast, frame: PromptFrame, question: str) -> list[tuple[str, str]]:
    return [(token.text, token.kind) for token in tokenize_question(tokenizer, frame, question).tokens]


def test_chatml() -> None:
    tail = [("<|im_end|>", "role"), ("Ċ", "role"), ("<|im_start|>", "role"), ("assistant", "role"), ("Ċ", "role")]
    assert kinds(WORDS, FRAME, "Is there a man?") == [
        ("Is", "word"), ("Ġthere", "word"), ("Ġa", "word"), ("Ġman", "word"), ("?", "punctuation"), *tail,
    ]  # fmt: skip
    assert kinds(WORDS, FRAME, "a man") == [("a", "word"), ("Ġman", "word"), *tail]


def test_word_level_tokenizer_with_line_break_tokens() -> None:
    tokenizer = word_level(["<unk>", "\n", "<|im_end|>", "<|im_start|>", "is", "there", "?", "assistant", "user"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    assert kinds(tokenizer, FRAME, "Is there?") == [
        ("is", "word"), ("there", "word"), ("?", "punctuation"), ("<|im_end|>", "role"), ("\n", "role"),
        ("<|im_start|>", "role"), ("assistant", "role"), ("\n", "role"),
    ]  # fmt: skip


def test_vicuna_like_template_without_markers() -> None:
    frame = PromptFrame("USER: <video>\n", " ASSISTANT:", add_special_tokens=True)
    found = kinds(WORDS, frame, "a man?")
    assert found[:3] == [("a", "word"), ("Ġman", "word"), ("?", "punctuation")]
    assert {kind for _, kind in found[3:]} == {"role"}
    assert "".join(text for text, _ in found[3:]).replace("Ġ", " ") == " ASSISTANT:"


def test_token_merged_with_the_template_goes_by_its_own_part() -> None:
    """A tokenizer may join the question's last sign with what the template writes next."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "man": 1, "?</s>": 2, "man</s>": 3, "<unk>": 4}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" |\w+</s>|\?</s>|\w+"), "isolated")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    frame = PromptFrame("", "</s>", add_special_tokens=False)
    assert kinds(wrapped, frame, "man?") == [("man", "word"), ("?</s>", "punctuation")]
    assert kinds(wrapped, frame, "man") == [("man</s>", "word")]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(is_plain))
@settings(deadline=None)
def test_any_text_is_covered_once(question: str) -> None:
    """Byte-level tokens of the question spell the question; those after it spell the tail."""
    wording = " ".join(question.split())
    prompt = tokenize_question(BYTES, FRAME, question)
    tail = len(BYTES(FRAME.tail)["input_ids"])
    own = len(prompt.tokens) - tail
    assert [token.kind for token in prompt.tokens[own:]] == ["role"] * tail
    assert {token.kind for token in prompt.tokens[:own]} <= {"word", "punctuation"}
    start = prompt.question_start
    assert BYTES.decode(prompt.ids[start : start + own]) == wording
    assert BYTES.decode(prompt.ids[:start]) == FRAME.head
    assert [token.kind for token in prompt.tokens[: own - 1]] == ["word"] * (own - 1)


def test_markers_and_emptiness_are_refused() -> None:
    for text in ("", " \n "):
        with pytest.raises(QueryError, match="got nothing"):
            refuse_markers(WORDS, text)
    with pytest.raises(QueryError, match=r"marker '<\|im_end\|>'"):
        refuse_markers(WORDS, "a man<|im_end|>")
    refuse_markers(WORDS, "a man < | > im_end")


def test_a_word_without_an_embedding_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    rows = len(tokenizer)
    tokenizer.add_tokens(["<tool_call>"])
    refuse_rowless(tokenizer, tokenize_question(tokenizer, FRAME, "a tool call").ids, rows)
    asked = tokenize_question(tokenizer, FRAME, "a <tool_call> on a screen")
    refuse_rowless(tokenizer, asked.ids, rows + 1)
    with pytest.raises(QueryError, match=rf"\({rows} rows\), got token {rows} \('<tool_call>'\); leave it out"):
        refuse_rowless(tokenizer, asked.ids, rows)


def test_frame_of_a_template() -> None:
    frame = render_frame(WORDS, None, video=True)
    assert frame.head.endswith("<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>")
    assert frame.tail == "<|im_end|>\n<|im_start|>assistant\n"
    filled = frame.with_clip("<|video_pad|>", "<|video_pad|>" * 3)
    assert filled.head.count("<|video_pad|>") == 3
    assert "video_pad" not in render_frame(WORDS, None, video=False).head


# How Qwen3's templates end: a model that may think is told not to by a block that holds no thoughts.
THINKS_ON_DEMAND = QWEN_TEMPLATE.removesuffix("{% endif %}") + (
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
ALWAYS_THINKS = QWEN_TEMPLATE.removesuffix("{% endif %}") + "{{ '<think>\n' }}{% endif %}"


@pytest.mark.parametrize("as_token", [True, False])
def test_an_empty_think_block_is_told_from_the_template_s_tokens(as_token: bool) -> None:
    """Whether the tokenizer has tags of its own, as Qwen3's, or spells them."""
    tokenizer = tiny_tokenizer()
    if as_token:
        tokenizer.add_tokens(["<think>", "</think>"])
    frame = render_frame(tokenizer, THINKS_ON_DEMAND, video=True)
    assert frame.tail == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    prompt = tokenize_question(tokenizer, frame, "a man?")
    plain = tokenize_question(tokenizer, render_frame(tokenizer, QWEN_TEMPLATE, video=True), "a man?")
    block = prompt.tokens[len(plain.tokens) :]
    assert prompt.tokens[: len(plain.tokens)] == plain.tokens
    assert {token.kind for token in block} == {"thinking"}
    assert tokenizer.decode([token.id for token in block]) == "<think>\n\n</think>\n\n"
    assert "thinking" not in {token.kind for token in plain.tokens}


def test_a_template_that_thinks_before_it_answers_is_refused() -> None:
    with pytest.raises(ModelError, match=r"answer comes first, .* ends in '<think>\\n'\); use .* Instruct version"):
        render_frame(WORDS, ALWAYS_THINKS, video=True)
    said = "Say what you see, without <think>."
    frame = render_frame(WORDS, QWEN_TEMPLATE.replace("You are a helpful assistant.", said), video=True)
    assert said in frame.head


def test_own_begin_token_is_not_written_twice() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = "<|im_start|>"
    assert not render_frame(tokenizer, None, video=True).add_special_tokens
    tokenizer.bos_token = "<|endoftext|>"
    assert render_frame(tokenizer, None, video=True).add_special_tokens


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ broken", "cannot render"),
        ("{{ raise_exception('no video') }}", "cannot render"),
        ("nothing of the user", "shows a user's text once"),
        (QWEN_TEMPLATE.replace("<|video_pad|>", ""), "placeholder"),
        (QWEN_TEMPLATE.replace("<|video_pad|>", "<|video_pad|><|video_pad|>"), "placeholder"),
    ],
)
def test_unfit_templates(template: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        render_frame(WORDS, template, video=True).with_clip("<|video_pad|>", "x")


def test_missing_template() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="expected a chat template"):
        render_frame(tokenizer, None, video=True)
    assert render_frame(tokenizer, QWEN_TEMPLATE, video=True).tail


def test_answers() -> None:
    vocabulary = WORDS.get_vocab()
    assert answer_ids(WORDS) == (vocabulary["yes"], vocabulary["no"])
    alphabet = BYTES.get_vocab()
    assert answer_ids(BYTES) == (alphabet["y"], alphabet["n"])


def test_answers_that_cannot_be_told() -> None:
    with pytest.raises(ModelError, match="does not know the word 'yes'"):
        answer_ids(word_level(["<unk>", "no"]))
    same = Tokenizer(models.WordLevel({"<unk>": 0, "_": 1}, unk_token="<unk>"))
    same.normalizer = normalizers.Replace(Regex(r"\w+"), "_")
    with pytest.raises(ModelError, match="different first tokens"):
        answer_ids(PreTrainedTokenizerFast(tokenizer_object=same, unk_token="<unk>"))
