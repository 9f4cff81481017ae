"""Questions about a clip as tokens: each question's prompt, and several prompts packed behind their common prefix.

Character offsets in the templated text give the places of tokens, so nothing depends on how a tokenizer splits words.
In a packed sequence each question's tokens attend to the prefix and to themselves, at the positions that they would
have alone, so that one pass equals one pass per question.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from stvg_core.errors import ModelError, QueryError, TokenLayoutError
from stvg_core.plugin.adapter import PromptToken
from stvg_core.values import tidy_text
from stvg_huggingface.chat import PromptFrame
from stvg_huggingface.devices import send
from stvg_huggingface.loading import token_without_embedding

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
        QueryError: the question is empty, or contains the model's special tokens.
        ModelError: the tokenizer gives no character offsets.
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
    question_ids = ids[inside[0] :]
    names = list(tokenizer.convert_ids_to_tokens(question_ids))
    last, header_end = inside[-1] - inside[0], end + frame.answer_header_end
    tokens = []
    for number, (name, identifier, span) in enumerate(zip(names, question_ids, offsets[inside[0] :], strict=True)):
        piece = wording[max(span[0] - start, 0) : max(span[1] - start, 0)] if number <= last else ""
        kind = "thinking" if number > last and span[0] >= header_end else _kind(number, last, piece)
        tokens.append(PromptToken(name, kind, identifier))
    return TokenizedPrompt(tuple(ids), inside[0], tuple(tokens))


def refuse_markers(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """Check that text contains none of the model's special tokens.

    One such as a turn's end or a video placeholder would be tokenised as markup, not as text.

    Raises:
        QueryError: the text is empty or contains a special token.
    """
    if not text.strip():
        raise QueryError("expected a question, got nothing; describe an object and what it does")
    for token in tokenizer.added_tokens_decoder.values():
        if token.special and token.content in text:
            raise QueryError(
                f"expected plain words, got the model's special token {token.content!r}; leave it out of the text"
            )


def check_embeddings(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int], embedding_rows: int) -> None:
    """Check that the model has embeddings for a prompt; it may lack them for an added token that a user wrote.

    Raises:
        QueryError: a token's id is not below the embedding's rows.
    """
    beyond = token_without_embedding(tokenizer, ids, embedding_rows)
    if beyond is not None:
        raise QueryError(
            f"expected words that the model has embeddings for ({embedding_rows} rows), got token {beyond}; "
            "leave it out of the text"
        )


def _kind(number: int, last: int, piece: str) -> TokenKind:
    """Return the kind of a token; one that is merged with template text is judged by the question's part of it."""
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


@dataclass(frozen=True)
class PackedQuestions:
    """Prompts that share a prefix, laid behind one another.

    Attributes:
        prompts: the prompts, each in full.
        prefix_length: tokens that all prompts have in common and that come before any question.
        filler_length: tokens behind the last rest that belong to no prompt: they bring sequences to common lengths.
    """

    prompts: tuple[TokenizedPrompt, ...]
    prefix_length: int
    filler_length: int = 0

    @property
    def suffix_lengths(self) -> tuple[int, ...]:
        """Tokens of each prompt behind the prefix."""
        return tuple(len(prompt.ids) - self.prefix_length for prompt in self.prompts)

    @property
    def rest_lengths(self) -> tuple[int, ...]:
        """Tokens of everything behind the prefix: each prompt's rest, and the filler as one more where there is any."""
        return (*self.suffix_lengths, self.filler_length) if self.filler_length else self.suffix_lengths

    @property
    def suffix_starts(self) -> tuple[int, ...]:
        """Where each rest begins in the packed sequence."""
        starts, start = [], self.prefix_length
        for length in self.suffix_lengths:
            starts.append(start)
            start += length
        return tuple(starts)

    @property
    def ids(self) -> tuple[int, ...]:
        """Token ids of the packed sequence."""
        rest = [token for prompt in self.prompts for token in prompt.ids[self.prefix_length :]]
        filler = self.prompts[0].ids[-1:] * self.filler_length
        return (*self.prompts[0].ids[: self.prefix_length], *rest, *filler)

    @property
    def last_tokens(self) -> tuple[int, ...]:
        """Where each prompt ends in the packed sequence: there its answer begins."""
        return tuple(start + length - 1 for start, length in zip(self.suffix_starts, self.suffix_lengths, strict=True))

    def question_rows(self, number: int) -> range:
        """Return where one question's first token to its prompt's last token lie."""
        shift = self.suffix_starts[number] - self.prefix_length
        prompt = self.prompts[number]
        return range(prompt.question_start + shift, len(prompt.ids) + shift)

    def own_places(self) -> tuple[int, ...]:
        """Return for every packed token its place in its own prompt."""
        rest = [self.prefix_length + place for length in self.rest_lengths for place in range(length)]
        return (*range(self.prefix_length), *rest)


def pack(prompts: Sequence[TokenizedPrompt], last_visual_token: int, multiple: int = 1) -> PackedQuestions:
    """Lay prompts about one clip behind their longest common prefix.

    The prefix ends before the first question at the latest, so that every question's tokens
    lie in its own rest.

    Args:
        prompts: at least one.
        last_visual_token: place of the last visual token in every prompt.
        multiple: what the number of tokens behind the prefix is filled up to a multiple of.

    Raises:
        TokenLayoutError: the prompts differ before the last visual token.

    >>> prompts = [TokenizedPrompt((7, 9, 9, 1, 2), 3, ()), TokenizedPrompt((7, 9, 9, 5), 3, ())]
    >>> packed = pack(prompts, last_visual_token=2)
    >>> packed.ids, packed.own_places(), packed.last_tokens
    ((7, 9, 9, 1, 2, 5), (0, 1, 2, 3, 4, 3), (4, 5))
    >>> filled = pack(prompts, last_visual_token=2, multiple=5)
    >>> filled.ids, filled.own_places(), filled.last_tokens
    ((7, 9, 9, 1, 2, 5, 2, 2), (0, 1, 2, 3, 4, 3, 3, 4), (4, 5))
    """
    limit = min(min(prompt.question_start, len(prompt.ids) - 1) for prompt in prompts)
    common = 0
    while common < limit and len({prompt.ids[common] for prompt in prompts}) == 1:
        common += 1
    if common <= last_visual_token:
        raise TokenLayoutError(
            f"expected all prompts to agree up to their last visual token (number {last_visual_token}), they differ "
            f"at token {common}; the chat template must put the video before the question"
        )
    behind = sum(len(prompt.ids) - common for prompt in prompts)
    return PackedQuestions(tuple(prompts), common, -behind % multiple)


def suffix_mask(
    prefix_length: int, suffix_lengths: Sequence[int], device: torch.device | str = "cpu"
) -> Bool[Tensor, "1 1 suffix_token key"]:
    """Return which keys each suffix token attends to: the prefix, and its own suffix up to itself.

    >>> suffix_mask(1, [2, 1])[0, 0].int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    """
    # On the CPU, then copied: repeat counts are data, which a device would have to synchronise for.
    lengths = torch.tensor(list(suffix_lengths))
    owner: Int[Tensor, " suffix_token"] = torch.arange(len(lengths)).repeat_interleave(lengths)
    same = (owner[:, None] == owner[None, :]).tril()
    prefix = same.new_ones(len(owner), prefix_length)
    return send(torch.cat([prefix, same], dim=1)[None, None], device)
