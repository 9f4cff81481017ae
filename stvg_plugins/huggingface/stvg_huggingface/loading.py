"""Opening a checkpoint: tokenizer, frozen model, template and pixel statistics.

Weights are read from safetensors only and no code of a checkpoint is ever run. Whatever goes
wrong is one ModelError with the cure. This module knows no family of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.errors import ModelError
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_huggingface.capture import register_attention
from stvg_huggingface.configuration import load_config
from stvg_huggingface.devices import attention_kernels, choose_device, choose_dtype
from stvg_huggingface.files import read_chat_template, read_preprocessors
from stvg_huggingface.pixels import PixelStatistics, read_statistics
from stvg_huggingface.placement import placement_arguments
from stvg_huggingface.quantization import is_quantized, keep_gradients, quantization_arguments
from stvg_huggingface.snapshots import checkpoint_folder
from stvg_huggingface.tokenizer import load_tokenizer, refuse_foreign_vocabulary
from stvg_huggingface.weights import load_model, move_model


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
        """Where embeddings live, and what the model reads must be; with a device map the first of several."""
        return self._embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of embeddings, and of every weight that is not quantized."""
        return self._embedding.dtype

    @property
    def embedding_rows(self) -> int:
        """How many token ids the model can embed; a configuration may name another number."""
        return self._embedding.shape[0]

    @property
    def _embedding(self) -> torch.Tensor:
        embed: Any = self.model.get_input_embeddings()
        weight: torch.Tensor = embed.weight
        return weight


def load_checkpoint(reference: ModelReference, options: LoadOptions, architectures: Sequence[str]) -> LoadedCheckpoint:
    """Load a checkpoint of one of the given architectures.

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
