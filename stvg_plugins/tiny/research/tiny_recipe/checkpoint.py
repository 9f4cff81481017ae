"""Checkpoint folders: written as transformers opens them, and loaded for inference in fp32."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerFast

from tiny_recipe.architectures import Architecture, architecture_of
from tiny_recipe.errors import CheckpointError
from tiny_recipe.pixels import preprocessor_config

PREPROCESSOR_NAME: Final = "preprocessor_config.json"
_HEADER_LENGTH_BYTES: Final = 8


def export_checkpoint(
    architecture: Architecture, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Save weights (half precision), configuration, tokenizer, chat template and preprocessing."""
    folder.mkdir(parents=True, exist_ok=True)
    half: PreTrainedModel = copy.deepcopy(model).half()  # type: ignore[no-untyped-call]
    half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    text = json.dumps(preprocessor_config(architecture), indent=2)
    (folder / PREPROCESSOR_NAME).write_text(f"{text}\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A saved checkpoint, ready for inference in fp32."""

    architecture: Architecture
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint.

    Raises:
        CheckpointError: If the folder holds no checkpoint, or one of an unknown architecture.
    """
    if not (folder / "config.json").exists():
        raise CheckpointError(f"expected a checkpoint folder, but {folder} has no config.json")
    architecture = architecture_of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model.train(False)
    return Checkpoint(architecture, model, tokenizer)


def parameter_count(folder: Path) -> int:
    """Return how many weights a checkpoint's file holds, from its header.

    Raises:
        CheckpointError: There is no such file.
    """
    path = folder / "model.safetensors"
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_HEADER_LENGTH_BYTES), "little")
            header = json.loads(file.read(length))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected weights in {path}: {error}") from error
    shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    return sum(int(torch.Size(shape).numel()) for shape in shapes)
