"""A checkpoint's tokenizer: one that tells character offsets and fits its model's vocabulary."""

from pathlib import Path
from typing import Final

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from stvg_core.errors import ModelError
from stvg_core.identity import ModelReference
from stvg_huggingface.damage import DAMAGE, download_again, one_line

_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")


def load_tokenizer(reference: ModelReference, folder: Path, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a checkpoint's folder.

    Raises:
        ModelError: it is missing, damaged, tells no character offsets, or knows more tokens than the model.
    """
    if not any((folder / name).is_file() for name in _FILES):
        raise ModelError(f"expected tokenizer.json in {folder}, found none; {download_again(reference)}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except DAMAGE as error:
        raise ModelError(
            f"cannot read the tokenizer of {reference.id} ({one_line(error)}); {download_again(reference)}"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or not tokenizer.is_fast:
        raise ModelError(f"expected a tokenizer with character offsets (tokenizer.json) in {reference.id}, found none")
    rows = int(config.get_text_config().vocab_size)
    tokens = max(tokenizer.get_vocab().values(), default=-1) + 1
    if tokens > rows:
        raise ModelError(
            f"expected a tokenizer of at most {rows} tokens (rows of the model's embedding) in {reference.id}, it has "
            f"{tokens}; tokenizer and weights are of different models: {download_again(reference)}"
        )
    return tokenizer
