"""Opening detectors and segmenters: a folder or hub id, safetensors alone, no code of a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from stvg_core.plugin import LoadOptions, ModelError, ModelReference
from stvg_huggingface.damage import DAMAGE, download_again, one_line
from stvg_huggingface.devices import choose_device, choose_dtype
from stvg_huggingface.files import read_preprocessors
from stvg_huggingface.pixels import PixelStatistics, read_statistics
from stvg_huggingface.snapshots import checkpoint_folder
from stvg_huggingface.weights import move_model, read_weights

_OWN_WORDS: Final = "name a folder or hub id of that kind in the tracker's settings"


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A detector or segmenter, ready to run.

    Attributes:
        id: as the user named it.
        folder: where its files are; a hub id's snapshot is named by its commit.
        model: in evaluation mode, its parameters frozen.
        device: where it computes.
        statistics: its pixel normalisation.
    """

    id: str
    folder: Path
    model: PreTrainedModel
    device: torch.device
    statistics: PixelStatistics

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer beside the model.

        Raises:
            ModelError: it is missing or damaged.
        """
        try:
            found: Any = AutoTokenizer.from_pretrained(str(self.folder), trust_remote_code=False)
        except DAMAGE as error:
            raise ModelError(
                f"cannot read the tokenizer of {self.id} ({one_line(error)}); download it again"
            ) from error
        if not isinstance(found, PreTrainedTokenizerBase):
            raise ModelError(f"expected a tokenizer beside {self.id}, found none; download it again")
        return found


def checkpoint_stamp(name: str) -> list[Any]:
    """Return what tells a checkpoint from another of the same name: a folder's files; a hub id stands for itself."""
    folder = Path(name)
    if not folder.is_dir():
        return [name]
    files = sorted(path for pattern in ("*.safetensors", "*.json") for path in folder.glob(pattern))
    return [name, *([path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files)]


def load(
    name: str,
    model_types: tuple[str, ...],
    loader: Any,  # noqa: ANN401  # transformers' own classes are untyped here
    device: str,
    dtype: str,
) -> LoadedModel:
    """Return a model of one of the given types.

    Args:
        name: a folder, or a hub id that is downloaded or in the local cache.
        model_types: as config.json says them ("sam2_video").
        loader: class of transformers that reads the weights.
        device: "auto", "cpu", "cuda" ...
        dtype: "auto" or a name.

    Raises:
        ModelError: it is missing, damaged, of another type, or the device is not there.
        DeviceMemoryError: it does not fit.
    """
    reference = ModelReference(name, Path(name) if Path(name).is_dir() else None)
    options = LoadOptions(device=device, dtype=dtype)
    chosen = choose_device(options)
    precision = choose_dtype(options, chosen)
    folder = checkpoint_folder(reference)
    config = _config(reference, folder, model_types)
    # The attention kernel is transformers' own choice: Grounding DINO has no other than its own.
    arguments = {"dtype": precision if precision is not None else "auto"}
    model = read_weights(loader, reference, folder, config, arguments)
    move_model(model, chosen)
    return LoadedModel(name, folder, model, chosen, read_statistics(read_preprocessors(folder)))


def _config(reference: ModelReference, folder: Path, model_types: tuple[str, ...]) -> PreTrainedConfig:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except DAMAGE as error:
        raise ModelError(
            f"cannot read config.json in {folder} ({one_line(error)}); {download_again(reference, damaged=True)}"
        ) from error
    if config.model_type not in model_types:
        raise ModelError(
            f"expected a checkpoint of type {' or '.join(model_types)}, {reference.id} is {config.model_type}; "
            f"{_OWN_WORDS}"
        )
    return config
