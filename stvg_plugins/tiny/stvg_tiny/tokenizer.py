"""The word-level tokenizer and its chat template, in the layout of Qwen2-VL.

A rendered prompt reads `<|im_start|>user`, a line break, `<|vision_start|><|video_pad|>
<|vision_end|>`, the question, `<|im_end|>`, a line break, `<|im_start|>assistant`, a line break;
line breaks are tokens of their own.
"""

from __future__ import annotations

from typing import Final

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stvg_tiny.questions import vocabulary_texts

PAD: Final = "<pad>"
UNKNOWN: Final = "<unk>"
TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"
VISION_START: Final = "<|vision_start|>"
VISION_END: Final = "<|vision_end|>"
VIDEO_PAD: Final = "<|video_pad|>"
IMAGE_PAD: Final = "<|image_pad|>"
LINE_BREAK: Final = "\n"

_SPECIAL_TOKENS: Final = (
    PAD,
    UNKNOWN,
    TURN_START,
    TURN_END,
    VISION_START,
    VISION_END,
    VIDEO_PAD,
    IMAGE_PAD,
)
_ROLES: Final = ("user", "assistant")

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""System turns are left out: the models never saw one."""

PROMPT_TAIL: Final = f"{TURN_END}{LINE_BREAK}{TURN_START}assistant{LINE_BREAK}"
"""What the template puts between a question and its answer."""


def prompt_head(visual_tokens: int) -> str:
    """Return what the template puts before a question, with one pad per visual token."""
    return f"{TURN_START}user{LINE_BREAK}{VISION_START}{VIDEO_PAD * visual_tokens}{VISION_END}"


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Return the id of one token of the vocabulary."""
    return int(tokenizer.get_vocab()[token])


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer; it is the same in every process, for its words are sorted."""
    splitter = _splitter()
    normalizer = normalizers.Lowercase()
    words = {
        word for text in vocabulary_texts() for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    }
    names = (*_SPECIAL_TOKENS, LINE_BREAK, *sorted(words.union(_ROLES)))
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PAD,
        eos_token=TURN_END,
        additional_special_tokens=list(_SPECIAL_TOKENS[2:]),
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def _splitter() -> pre_tokenizers.PreTokenizer:
    """Split at blanks, at line breaks (kept) and around punctuation."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
