"""A checkpoint's own chat template, rendered once around a gap for the question.

Templates and placeholders are handled as text; no tokens of any family appear here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from stvg_core.errors import ModelError, SettingsError

_GAP: Final = "QUESTIONSTANDSHERE"
"""Stands for the question while a template is rendered: plain letters that no template touches."""
_SYSTEM_GAP: Final = "SYSTEMTURNSTANDSHERE"
"""Stands for a system turn's text, likewise."""
_THINK: Final = re.compile(r"<[^<>/\s]*think[^<>/\s]*>|<\|channel\|?>(?:thought|analysis)", re.IGNORECASE)
_THINK_END: Final = re.compile(r"</[^<>\s]*think[^<>\s]*>|<channel\|>", re.IGNORECASE)
"""What newer templates put before an answer: thoughts begin, thoughts end."""
_UNRENDERABLE: Final = (
    TemplateError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
"""What rendering a foreign template raises, one that never ends among them."""


@dataclass(frozen=True)
class PromptFrame:
    """What a chat template puts around a question.

    Attributes:
        head: before the question (with the clip's placeholder, where there is one).
        tail: after it, up to where the answer begins.
        add_special_tokens: whether the tokenizer must add its own beginning-of-text token.
    """

    head: str
    tail: str
    add_special_tokens: bool

    @property
    def answer_header_end(self) -> int:
        """Where the tail's template text ends: before the first think block, or at the tail's own end."""
        block = _THINK.search(self.tail)
        return len(self.tail) if block is None else block.start()

    def with_clip(self, placeholder: str, expanded: str) -> "PromptFrame":
        """Return the frame with the clip's placeholder replaced by one marker per visual token.

        Raises:
            ModelError: the placeholder does not stand exactly once before the question.
        """
        if self.head.count(placeholder) != 1 or placeholder in self.tail:
            raise ModelError(
                f"expected the video's placeholder {placeholder!r} once before the question, the chat template gives "
                f"{self.head + '...' + self.tail!r}; the template is another family's, or "
                "config.json names another token as the video's: correct it there"
            )
        return PromptFrame(self.head.replace(placeholder, expanded), self.tail, self.add_special_tokens)


def render_frame(
    tokenizer: PreTrainedTokenizerBase,
    template: str | None,
    *,
    video: bool,
    content_type: Literal["video", "image"] = "video",
    system_prompt: str | None = None,
) -> PromptFrame:
    """Render the chat template for one user turn: a video (or none), then the question.

    Templates with a thinking mode are rendered without it: the answer must be the first token after the prompt.

    Args:
        tokenizer: the checkpoint's tokenizer.
        template: a chat template beside the tokenizer (older repositories), or None for the tokenizer's own.
        video: whether the turn shows a video.
        content_type: what the template calls a clip; templates without videos get an image.
        system_prompt: text of a system turn before it; None: whatever the template writes by itself.

    Raises:
        ModelError: there is no chat template, it cannot be rendered, or it leaves a think block open.
        SettingsError: the template has no place for a system turn.
    """
    if template is None and not tokenizer.chat_template:
        raise ModelError(
            "expected a chat template in the checkpoint (chat_template.jinja, chat_template.json or in "
            "tokenizer_config.json), found none; download the instruction-tuned model's whole folder"
        )
    content: list[dict[str, str]] = [{"type": "text", "text": _GAP}]
    if video:
        content.insert(0, {"type": content_type})
    # The annotation of apply_chat_template allows only strings as content.
    turn: list[Any] = [{"role": "user", "content": content}]

    def render(conversation: list[Any]) -> str:
        try:
            text = tokenizer.apply_chat_template(
                conversation, chat_template=template, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except _UNRENDERABLE as error:
            raise ModelError(
                f"cannot render the checkpoint's chat template ({error}); download the folder again"
            ) from error
        if not isinstance(text, str) or text.count(_GAP) != 1:
            raise ModelError("expected a chat template that shows a user's text once; the checkpoint's does not")
        return text

    text = render(turn)
    if system_prompt is not None:
        text = _with_system_turn(render, turn, system_prompt)
    head, _, tail = text.rpartition(_GAP)
    begun = [match.start() for match in _THINK.finditer(tail)]
    if len(begun) > len(_THINK_END.findall(tail)):
        raise ModelError(
            "expected a chat template after which the answer comes first, this one lets the model think first (it ends "
            f"in {tail[begun[0] :]!r}); use the checkpoint's Instruct version"
        )
    begin = tokenizer.bos_token
    return PromptFrame(head, tail, add_special_tokens=not (isinstance(begin, str) and begin and head.startswith(begin)))


def _with_system_turn(render: Callable[[list[Any]], str], turn: list[Any], system_prompt: str) -> str:
    """Return a rendered turn behind a system turn of this text, wherever the template puts it before the question.

    Raises:
        SettingsError: the template refuses a system turn, or leaves its text out.
    """
    # Templates take a system turn's content as parts, as plain text, or either.
    for content in ([{"type": "text", "text": _SYSTEM_GAP}], _SYSTEM_GAP):
        try:
            text = render([{"role": "system", "content": content}, *turn])
        except ModelError:
            continue
        before = text.partition(_GAP)[0]
        if before.count(_SYSTEM_GAP) == 1 and text.count(_SYSTEM_GAP) == 1:
            return text.replace(_SYSTEM_GAP, system_prompt)
    raise SettingsError(
        "expected a chat template that shows a system turn before the question beside input.system_prompt, the "
        "checkpoint's does not; set input.system_prompt=null"
    )
