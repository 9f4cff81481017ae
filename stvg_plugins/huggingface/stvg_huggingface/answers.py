"""Answers of the model: the tokens of "yes" and "no" and their logits, and greedily generated text."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.errors import ModelError, UsageError
from stvg_core.plugin.adapter import AnswerLogits
from stvg_huggingface.chat import render_frame
from stvg_huggingface.loading import LoadedCheckpoint, token_without_embedding
from stvg_huggingface.questions import check_embeddings, refuse_markers

AnswerWords = Literal["lowercase", "sentence_initial", "any_case"]
"""Values of the setting input.answer_words."""


@dataclass(frozen=True)
class AnswerTokens:
    """Token ids that count as yes and as no.

    Attributes:
        yes: distinct ids, at least one.
        no: the same, none of them in `yes`.
    """

    yes: tuple[int, ...]
    no: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that the answers differ."""
        both = sorted({*self.yes} & {*self.no})
        if both:
            raise ModelError(f"expected different first tokens for 'yes' and 'no', both begin with {both[0]}")


def answer_tokens(
    tokenizer: PreTrainedTokenizerBase, words: AnswerWords, tail: str, embedding_rows: int | None = None
) -> AnswerTokens:
    """Return the tokens that an answer of yes or no begins with; where a word is no token, the first of its tokens.

    Args:
        tokenizer: the checkpoint's.
        words: lowercase: the bare lower-case pieces, `convert_tokens_to_ids("yes")`, as in the released research code
            (in a SentencePiece vocabulary they continue a word); sentence_initial: Yes and No as they begin an answer
            after the chat template; any_case: those, the lower-case words in the same place, and the bare pieces.
        tail: what the chat template writes before the answer.
        embedding_rows: tokens that the model has logits for; None: all.

    Raises:
        ModelError: the tokenizer has no token for a word, the same for both, or the model has no logit of one.
    """
    answers = _answer_tokens(tokenizer, words, tail)
    ids = (*answers.yes, *answers.no)
    beyond = None if embedding_rows is None else token_without_embedding(tokenizer, ids, embedding_rows)
    if beyond is not None:
        raise ModelError(
            f"expected answers ({words}) below {embedding_rows} (rows of the model's embedding), got {beyond}; use "
            "another input.answer_words, or the tokenizer files that belong to these weights"
        )
    return answers


def _answer_tokens(tokenizer: PreTrainedTokenizerBase, words: AnswerWords, tail: str) -> AnswerTokens:
    bare = AnswerTokens((_bare_id(tokenizer, "yes"),), (_bare_id(tokenizer, "no"),))
    if words == "lowercase":
        return bare
    capital = AnswerTokens((_initial_id(tokenizer, tail, "Yes"),), (_initial_id(tokenizer, tail, "No"),))
    if words == "sentence_initial":
        return capital
    lower = AnswerTokens((_initial_id(tokenizer, tail, "yes"),), (_initial_id(tokenizer, tail, "no"),))
    pairs = (bare, capital, lower)
    return AnswerTokens(
        tuple(dict.fromkeys(token for pair in pairs for token in pair.yes)),
        tuple(dict.fromkeys(token for pair in pairs for token in pair.no)),
    )


def answer_logits(
    head: Any,  # noqa: ANN401 - transformers' own types are loose here
    last: Float[Tensor, "question width"],
    tokens: AnswerTokens,
) -> AnswerLogits:
    """Return what a language model's head says behind each question.

    Only the rows of the head that matter are multiplied with gradients, in float32 at least; the most probable token
    of the whole vocabulary is computed in the head's dtype, without.

    Args:
        head: the output embeddings, a linear layer.
        last: what leaves the decoder at each question's last token.
        tokens: the answers.
    """
    wide = torch.promote_types(last.dtype, torch.float32)
    last = last.to(head.weight.device)
    # Rows by number: a list of them would be sent to the device first, which waits for it.
    rows = [*tokens.yes, *tokens.no]
    logits = last.to(wide) @ torch.stack([head.weight[row] for row in rows]).to(wide).T
    if head.bias is not None:
        logits = logits + torch.stack([head.bias[row] for row in rows]).to(wide)
    count = len(tokens.yes)
    with torch.no_grad():
        whole = head(last.detach().to(head.weight.dtype)).float()
        first_ids = whole.argmax(dim=1)
        first_probabilities = (whole.amax(dim=1) - whole.logsumexp(dim=1)).exp()
    return AnswerLogits(_log_sum(logits[:, :count]), _log_sum(logits[:, count:]), first_ids, first_probabilities)


def _log_sum(logits: Float[Tensor, "question token"]) -> Float[Tensor, " question"]:
    return logits[:, 0] if logits.shape[1] == 1 else logits.logsumexp(dim=1)


def _bare_id(tokenizer: PreTrainedTokenizerBase, word: str) -> int:
    whole = tokenizer.convert_tokens_to_ids(word)
    if isinstance(whole, int) and whole != tokenizer.unk_token_id:
        return whole
    return _known(tokenizer, tokenizer(word, add_special_tokens=False)["input_ids"], word)


def _initial_id(tokenizer: PreTrainedTokenizerBase, tail: str, word: str) -> int:
    """Return the first token of a word that begins the answer, behind a space where the template ends in none."""
    before = tail if not tail or tail[-1].isspace() else f"{tail} "
    encoded = tokenizer(before + word, add_special_tokens=False, return_offsets_mapping=True)
    ids = [
        token
        for token, span in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        if span[1] > len(before)
    ]
    return _known(tokenizer, ids, word)


def _known(tokenizer: PreTrainedTokenizerBase, ids: list[int], word: str) -> int:
    if not ids or ids[0] == tokenizer.unk_token_id:
        raise ModelError(
            f"the tokenizer does not know the word {word!r}; the method needs a model that answers in English"
        )
    return ids[0]


def generate_greedily(checkpoint: LoadedCheckpoint, instruction: str, maximum_tokens: int) -> str:
    """Return the most probable continuation of a text-only turn, token by token.

    Args:
        checkpoint: the loaded model.
        instruction: what to do, in words; line breaks are kept.
        maximum_tokens: where to stop at the latest.

    Raises:
        UsageError: maximum_tokens is below 1.
        QueryError: the instruction is empty or contains the model's special tokens.
    """
    if maximum_tokens < 1:
        raise UsageError(f"expected maximum_tokens of at least 1, got {maximum_tokens}")
    model: Any = checkpoint.model
    tokenizer = checkpoint.tokenizer
    refuse_markers(tokenizer, instruction)
    frame = render_frame(tokenizer, checkpoint.chat_template, video=False)
    text = frame.head + instruction.strip() + frame.tail
    encoded = tokenizer(text, add_special_tokens=frame.add_special_tokens, return_attention_mask=False)
    check_embeddings(tokenizer, encoded["input_ids"], checkpoint.embedding_rows)
    ids = torch.tensor([encoded["input_ids"]], device=checkpoint.device)
    stops = stop_ids(model, tokenizer)
    embed, head = model.get_input_embeddings(), model.get_output_embeddings()
    cache = DynamicCache(config=checkpoint.text_config)
    answer: list[int] = []
    with torch.no_grad():
        for _ in range(maximum_tokens):
            output = checkpoint.language_model(inputs_embeds=embed(ids), past_key_values=cache, use_cache=True)
            token = int(head(output.last_hidden_state[0, -1]).argmax())
            if token in stops:
                break
            answer.append(token)
            ids = torch.tensor([[token]], device=checkpoint.device)
    return str(tokenizer.decode(answer, skip_special_tokens=True)).strip()


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return every token id that ends an answer."""
    stops: set[int] = set()
    for value in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if isinstance(value, int):
            stops.add(value)
        elif isinstance(value, Iterable):
            stops.update(int(item) for item in value)
    return frozenset(stops)
