"""Token ids of the answers "yes" and "no", asked of the tokenizer."""

from transformers import PreTrainedTokenizerBase

from stvg_core.errors import ModelError


def answer_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Return the ids of lower-case "yes" and "no" as first answer tokens.

    The released research code takes the bare lower-case pieces
    (`convert_tokens_to_ids("yes")`); where a word is no token, the first of its tokens counts.

    Raises:
        ModelError: the tokenizer knows neither word, or cannot tell them apart.
    """
    yes, no = _first_id(tokenizer, "yes"), _first_id(tokenizer, "no")
    if yes == no:
        raise ModelError(f"expected different first tokens for 'yes' and 'no', both are {yes}; use another tokenizer")
    return yes, no


def _first_id(tokenizer: PreTrainedTokenizerBase, word: str) -> int:
    whole = tokenizer.convert_tokens_to_ids(word)
    if isinstance(whole, int) and whole != tokenizer.unk_token_id:
        return whole
    pieces: list[int] = tokenizer(word, add_special_tokens=False)["input_ids"]
    if not pieces or pieces[0] == tokenizer.unk_token_id:
        raise ModelError(
            f"the tokenizer does not know the word {word!r}; the method needs a model that answers in English"
        )
    return pieces[0]
