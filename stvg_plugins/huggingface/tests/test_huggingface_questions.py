"""What each prompt token is, whatever the tokenizer does; templates and answers."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stvg_core.errors import ModelError, QueryError, SettingsError
from stvg_huggingface.answers import AnswerTokens, answer_tokens
from stvg_huggingface.chat import PromptFrame, render_frame
from stvg_huggingface.questions import check_embeddings, refuse_markers, tokenize_question
from stvg_huggingface.testing import QWEN_TEMPLATE, tiny_tokenizer
from stvg_huggingface.testing.tokenizers import INTERNVL_TEMPLATE, LLAVA_TEMPLATE

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
    with pytest.raises(QueryError, match=r"special token '<\|im_end\|>'"):
        refuse_markers(WORDS, "a man<|im_end|>")
    refuse_markers(WORDS, "a man < | > im_end")


def test_a_word_without_an_embedding_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    rows = len(tokenizer)
    tokenizer.add_tokens(["<tool_call>"])
    check_embeddings(tokenizer, tokenize_question(tokenizer, FRAME, "a tool call").ids, rows)
    asked = tokenize_question(tokenizer, FRAME, "a <tool_call> on a screen")
    check_embeddings(tokenizer, asked.ids, rows + 1)
    with pytest.raises(QueryError, match=rf"\({rows} rows\), got token {rows} \('<tool_call>'\); leave it out"):
        check_embeddings(tokenizer, asked.ids, rows)


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


VICUNA = "A chat between a curious user and an artificial intelligence assistant."
# A template whose turns are plain text, as text models' are.
PLAIN_TEXT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}<s>{{ m.content.strip() }}</s>"
    "{% else %}<u>{% for part in m.content %}{{ part.text }}{% endfor %}</u>{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "before", "after"),
    [
        # As vicuna_v1 writes it: system, separator, USER:
        (LLAVA_TEMPLATE, f"{VICUNA} USER: <video>\n", " ASSISTANT:"),
        (
            INTERNVL_TEMPLATE,
            f"<|im_start|>system\n{VICUNA}<|im_end|>\n<|im_start|>user\n<video>\n",
            "<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            QWEN_TEMPLATE,
            f"<|im_start|>system\n{VICUNA}<|im_end|>\n<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>",
            "<|im_end|>\n<|im_start|>assistant\n",
        ),
        (PLAIN_TEXT_TEMPLATE, f"<s>{VICUNA}</s><u>", "</u>"),
    ],
)
def test_a_system_turn_stands_where_the_template_puts_it(template: str, before: str, after: str) -> None:
    frame = render_frame(WORDS, template, video=True, system_prompt=VICUNA)
    assert (frame.head, frame.tail) == (before, after)
    plain = render_frame(WORDS, template, video=True)
    assert VICUNA not in plain.head


def test_a_system_turn_of_any_wording_is_taken_as_it_is() -> None:
    # Words that the template writes itself, and its language's own signs.
    for text in ("You are a helpful assistant.", "  {{ messages }} {% x %} ", "你是书生·万象"):
        frame = render_frame(WORDS, QWEN_TEMPLATE, video=True, system_prompt=text)
        assert frame.head.startswith(f"<|im_start|>system\n{text}<|im_end|>\n")


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages if m.role != 'system' %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}",
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}",
        "{% for m in messages|reverse %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_without_a_place_for_a_system_turn_is_refused(template: str) -> None:
    assert render_frame(WORDS, template, video=True).head == ""
    with pytest.raises(SettingsError, match=r"set input\.system_prompt=null"):
        render_frame(WORDS, template, video=True, system_prompt=VICUNA)


def test_missing_template() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="expected a chat template"):
        render_frame(tokenizer, None, video=True)
    assert render_frame(tokenizer, QWEN_TEMPLATE, video=True).tail


def ids(tokens: AnswerTokens) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tokens.yes, tokens.no


def test_answers() -> None:
    vocabulary = WORDS.get_vocab()
    assert ids(answer_tokens(WORDS, "lowercase", "\n")) == ((vocabulary["yes"],), (vocabulary["no"],))
    alphabet = BYTES.get_vocab()
    assert ids(answer_tokens(BYTES, "lowercase", "\n")) == ((alphabet["y"],), (alphabet["n"],))
    assert ids(answer_tokens(BYTES, "sentence_initial", "\n")) == ((alphabet["Y"],), (alphabet["N"],))
    both = answer_tokens(BYTES, "any_case", "\n")
    assert ids(both) == ((alphabet["y"], alphabet["Y"]), (alphabet["n"], alphabet["N"]))


def test_answers_that_cannot_be_told() -> None:
    with pytest.raises(ModelError, match="does not know the word 'yes'"):
        answer_tokens(word_level(["<unk>", "no"]), "lowercase", "")
    same = Tokenizer(models.WordLevel({"<unk>": 0, "_": 1}, unk_token="<unk>"))
    same.normalizer = normalizers.Replace(Regex(r"\w+"), "_")
    with pytest.raises(ModelError, match="different first tokens"):
        answer_tokens(PreTrainedTokenizerFast(tokenizer_object=same, unk_token="<unk>"), "lowercase", "")


@pytest.mark.parametrize(
    "ending", ["<think><think></think>\n", "<thinking>\n", "<THINK>", "<seed:think>", "<|channel>thought\n"]
)
def test_a_block_of_thoughts_that_is_left_open_is_refused(ending: str) -> None:
    template = QWEN_TEMPLATE.removesuffix("{% endif %}") + f"{{{{ {ending!r} }}}}{{% endif %}}"
    with pytest.raises(ModelError, match="lets the model think first"):
        render_frame(WORDS, template, video=True)


@pytest.mark.parametrize(
    "ending", ["<think></think>\n<think></think>\n", "<think><think></think></think>", "<think>\n</think>\n\nAnswer: "]
)
def test_whatever_follows_the_first_think_block_is_passed_over(ending: str) -> None:
    template = QWEN_TEMPLATE.removesuffix("{% endif %}") + f"{{{{ {ending!r} }}}}{{% endif %}}"
    frame = render_frame(WORDS, template, video=True)
    assert frame.tail[: frame.answer_header_end] == "<|im_end|>\n<|im_start|>assistant\n"
    assert frame.tail[frame.answer_header_end :] == ending


@pytest.mark.parametrize("trap", ["{{ 1 / 0 }}", "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "{{ [][1].x }}"])
def test_templates_that_cannot_be_rendered(trap: str) -> None:
    with pytest.raises(ModelError, match="cannot render the checkpoint's chat template"):
        render_frame(WORDS, trap + QWEN_TEMPLATE, video=True)


def test_answers_without_a_row_are_refused_with_id_and_token() -> None:
    number = WORDS.get_vocab()["yes"]
    assert answer_tokens(WORDS, "lowercase", "", 10**6).yes == (number,)
    with pytest.raises(ModelError, match=r"below 5 .*got \d+ \('"):
        answer_tokens(WORDS, "lowercase", "", 5)
