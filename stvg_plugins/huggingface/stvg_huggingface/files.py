"""Small JSON files of a checkpoint, in a folder or in the hub's cache; it knows no meaning of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from stvg_core.errors import ModelError
from stvg_core.identity import ModelReference

_LARGEST_BYTES = 4 * 1024 * 1024


def read_optional_json(reference: ModelReference, name: str) -> Mapping[str, Any]:
    """Return a checkpoint file's content, or nothing where there is no such file.

    Raises:
        ModelError: the file is there and holds no JSON object.
    """
    path = _find(reference, name)
    if path is None:
        return {}
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ModelError(f"expected {name} below {_LARGEST_BYTES} bytes in {reference.id}; download it again")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {name} of {reference.id} ({error}); download the checkpoint again") from error
    if not isinstance(data, dict):
        raise ModelError(f"expected a JSON object in {name} of {reference.id}, got {type(data).__name__}")
    return data


def read_chat_template(reference: ModelReference) -> str | None:
    """Return the template of chat_template.json, where older repositories keep it, or None."""
    template = read_optional_json(reference, "chat_template.json").get("chat_template")
    return template if isinstance(template, str) else None


def read_preprocessors(reference: ModelReference) -> list[Mapping[str, Any]]:
    """Return what a checkpoint says of its pixels, the most specific first."""
    processor = read_optional_json(reference, "processor_config.json")
    found = [
        read_optional_json(reference, "video_preprocessor_config.json"),
        processor.get("video_processor"),
        read_optional_json(reference, "preprocessor_config.json"),
        processor.get("image_processor"),
    ]
    return [entry for entry in found if isinstance(entry, dict)]


def _find(reference: ModelReference, name: str) -> Path | None:
    if reference.folder is not None:
        path = reference.folder / name
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(reference.id, name, revision=reference.revision))
    except (EntryNotFoundError, HfHubHTTPError, OSError, ValueError):
        return None
