"""Load weights into a frozen model, without transformers' messages on the terminal."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from stvg_core._internal.out_of_memory import LOADING_CURE, memory_errors
from stvg_core.errors import ModelError
from stvg_core.plugin.model_reference import ModelReference
from stvg_huggingface.devices import refuse_offloading
from stvg_huggingface.files import LOAD_ERRORS, download_again, one_line

_LOG: Final = logging.getLogger(__name__)
_JOB: Final = "loading the model"
_NO_MEMORY: Final = ("OutOfMemoryError", "DefaultCPUAllocator", "Cannot allocate memory")
"""What an error or report holds where memory ran out under another error's name."""


def load_model(
    reference: ModelReference, folder: Path, config: PreTrainedConfig, arguments: Mapping[str, Any]
) -> PreTrainedModel:
    """Return the model in a checkpoint's folder: in evaluation mode, its parameters frozen.

    Args:
        reference: for messages.
        folder: where its files are.
        config: its configuration.
        arguments: dtype, attention, quantization and placement, as `from_pretrained` takes them.

    Raises:
        ModelError: weights are damaged, missing or of other shapes, or the model does not fit its devices.
        DeviceMemoryError: memory ran out.
    """
    model = read_weights(AutoModelForImageTextToText, reference, folder, config, arguments)
    _check_head(reference, model)
    refuse_offloading(reference, model)
    return model


def read_weights(
    loader: Any,  # noqa: ANN401 - transformers' own classes are untyped here
    reference: ModelReference,
    folder: Path,
    config: PreTrainedConfig,
    arguments: Mapping[str, Any],
) -> PreTrainedModel:
    """Return a model of any kind from a checkpoint's folder: in evaluation mode, its parameters frozen.

    Args:
        loader: a class of transformers with `from_pretrained`.
        reference: for messages.
        folder: where its files are.
        config: its configuration.
        arguments: as `from_pretrained` takes them.

    Raises:
        ModelError: weights are damaged, missing or of other shapes.
        DeviceMemoryError: memory ran out.
    """
    try:
        with memory_errors(_JOB, LOADING_CURE), _collected_messages() as messages:
            try:
                model, report = loader.from_pretrained(
                    str(folder),
                    config=config,
                    use_safetensors=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                    **arguments,
                )
            except (OSError, RuntimeError) as error:
                if any(mark in text for mark in _NO_MEMORY for text in (str(error), *messages)):
                    raise MemoryError(one_line(error)) from error
                raise
    except LOAD_ERRORS as error:
        cure = "install what it names" if isinstance(error, ImportError) else download_again(reference, damaged=True)
        raise ModelError(f"cannot load {reference.id} ({one_line(error)}); {cure}") from error
    absent, unknown = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if absent:
        raise ModelError(
            f"{len(absent)} weights are missing in {reference.id}, the first {absent[0]}; "
            f"{download_again(reference, damaged=True)}"
        )
    if unknown:
        _LOG.warning("%s: left out %d weights that the model has no place for, %s", reference.id, len(unknown), unknown)
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"expected a model in {reference.id}, got {type(model).__name__}")
    model.requires_grad_(False)
    model.train(False)
    return model


def move_model(model: Any, device: torch.device) -> None:  # noqa: ANN401 - transformers' own signature is untyped
    """Move a model whose weights are neither quantized nor spread.

    Raises:
        DeviceMemoryError: it does not fit.
    """
    with memory_errors(_JOB, LOADING_CURE):
        model.to(device)


def _check_head(reference: ModelReference, model: Any) -> None:  # noqa: ANN401 - the same
    weight = getattr(model.get_output_embeddings(), "weight", None)
    if not isinstance(weight, torch.Tensor) or not weight.is_floating_point():
        raise ModelError(
            f"expected a head of plain weights in {reference.id}, it is quantized; "
            "use the checkpoint with full weights and quantization 8bit or 4bit"
        )


class _Listener(logging.Handler):
    """Collects messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _collected_messages() -> Iterator[list[str]]:
    """Collect transformers' bar and report instead of showing them: stderr belongs to the command line.

    Its records must not propagate to the root logger either, which transformers allows if `CI` is set.
    """
    voice: Any = transformers_logging
    shown, listener, library = voice.is_progress_bar_enabled(), _Listener(), voice.get_logger("transformers")
    handlers, propagate = library.handlers, library.propagate
    voice.disable_progress_bar()
    library.handlers, library.propagate = [listener], False
    try:
        yield listener.messages
    finally:
        library.handlers, library.propagate = handlers, propagate
        if shown:
            voice.enable_progress_bar()
