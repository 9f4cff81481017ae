"""The folder that holds a checkpoint's files: on disk already, or a snapshot of the hub's cache.

A hub id becomes one snapshot folder (one commit) before anything is read, so that folders and
hub ids go through the same checks and never mix two revisions. Cache and offline mode are
huggingface_hub's own: HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE.
"""

import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from huggingface_hub import snapshot_download

from stvg_core.errors import ModelError
from stvg_core.host.hub import (
    ADAPTER,
    CONFIG,
    base_model_of,
    fetch_config,
    hub_errors,
    hub_trouble,
    list_files,
    quiet,
    without_config,
)
from stvg_core.plugin.model_reference import ModelReference
from stvg_huggingface.damage import download_again
from stvg_huggingface.files import read_optional_json

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"

_SMALL_FILES: Final = ("*.json", "*.jinja", "*.txt", "tokenizer.model")
_PICKLED: Final = (".bin", ".pt", ".pth", "pytorch_model.bin.index.json")


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
    """Return whether a file name stays below its folder, as POSIX and as Windows read it."""
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
            f"found pickled ones alone ({pickled[0]}), which can run code when they are read and are never opened; "
            "use a revision or conversion of the model with *.safetensors files"
        )
    elif any(name.endswith(".gguf") for name in files):
        cure = f"found none; {without_config(sorted(files))}"
    else:
        cure = f"found none; {cure}" if trouble is None else f"found none, {cure}"
    raise ModelError(f"expected weights as safetensors ({WEIGHTS} or {INDEX}) in {reference.id}, {cure}")


def _snapshot(reference: ModelReference) -> tuple[Path, Exception | None]:
    """Return a hub id's folder, and what kept files of it from being fetched, if anything."""
    config, trouble = fetch_config(reference.id, reference.revision)
    folder = config.parent
    # The folder's name is its commit: a branch that moves meanwhile is not followed.
    trouble = trouble or _fetch(reference, folder.name, _SMALL_FILES)
    absent = [name for name in weight_files(folder) if not (folder / name).is_file()]
    if absent and trouble is None:
        trouble = _fetch(reference, folder.name, absent, bars=sys.stderr.isatty())
    return folder, trouble


def _fetch(reference: ModelReference, commit: str, patterns: Sequence[str], *, bars: bool = False) -> Exception | None:
    """Fetch files of a commit that are not cached yet, and return what went wrong, if anything."""
    with quiet(bars=bars):
        try:
            snapshot_download(reference.id, revision=commit, allow_patterns=list(patterns))
        except hub_errors() as error:
            return error
    return None
