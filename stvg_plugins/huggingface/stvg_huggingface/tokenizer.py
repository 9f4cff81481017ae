"""A checkpoint's tokenizer: one that tells character offsets, and whose text its model can embed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from stvg_core.errors import ModelError
from stvg_core.plugin.model_reference import ModelReference
from stvg_huggingface.damage import DAMAGE, download_again, one_line

_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")


def load_tokenizer(reference: ModelReference, folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a checkpoint's folder.

    Raises:
        ModelError: it is missing, damaged, or tells no character offsets.
    """
    if not any((folder / name).is_file() for name in _FILES):
        raise ModelError(f"expected tokenizer.json in {folder}, found none; {download_again(reference)}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        # The tokenizers package raises Exception itself where a file contradicts itself.
        if type(error) is not Exception and not isinstance(error, DAMAGE):
            raise
        cure = download_again(reference, damaged=True)
        raise ModelError(f"cannot read the tokenizer of {reference.id} ({one_line(error)}); {cure}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or not tokenizer.is_fast:
        raise ModelError(f"expected a tokenizer with character offsets (tokenizer.json) in {reference.id}, found none")
    return tokenizer


def refuse_foreign_vocabulary(
    reference: ModelReference, tokenizer: PreTrainedTokenizerBase, embedding_rows: int
) -> None:
    """Refuse a tokenizer that writes plain text with ids that the model has no embedding for.

    Added tokens are not looked at: a placeholder is replaced before a prompt becomes tokens, and may have an id
    beyond the embedding (InternVL 3). What a prompt does hold of them is checked with the prompt.

    Raises:
        ModelError: a token of the vocabulary has an id that is not below the embedding's rows.
    """
    added = tokenizer.added_tokens_decoder
    plain = (number for number in tokenizer.get_vocab().values() if number not in added)
    beyond = token_without_row(tokenizer, plain, embedding_rows)
    if beyond is not None:
        raise ModelError(
            f"expected token ids below {embedding_rows} (rows of the model's embedding) in the tokenizer of "
            f"{reference.id}, got {beyond}; tokenizer and weights are of different models: put the tokenizer files "
            "that belong to these weights into the checkpoint's folder"
        )


def token_without_row(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int], embedding_rows: int) -> str | None:
    """Return the highest id that an embedding has no row for, with its token; None where all have one."""
    highest = max(ids, default=-1)
    return None if highest < embedding_rows else f"{highest} ({tokenizer.convert_ids_to_tokens(highest)!r})"
