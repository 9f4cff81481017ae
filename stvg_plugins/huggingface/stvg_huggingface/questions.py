"""From a question to the tokens of its prompt, and what each token is.

Places are found by the tokenizer's character offsets in the templated text, so nothing here
depends on how a tokenizer cuts words. This module knows no model.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from stvg_core.errors import ModelError, QueryError
from stvg_core.plugin.adapter import PromptToken
from stvg_core.values import tidy_text
from stvg_huggingface.chat import PromptFrame
from stvg_huggingface.tokenizer import token_without_row

TokenKind = Literal["word", "punctuation", "role", "thinking"]


@dataclass(frozen=True)
class TokenizedPrompt:
    """One question in its chat template, as tokens.

    Attributes:
        ids: token ids of the whole prompt.
        question_start: place of the question's first token.
        tokens: from the question's first token to the prompt's last.
    """

    ids: tuple[int, ...]
    question_start: int
    tokens: tuple[PromptToken, ...]


def tokenize_question(tokenizer: PreTrainedTokenizerBase, frame: PromptFrame, question: str) -> TokenizedPrompt:
    """Return the prompt that asks a question within a chat frame.

    Raises:
        QueryError: the question is empty, or holds the model's own markup.
        ModelError: the tokenizer tells no character offsets.
    """
    wording = tidy_text(question)
    refuse_markers(tokenizer, wording)
    encoded = tokenizer(
        frame.head + wording + frame.tail,
        add_special_tokens=frame.add_special_tokens,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    ids: list[int] = encoded["input_ids"]
    offsets: list[tuple[int, int]] = encoded["offset_mapping"]
    start, end = len(frame.head), len(frame.head) + len(wording)
    inside = [place for place, span in enumerate(offsets) if span[0] < end and span[1] > start]
    if not inside:
        raise ModelError("the tokenizer gives the question no token; its tokenizer.json is damaged, download it again")
    asked = ids[inside[0] :]
    names = list(tokenizer.convert_ids_to_tokens(asked))
    last, header_end = inside[-1] - inside[0], end + frame.answer_header_end
    tokens = []
    for number, (name, identifier, span) in enumerate(zip(names, asked, offsets[inside[0] :], strict=True)):
        piece = wording[max(span[0] - start, 0) : max(span[1] - start, 0)] if number <= last else ""
        kind = "thinking" if number > last and span[0] >= header_end else _kind(number, last, piece)
        tokens.append(PromptToken(name, kind, identifier))
    return TokenizedPrompt(tuple(ids), inside[0], tuple(tokens))


def refuse_markers(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """Refuse text that holds a marker of the model's own.

    A marker such as a turn's end or a video placeholder would be read as markup, not as text.

    Raises:
        QueryError: the text is empty or holds a marker.
    """
    if not text.strip():
        raise QueryError("expected a question, got nothing; describe an object and what it does")
    for token in tokenizer.added_tokens_decoder.values():
        if token.special and token.content in text:
            raise QueryError(
                f"expected plain words, got the model's marker {token.content!r}; leave it out of the text"
            )


def refuse_rowless(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int], embedding_rows: int) -> None:
    """Refuse a prompt with a token that the model has no embedding for: an added token that a user wrote.

    Raises:
        QueryError: a token's id is not below the embedding's rows.
    """
    beyond = token_without_row(tokenizer, ids, embedding_rows)
    if beyond is not None:
        raise QueryError(
            f"expected words that the model has embeddings for ({embedding_rows} rows), got token {beyond}; "
            "leave it out of the text"
        )


def _kind(number: int, last: int, piece: str) -> TokenKind:
    """Return what a token is; a token that a tokenizer merged with template text goes by its own part."""
    if number > last:
        return "role"
    if number == last and is_punctuation(piece):
        return "punctuation"
    return "word"


def is_punctuation(piece: str) -> bool:
    """Return whether text is nothing but punctuation.

    >>> is_punctuation("?"), is_punctuation(" ?!"), is_punctuation("video?"), is_punctuation(" ")
    (True, True, False, False)
    """
    signs = piece.strip()
    return bool(signs) and all(unicodedata.category(sign).startswith("P") for sign in signs)
