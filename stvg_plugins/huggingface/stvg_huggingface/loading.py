"""Load a checkpoint: configuration, tokenizer, frozen model, chat template and pixel statistics.

Weights are loaded from safetensors only, and code of a checkpoint is never run. Every failure is a ModelError that
names the cure. Independent of the family of models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.errors import ModelError
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_huggingface.capture import register_attention
from stvg_huggingface.devices import attention_kernels, choose_device, choose_dtype, placement_arguments
from stvg_huggingface.files import (
    LOAD_ERRORS,
    checkpoint_folder,
    download_again,
    one_line,
    read_chat_template,
    read_preprocessors,
)
from stvg_huggingface.pixels import PixelStatistics, read_statistics
from stvg_huggingface.quantization import is_quantized, keep_gradients, quantization_arguments
from stvg_huggingface.weights import load_model, move_model

_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")
_FULL: Final = "full_attention"
_SLIDING: Final = "sliding_attention"


def load_config(reference: ModelReference, folder: Path, architectures: Sequence[str]) -> PreTrainedConfig:
    """Return the configuration in a checkpoint's folder.

    Raises:
        ModelError: it is damaged, of another architecture, or its layers do not attend to everything before them.
    """
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"cannot read config.json in {folder} ({one_line(error)}); {download_again(reference, damaged=True)}"
        ) from error
    named = tuple(config.architectures or ())
    if not set(named) & set(architectures):
        raise ModelError(
            f"expected a checkpoint of {' or '.join(architectures)}, {reference.id} is "
            f"{', '.join(named) or 'unnamed'}; "
            "`stvg plugins` lists the architectures of each backend"
        )
    if getattr(config, "transformers_weights", None) is not None:
        raise ModelError(
            f"expected weights under transformers' own file names in {reference.id}, config.json names "
            f"{config.transformers_weights!r}; remove transformers_weights from it and rename the file"
        )
    refuse_windows(reference, config.get_text_config())
    return config


def refuse_windows(reference: ModelReference, text: PreTrainedConfig) -> None:
    """Check that every layer attends to the whole sequence, as the mask of a packed pass assumes.

    A window over the whole context hides nothing and passes.

    Raises:
        ModelError: a layer attends within a shorter window, or in chunks.
    """
    window: Any = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or ())
    if not kinds and window is not None and getattr(text, "use_sliding_window", True):
        kinds = {_SLIDING}
    longest: Any = getattr(text, "max_position_embeddings", None)
    if isinstance(window, int) and isinstance(longest, int) and window >= longest:
        kinds.discard(_SLIDING)
    partial = sorted(kinds - {_FULL})
    if partial:
        raise ModelError(
            f"expected full attention in every layer of {reference.id}, it has {', '.join(partial)} "
            f"(sliding_window {window}, max_position_embeddings {longest}); use another checkpoint"
        )


def load_tokenizer(reference: ModelReference, folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a checkpoint's folder.

    Raises:
        ModelError: it is missing, damaged, or gives no character offsets.
    """
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(f"expected tokenizer.json in {folder}, found none; {download_again(reference)}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        # The tokenizers package raises Exception itself where a file contradicts itself.
        if type(error) is not Exception and not isinstance(error, LOAD_ERRORS):
            raise
        cure = download_again(reference, damaged=True)
        raise ModelError(f"cannot read the tokenizer of {reference.id} ({one_line(error)}); {cure}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or not tokenizer.is_fast:
        raise ModelError(f"expected a tokenizer with character offsets (tokenizer.json) in {reference.id}, found none")
    return tokenizer


def refuse_foreign_vocabulary(
    reference: ModelReference, tokenizer: PreTrainedTokenizerBase, embedding_rows: int
) -> None:
    """Check that the model has an embedding for every token of the tokenizer's plain vocabulary.

    Added tokens are skipped: a placeholder is replaced before tokenisation, and may have an id beyond the embedding
    (InternVL 3). Those in a prompt are checked with the prompt.

    Raises:
        ModelError: a token of the vocabulary has an id that is not below the embedding's rows.
    """
    added = tokenizer.added_tokens_decoder
    plain = (number for number in tokenizer.get_vocab().values() if number not in added)
    beyond = token_without_embedding(tokenizer, plain, embedding_rows)
    if beyond is not None:
        raise ModelError(
            f"expected token ids below {embedding_rows} (rows of the model's embedding) in the tokenizer of "
            f"{reference.id}, got {beyond}; tokenizer and weights are of different models: put the tokenizer files "
            "that belong to these weights into the checkpoint's folder"
        )


def token_without_embedding(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int], embedding_rows: int) -> str | None:
    """Return the highest id that an embedding has no row for, with its token; None where all have one."""
    highest = max(ids, default=-1)
    return None if highest < embedding_rows else f"{highest} ({tokenizer.convert_ids_to_tokens(highest)!r})"


@dataclass(frozen=True, eq=False)
class LoadedCheckpoint:
    """A checkpoint, ready to run.

    Attributes:
        reference: how it was named.
        model: in evaluation mode, its parameters frozen, its language model's attention `stvg_attention`.
        tokenizer: with character offsets.
        chat_template: of the checkpoint's processor, or None where the tokenizer's own counts.
        statistics: pixel normalisation.
        options: how it was loaded.
        folder: where its files are; for a hub id a snapshot of the cache, named by its commit.
    """

    reference: ModelReference
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    chat_template: str | None
    statistics: PixelStatistics
    options: LoadOptions
    folder: Path

    @property
    def language_model(self) -> nn.Module:
        """The decoder without its head."""
        return language_model_of(self.model)

    @property
    def text_config(self) -> PreTrainedConfig:
        """Configuration of the language model."""
        return self.model.config.get_text_config()

    @property
    def device(self) -> torch.device:
        """Device of the embeddings and of all inputs; with a device map the first of several."""
        return self._embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of embeddings, and of every weight that is not quantized."""
        return self._embedding.dtype

    @property
    def embedding_rows(self) -> int:
        """Number of token ids that the model can embed; may differ from the configuration's."""
        return self._embedding.shape[0]

    @property
    def _embedding(self) -> torch.Tensor:
        embed: Any = self.model.get_input_embeddings()
        weight: torch.Tensor = embed.weight
        return weight


def load_checkpoint(reference: ModelReference, options: LoadOptions, architectures: Sequence[str]) -> LoadedCheckpoint:
    """Load a checkpoint of one of several architectures.

    Raises:
        ModelError: it is missing, damaged, incomplete, of another architecture, or an option cannot be met.
        DeviceMemoryError: it does not fit.
    """
    device = choose_device(options)
    dtype = choose_dtype(options, device)
    folder = checkpoint_folder(reference)
    config = load_config(reference, folder, architectures)
    tokenizer = load_tokenizer(reference, folder)
    arguments = {
        "dtype": dtype if dtype is not None else "auto",
        "attn_implementation": attention_kernels(config, options, device, dtype),
        **quantization_arguments(reference, config, options, dtype),
        **placement_arguments(options, device, quantized=is_quantized(config, options)),
    }
    register_attention()
    model = load_model(reference, folder, config, arguments)
    language_model_of(model)
    keep_gradients(model)
    if "device_map" not in arguments:
        move_model(model, device)
    checkpoint = LoadedCheckpoint(
        reference=reference,
        model=model,
        tokenizer=tokenizer,
        chat_template=read_chat_template(folder),
        statistics=read_statistics(read_preprocessors(folder)),
        options=options,
        folder=folder,
    )
    refuse_foreign_vocabulary(reference, tokenizer, checkpoint.embedding_rows)
    return checkpoint


def language_model_of(model: nn.Module) -> nn.Module:
    """Return the decoder of a multimodal model, without its head.

    Raises:
        ModelError: the model is not laid out as transformers' multimodal models are.
    """
    decoder = getattr(getattr(model, "model", None), "language_model", None)
    if not isinstance(decoder, nn.Module):
        raise ModelError(f"expected model.language_model in {type(model).__name__}; check the transformers version")
    return decoder
