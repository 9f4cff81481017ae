"""Tiny models written to disk as the hub's repositories are laid out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from transformers import PreTrainedModel

from stvg_core.errors import UsageError
from stvg_huggingface.testing.models import TINY_FAMILIES

TemplateFile = Literal["chat_template.jinja", "chat_template.json", "none"]

_STATISTICS: Final = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.3, 0.35]}
"""Other numbers in every channel and no family's own, so that a mix-up shows."""


def save_tiny_model(
    family: str,
    folder: Path,
    *,
    layers: int = 4,
    seed: int = 0,
    template_file: TemplateFile = "chat_template.jinja",
    prepare: Callable[[PreTrainedModel], None] | None = None,
) -> Path:
    """Write a tiny random model in hub layout and return its folder.

    Args:
        family: one of TINY_FAMILIES.
        folder: made where it is not there.
        layers: decoder layers.
        seed: of the weights.
        template_file: where the chat template stands (older repositories: chat_template.json).
        prepare: given the model before it is written, to change its weights.

    Raises:
        UsageError: there is no such family.
    """
    if family not in TINY_FAMILIES:
        raise UsageError(f"expected a family of {', '.join(TINY_FAMILIES)}, got {family!r}")
    model, tokenizer = TINY_FAMILIES[family](layers=layers, seed=seed)
    if prepare is not None:
        prepare(model)
    template: Any = tokenizer.chat_template
    tokenizer.chat_template = template if template_file == "chat_template.jinja" else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if template_file == "chat_template.json":
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(_STATISTICS), encoding="utf-8")
    return folder


def save_tiny_qwen2_vl(
    folder: Path,
    version: Literal["2", "2.5"] = "2",
    *,
    layers: int = 4,
    seed: int = 0,
    template_file: TemplateFile = "chat_template.jinja",
) -> Path:
    """Write a tiny Qwen2-VL or Qwen2.5-VL as `save_tiny_model` does, and return its folder."""
    return save_tiny_model(f"qwen{version}-vl", folder, layers=layers, seed=seed, template_file=template_file)
