"""A checkpoint's folder and its small files, and the errors for what is missing or damaged.

A hub id becomes one snapshot folder (one commit) before any file is opened, so that folders and hub ids go through the
same checks and two revisions are never mixed. Cache and offline mode are huggingface_hub's: HF_HOME, HF_HUB_CACHE,
HF_HUB_OFFLINE.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from huggingface_hub import snapshot_download
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from stvg_core._internal import plain_text
from stvg_core.errors import ModelError
from stvg_core.host.hub import (
    ADAPTER,
    CONFIG,
    base_model_of,
    download_command,
    fetch_config,
    hub_errors,
    hub_trouble,
    list_files,
    quiet,
    without_config,
)
from stvg_core.plugin.model_reference import ModelReference

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"

_SMALL_FILES: Final = ("*.json", "*.jinja", "*.txt", "tokenizer.model")
_PICKLED: Final = (".bin", ".pt", ".pth", "pytorch_model.bin.index.json")
_LARGEST_BYTES: Final = 16 * 1024 * 1024
_PROCESSOR: Final = "processor_config.json"
_TEMPLATE_FILES: Final = (_PROCESSOR, "chat_template.json")
"""Files with a processor's template, in the order of transformers' ProcessorMixin (5.23)."""
_SHOWN_CHARACTERS: Final = 300
LOAD_ERRORS: Final = (
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


def one_line(error: BaseException) -> str:
    """Return an error's message on one line without control characters, cut where it is long.

    >>> one_line(ValueError("two   words"))
    'two words'
    >>> one_line(KeyError())
    'KeyError'
    """
    return plain_text.one_line(str(error), _SHOWN_CHARACTERS) or type(error).__name__


def download_again(reference: ModelReference, *, damaged: bool = False) -> str:
    """Return the command or step that repairs a damaged or incomplete checkpoint.

    >>> download_again(ModelReference("org/model", revision="v2"))
    'run `hf download org/model --revision v2`'
    """
    if reference.folder is not None:
        return f"download the checkpoint in {reference.folder} again"
    # hf download skips files that exist, unless they are forced.
    return f"run `{download_command(reference.id, reference.revision, again=damaged)}`"


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

    The processor's template handles videos, so it takes precedence over the tokenizer's, as in
    transformers. chat_template.jinja is loaded by the tokenizer and ignored here.

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
    """Return the contents of a checkpoint's preprocessor files, the most specific first."""
    processor = read_optional_json(folder, _PROCESSOR)
    entries = [
        read_optional_json(folder, "video_preprocessor_config.json"),
        processor.get("video_processor"),
        read_optional_json(folder, "preprocessor_config.json"),
        processor.get("image_processor"),
    ]
    return [entry for entry in entries if isinstance(entry, dict)]


def checkpoint_folder(reference: ModelReference) -> Path:
    """Return a checkpoint's folder, with its weights in it; a hub id's files are fetched where they can be.

    Raises:
        ModelError: the folder or hub id is not there, its weights are incomplete, or they are no safetensors.
    """
    trouble = None
    folder = reference.folder
    if folder is None:
        folder, trouble = _snapshot(reference)
    elif not folder.is_dir():
        raise ModelError(f"expected a checkpoint folder, {folder} is not there; check --model")
    if not (folder / CONFIG).is_file():
        raise ModelError(f"expected config.json in {folder}, found none; name the folder of a whole checkpoint")
    if (folder / ADAPTER).is_file():
        advice = without_config((ADAPTER,), base_model_of(folder / ADAPTER))
        raise ModelError(f"expected a whole model in {folder}; {advice}")
    _check_weights(reference, folder, trouble)
    return folder


def weight_files(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's weight files, in the order transformers looks for them.

    Raises:
        ModelError: the index of a sharded checkpoint is damaged or names a file outside the folder.
    """
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return (WEIGHTS,)
    shards = read_optional_json(folder, INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ModelError(f"expected a weight_map in {folder / INDEX}, found none; download the checkpoint again")
    names = sorted({name if isinstance(name, str) else repr(name) for name in shards.values()})
    for name in names:
        if not _is_inside(name) or not name.endswith(".safetensors"):
            raise ModelError(
                f"expected {INDEX} to name *.safetensors files within {folder}, got {name!r}; "
                "the checkpoint is damaged or hostile: download it from its source"
            )
    return tuple(names)


def _is_inside(name: str) -> bool:
    """Return whether a file name stays below its folder, on POSIX and on Windows."""
    return not any(
        path.is_absolute() or path.drive or path.root or ".." in path.parts
        for path in (PurePosixPath(name), PureWindowsPath(name))
    )


def _check_weights(reference: ModelReference, folder: Path, trouble: Exception | None) -> None:
    names = weight_files(folder)
    absent = [name for name in names if not (folder / name).is_file()]
    if not absent:
        return
    if trouble is not None:
        cure = f"and {hub_trouble(reference.id, reference.revision, trouble)}"
    else:
        cure = download_again(reference)
    if names != (WEIGHTS,):
        raise ModelError(
            f"{len(absent)} of {len(names)} weight files of {reference.id} are missing, the first {absent[0]}; {cure}"
        )
    files = {path.name for path in folder.iterdir()}
    if reference.folder is None and trouble is None:
        # The hub answered and gave no such file, so what it has instead is the reason.
        files |= set(list_files(reference.id, folder.name))
    pickled = sorted(name for name in files if name.endswith(_PICKLED))
    if pickled:
        cure = (
            f"found only pickled ones ({pickled[0]}), which can run code when they are read and are never opened; "
            "use a revision or conversion of the model with *.safetensors files"
        )
    elif any(name.endswith(".gguf") for name in files):
        cure = f"found none; {without_config(sorted(files))}"
    else:
        cure = f"found none; {cure}" if trouble is None else f"found none, {cure}"
    raise ModelError(f"expected weights as safetensors ({WEIGHTS} or {INDEX}) in {reference.id}, {cure}")


def _snapshot(reference: ModelReference) -> tuple[Path, Exception | None]:
    """Return a hub id's folder, and the error that prevented a download, if any."""
    config, trouble = fetch_config(reference.id, reference.revision)
    folder = config.parent
    # The folder's name is its commit: a branch that moves meanwhile is not followed.
    trouble = trouble or _fetch(reference, folder.name, _SMALL_FILES)
    absent = [name for name in weight_files(folder) if not (folder / name).is_file()]
    if absent and trouble is None:
        trouble = _fetch(reference, folder.name, absent, bars=sys.stderr.isatty())
    return folder, trouble


def _fetch(reference: ModelReference, commit: str, patterns: Sequence[str], *, bars: bool = False) -> Exception | None:
    """Download files of a commit that are not cached yet; return the error, if any."""
    with quiet(bars=bars):
        try:
            snapshot_download(reference.id, revision=commit, allow_patterns=list(patterns))
        except hub_errors() as error:
            return error
    return None
