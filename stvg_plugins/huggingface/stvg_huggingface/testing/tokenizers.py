"""Tokenizers of the tiny models (byte-level as Qwen's, metaspaces as LLaMA's), and their chat templates.

The templates write what the families' own do, without tools and counters.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

QWEN_TEMPLATE: Final = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The template of Qwen2-VL and Qwen2.5-VL, without its images."""

LLAVA_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() }}: {% endif %}"
    "{% for part in message['content'] if part['type'] == 'video' %}<video>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""The Vicuna template of LLaVA-NeXT-Video-7B: no begin token (the tokenizer adds it), videos before text."""

INTERNVL_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<video>\n{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The template of InternVL3's checkpoints for transformers, without its images; it writes no system turn."""


VOCABULARY_SIZE: Final = 512
"""Rows of every tiny model's embedding; no tokenizer here knows more tokens."""

_QWEN_MARKERS: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_INTERNVL_MARKERS: Final = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_CORPUS: Final = (
    "Is there a man standing by the stairs in this video? please describe this video",
    "The woman in red walks to the car and opens the door. yes no yes no",
    "system\nuser\nassistant\nYou are a helpful assistant.",
)
_METASPACE: Final = "\u2581"
_WORDS: Final = ("Is", "there", "a", "man", "woman", "in", "red", "this", "video", "the", "please", "describe", "to")
"""Written as one token each behind a space."""
_PIECES: Final = ("yes", "no", "Is", f"{_METASPACE}US", "ER", f"{_METASPACE}A", "SS", "IST", "ANT")
"""The last six are what LLaMA's own vocabulary makes of USER and ASSISTANT."""


def tiny_tokenizer(*, trained: bool = True) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with Qwen's markers and template.

    Args:
        trained: whether common words (yes and no among them) are tokens; else every byte is one.
    """
    return _byte_level(_QWEN_MARKERS[:3], list(_QWEN_MARKERS[3:]), QWEN_TEMPLATE, trained=trained)


def tiny_internvl_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with InternVL's markers, named as its processor names them, and template."""
    return _byte_level(_QWEN_MARKERS[:3], _INTERNVL_MARKERS, INTERNVL_TEMPLATE, trained=True)


def tiny_llava_tokenizer() -> PreTrainedTokenizerFast:
    """Return a LLaMA tokenizer with LLaVA-NeXT-Video's markers and template.

    It begins every text with `<s>`, writes spaces as metaspaces, spells unknown signs in bytes,
    and cuts " ASSISTANT:" into the five tokens that it has in the real one.

    >>> tiny_llava_tokenizer().tokenize("a man? ASSISTANT:")
    ['▁a', '▁man', '?', '▁A', 'SS', 'IST', 'ANT', ':']
    """
    spelled = [*_PIECES, *(f"{_METASPACE}{word}" for word in _WORDS)]
    signs = sorted({sign for text in (*spelled, *_CORPUS, "USER:") for sign in text} - {"\n", " "})
    merges = list(dict.fromkeys(merge for piece in spelled for merge in _left_to_right(piece)))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *signs]
    tokens += dict.fromkeys(left + right for left, right in merges)
    make: Any = LlamaTokenizer
    tokenizer: PreTrainedTokenizerFast = make(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        legacy=False,
        add_prefix_space=True,
        add_bos_token=True,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<video>", "<image>"], "pad_token": "<pad>"})
    tokenizer.chat_template = LLAVA_TEMPLATE
    return tokenizer


def _left_to_right(piece: str) -> list[tuple[str, str]]:
    """Return merges that build a piece sign by sign."""
    starts = [piece[:end] for end in range(1, len(piece) + 1)]
    return [(shorter, longer[-1]) for shorter, longer in pairwise(starts)]


def _byte_level(
    chat_markers: Sequence[str], visual_markers: Sequence[str] | Mapping[str, str], template: str, *, trained: bool
) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer.

    Args:
        chat_markers: padding, a turn's begin, a turn's end.
        visual_markers: further special tokens, by name where the family's processor names them.
        template: the chat template.
        trained: whether common words are tokens; else every byte is one.
    """
    extra = list(visual_markers.values()) if isinstance(visual_markers, Mapping) else list(visual_markers)
    markers = [*chat_markers, *extra]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE if trained else len(alphabet) + len(markers),
        special_tokens=markers,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS * 4, trainer)
    make: Any = PreTrainedTokenizerFast
    wrapped: PreTrainedTokenizerFast = make(
        tokenizer_object=tokenizer,
        pad_token=chat_markers[0],
        eos_token=chat_markers[2],
        extra_special_tokens=visual_markers,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
    )
    wrapped.chat_template = template
    return wrapped
