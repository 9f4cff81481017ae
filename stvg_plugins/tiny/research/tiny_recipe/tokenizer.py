"""Word-level tokenizers with the chat layouts of the three families.

Words are lower-cased and split at blanks and punctuation; a line break is a token of its own.
Behind the question, each layout leaves five tokens: `<|im_end|>`, a line break, `<|im_start|>`,
`assistant` and a line break (Qwen2-VL, InternVL), or `a`, `ss`, `ist`, `ant` and `:`, as LLaMA's
vocabulary cuts `ASSISTANT:` (LLaVA-NeXT-Video).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tiny_recipe.questions import vocabulary_texts

PAD: Final = "<pad>"
UNKNOWN: Final = "<unk>"
TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"
VISION_START: Final = "<|vision_start|>"
VISION_END: Final = "<|vision_end|>"
VIDEO_PAD: Final = "<|video_pad|>"
IMAGE_PAD: Final = "<|image_pad|>"
TEXT_END: Final = "</s>"
VIDEO: Final = "<video>"
IMAGE: Final = "<image>"
FRAME_START: Final = "<img>"
FRAME_END: Final = "</img>"
FRAME_PAD: Final = "<IMG_CONTEXT>"
LINE_BREAK: Final = "\n"
NAMED_FRAMES: Final = 16
"""How many frames an InternVL prompt can name."""

_MARKED_TURNS: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}{{ 'CLIP' }}"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_NAMED_TURNS: Final = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] + ' ' }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'video' %}{{ '<video>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


@dataclass(frozen=True)
class ChatFormat:
    """How a family writes a conversation. A system turn is written where one is given; no tiny model ever saw one.

    Attributes:
        markers: The family's own special tokens.
        answer_end: The one of them that ends an answer.
        template: The chat template.
        texts: What the template and the clip's text write as plain words.
        cuts: Pattern of the pieces that stand apart within a word; none if empty.
    """

    markers: tuple[str, ...]
    answer_end: str
    template: str
    texts: tuple[str, ...]
    cuts: str = ""


QWEN_FORMAT: Final = ChatFormat(
    (TURN_START, TURN_END, VISION_START, VISION_END, VIDEO_PAD, IMAGE_PAD),
    TURN_END,
    _MARKED_TURNS.replace("CLIP", f"{VISION_START}{VIDEO_PAD}{VISION_END}"),
    ("user", "assistant"),
)
LLAVA_FORMAT: Final = ChatFormat(
    (TEXT_END, VIDEO, IMAGE), TEXT_END, _NAMED_TURNS, ("USER:", "ASSISTANT:"), "ss(?=istant)|ist(?=ant)"
)
INTERNVL_FORMAT: Final = ChatFormat(
    (TURN_START, TURN_END, FRAME_START, FRAME_END, FRAME_PAD, VIDEO),
    TURN_END,
    _MARKED_TURNS.replace("CLIP", f"{VIDEO}\\n"),
    ("user", "assistant", *(f"Frame{number}:" for number in range(1, NAMED_FRAMES + 1))),
)


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Return the id of one token of the vocabulary."""
    return int(tokenizer.get_vocab()[token])


def build_tokenizer(chat: ChatFormat) -> PreTrainedTokenizerFast:
    """Build a family's tokenizer; it is the same in every process, for its words are sorted."""
    splitter = _splitter(chat)
    normalizer = normalizers.Lowercase()
    texts = (*vocabulary_texts(), *chat.texts)
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    names = (PAD, UNKNOWN, *chat.markers, LINE_BREAK, *sorted(words))
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PAD,
        eos_token=chat.answer_end,
        additional_special_tokens=list(chat.markers),
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = chat.template
    return wrapped


def _splitter(chat: ChatFormat) -> pre_tokenizers.PreTokenizer:
    """Split at blanks, at line breaks (kept), around punctuation and around the format's pieces."""
    splitters = [
        pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
        pre_tokenizers.Split("\n", "isolated"),
        pre_tokenizers.Punctuation("isolated"),
    ]
    if chat.cuts:
        splitters.append(pre_tokenizers.Split(Regex(chat.cuts), "isolated"))
    return pre_tokenizers.Sequence(splitters)
