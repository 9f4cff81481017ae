"""Writes a trained model as a checkpoint folder that transformers can open."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Final

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stvg_tiny.architectures import Architecture
from stvg_tiny.pixels import preprocessor_config

PREPROCESSOR_NAME: Final = "preprocessor_config.json"


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
