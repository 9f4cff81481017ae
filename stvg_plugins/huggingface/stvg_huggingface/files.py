"""Small JSON files of a checkpoint's folder; it knows no meaning of them beyond their keys."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stvg_core.errors import ModelError

_LARGEST_BYTES: Final = 16 * 1024 * 1024
_PROCESSOR: Final = "processor_config.json"
_TEMPLATE_FILES: Final = (_PROCESSOR, "chat_template.json")
"""Where a processor's template stands, in the order of transformers' ProcessorMixin (5.23)."""


def read_optional_json(folder: Path, name: str) -> Mapping[str, Any]:
    """Return a checkpoint file's content, or nothing where there is no such file.

    Raises:
        ModelError: the file is there and holds no JSON object.
    """
    path = folder / name
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ModelError(f"expected {name} below {_LARGEST_BYTES} bytes in {folder}; download it again")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {name} of {folder} ({error}); download the checkpoint again") from error
    if not isinstance(data, dict):
        raise ModelError(f"expected a JSON object in {name} of {folder}, got {type(data).__name__}")
    return data


def read_chat_template(folder: Path) -> str | None:
    """Return the processor's chat template, or None where only the tokenizer may have one.

    The processor's is the one that knows videos, so it goes before the tokenizer's, as in
    transformers. A chat_template.jinja is read by the tokenizer too and is not looked for here.

    Raises:
        ModelError: a template is there and is no text.
    """
    for name in _TEMPLATE_FILES:
        template = read_optional_json(folder, name).get("chat_template")
        if isinstance(template, dict):
            template = template.get("default")
        if template is None:
            continue
        if not isinstance(template, str):
            raise ModelError(
                f"expected text as chat_template in {name} of {folder}, got {type(template).__name__}; "
                "download the checkpoint again"
            )
        return template
    return None


def read_preprocessors(folder: Path) -> list[Mapping[str, Any]]:
    """Return what a checkpoint says of its pixels, the most specific first."""
    processor = read_optional_json(folder, _PROCESSOR)
    found = [
        read_optional_json(folder, "video_preprocessor_config.json"),
        processor.get("video_processor"),
        read_optional_json(folder, "preprocessor_config.json"),
        processor.get("image_processor"),
    ]
    return [entry for entry in found if isinstance(entry, dict)]
