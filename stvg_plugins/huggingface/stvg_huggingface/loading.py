"""Opening a checkpoint: tokenizer, frozen model, template and pixel statistics.

Weights are read from safetensors only and no code of a checkpoint is ever run. Whatever goes
wrong is one ModelError with the cure. This module knows no family of models.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from stvg_core.errors import ModelError
from stvg_core.identity import LoadOptions, ModelReference
from stvg_huggingface.capture import ATTENTION_NAME, register_attention
from stvg_huggingface.devices import choose_device, choose_dtype
from stvg_huggingface.files import read_chat_template, read_preprocessors
from stvg_huggingface.pixels import PixelStatistics, read_statistics

_DAMAGE: Final = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises on a missing, damaged or foreign checkpoint."""

_SHOWN_CHARACTERS: Final = 300
_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True, eq=False)
class LoadedCheckpoint:
    """A checkpoint, ready to run.

    Attributes:
        reference: how it was named.
        model: in evaluation mode, its parameters frozen, its language model's attention `stvg_attention`.
        tokenizer: with character offsets.
        chat_template: of chat_template.json, or None where the tokenizer has its own.
        statistics: pixel normalisation.
    """

    reference: ModelReference
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    chat_template: str | None
    statistics: PixelStatistics

    @property
    def language_model(self) -> nn.Module:
        """The decoder without its head."""
        return language_model_of(self.model)

    @property
    def text_config(self) -> PreTrainedConfig:
        """Configuration of the language model."""
        return self.model.config.get_text_config()


def load_checkpoint(reference: ModelReference, options: LoadOptions, architectures: Sequence[str]) -> LoadedCheckpoint:
    """Load a checkpoint of one of the given architectures.

    Raises:
        ModelError: it is missing, damaged, incomplete, of another architecture, or does not fit the device.
    """
    device = choose_device(options)
    dtype = choose_dtype(options, device)
    config = _load_config(reference, architectures)
    tokenizer = _load_tokenizer(reference)
    model = _load_model(reference, config, dtype)
    module: nn.Module = model
    try:
        module.to(device)
    except RuntimeError as error:
        raise ModelError(
            f"cannot move {reference.id} to {device} ({_first_line(error)}); free memory there, or use a smaller model"
        ) from error
    return LoadedCheckpoint(
        reference=reference,
        model=model,
        tokenizer=tokenizer,
        chat_template=None if tokenizer.chat_template else read_chat_template(reference),
        statistics=read_statistics(read_preprocessors(reference)),
    )


def language_model_of(model: nn.Module) -> nn.Module:
    """Return the decoder of a multimodal model, without its head.

    Raises:
        ModelError: the model is not laid out as transformers' multimodal models are.
    """
    decoder = getattr(getattr(model, "model", None), "language_model", None)
    if not isinstance(decoder, nn.Module):
        raise ModelError(f"expected model.language_model in {type(model).__name__}; check the transformers version")
    return decoder


def _load_config(reference: ModelReference, architectures: Sequence[str]) -> PreTrainedConfig:
    folder = reference.folder
    if folder is not None and not folder.is_dir():
        raise ModelError(f"expected a checkpoint folder, {folder} is not there; check --model")
    if folder is not None and not (folder / "config.json").is_file():
        raise ModelError(f"expected config.json in {folder}, found none; name the folder of a whole checkpoint")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            reference.source, trust_remote_code=False, **_revision(reference)
        )
    except _DAMAGE as error:
        if folder is None:
            raise ModelError(
                f"model {reference.id!r} is not in the local cache and could not be fetched ({_first_line(error)}); "
                f"run `hf download {reference.id}` where there is a network, or name a folder"
            ) from error
        raise ModelError(f"cannot read config.json in {folder} ({_first_line(error)}); download it again") from error
    found = tuple(config.architectures or ())
    if not set(found) & set(architectures):
        raise ModelError(
            f"expected a checkpoint of {' or '.join(architectures)}, {reference.id} is "
            f"{', '.join(found) or 'unnamed'}; "
            "`stvg plugins` lists which backend reads which architecture"
        )
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise ModelError(f"expected full attention in every layer of {reference.id}, it has {', '.join(sorted(kinds))}")
    return config


def _load_tokenizer(reference: ModelReference) -> PreTrainedTokenizerBase:
    folder = reference.folder
    if folder is not None and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(f"expected tokenizer.json in {folder}, found none; download the whole checkpoint")
    try:
        tokenizer = AutoTokenizer.from_pretrained(reference.source, trust_remote_code=False, **_revision(reference))
    except _DAMAGE as error:
        raise ModelError(
            f"cannot read the tokenizer of {reference.id} ({_first_line(error)}); {_again(reference)}"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or not tokenizer.is_fast:
        raise ModelError(f"expected a tokenizer with character offsets (tokenizer.json) in {reference.id}, found none")
    return tokenizer


def _load_model(reference: ModelReference, config: PreTrainedConfig, dtype: torch.dtype | None) -> PreTrainedModel:
    loader: Any = AutoModelForImageTextToText
    folder = reference.folder
    if folder is not None and not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"expected weights as safetensors in {folder}, found none (other weight files are not opened); "
            "download the checkpoint's *.safetensors files"
        )
    register_attention()
    try:
        with _quiet():
            model, report = loader.from_pretrained(
                reference.source,
                config=config,
                dtype=dtype if dtype is not None else "auto",
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation={"text_config": ATTENTION_NAME},
                output_loading_info=True,
                **_revision(reference),
            )
    except _DAMAGE as error:
        raise ModelError(f"cannot load {reference.id} ({_first_line(error)}); {_again(reference)}") from error
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(
            f"{len(absent)} weights are missing in {reference.id}, the first {absent[0]}; {_again(reference)}"
        )
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"expected a model in {reference.id}, got {type(model).__name__}")
    language_model_of(model)
    model.requires_grad_(False)
    model.train(False)
    return model


def _revision(reference: ModelReference) -> dict[str, Any]:
    return {} if reference.revision is None else {"revision": reference.revision}


def _again(reference: ModelReference) -> str:
    if reference.folder is not None:
        return f"download the checkpoint in {reference.folder} again"
    return f"run `hf download {reference.id}`"


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold transformers' loading bar back: stderr belongs to the command line."""
    bars: Any = transformers_logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
