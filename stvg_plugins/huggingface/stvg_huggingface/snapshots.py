"""The folder that holds a checkpoint's files: on disk already, or a snapshot of the hub's cache.

A hub id becomes one snapshot folder (one commit) before anything is read, so that folders and
hub ids go through the same checks and never mix two revisions. Cache and offline mode are
huggingface_hub's own: HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from stvg_core.errors import ModelError
from stvg_core.identity import ModelReference
from stvg_huggingface.damage import download_again, one_line
from stvg_huggingface.files import read_optional_json

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"

_SMALL_FILES: Final = ("*.json", "*.jinja", "*.txt", "tokenizer.model")
_NO_ANSWER: Final[tuple[type[Exception], ...]] = (
    OSError,
    ValueError,
    # httpx's base of connection errors, of httpx or httpx2 as huggingface_hub's version has it.
    *(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError" and issubclass(base, Exception)),
)
"""What huggingface_hub raises where it is offline, gets no connection, or a hub refuses."""
_PICKLED: Final = ("*.bin", "*.pt", "*.pth", "pytorch_model.bin.index.json")


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
    if not (folder / "config.json").is_file():
        cure = "name the folder of a whole checkpoint" if reference.folder is not None else download_again(reference)
        raise ModelError(f"expected config.json in {folder}, found none; {cure}")
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"expected a whole model in {folder}, found an adapter; merge it into its model and save that")
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


def _check_weights(reference: ModelReference, folder: Path, trouble: BaseException | None) -> None:
    names = weight_files(folder)
    absent = [name for name in names if not (folder / name).is_file()]
    if not absent:
        return
    cure = download_again(reference) if trouble is None else f"{one_line(trouble)}: {download_again(reference)}"
    if names != (WEIGHTS,):
        raise ModelError(
            f"{len(absent)} of {len(names)} weight files of {reference.id} are missing, the first {absent[0]}; {cure}"
        )
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    found = (
        f"found pickled ones alone ({pickled[0]}), which can run code when they are read and are never opened; "
        "use a revision or conversion of the model with *.safetensors files"
        if pickled
        else f"found none; {cure}"
    )
    raise ModelError(f"expected weights as safetensors ({WEIGHTS} or {INDEX}) in {reference.id}, {found}")


def _snapshot(reference: ModelReference) -> tuple[Path, BaseException | None]:
    """Return a hub id's folder, and what kept its weights from being fetched, if anything."""
    with _without_bars():
        folder, trouble = _fetch(reference, reference.revision, _SMALL_FILES)
    if folder is None:
        at = "" if reference.revision is None else f" at revision {reference.revision!r}"
        reason = "" if trouble is None else f" ({one_line(trouble)})"
        raise ModelError(
            f"model {reference.id!r}{at} is not in the local cache and could not be fetched{reason}; "
            f"{download_again(reference)} where there is a network, or name a folder"
        ) from trouble
    absent = [name for name in weight_files(folder) if not (folder / name).is_file()]
    if not absent:
        return folder, None
    # The folder's name is its commit: a branch that moves meanwhile is not followed.
    return folder, _fetch(reference, folder.name, absent)[1]


def _fetch(
    reference: ModelReference, revision: str | None, patterns: Sequence[str]
) -> tuple[Path | None, BaseException | None]:
    """Return the snapshot of a revision, fetched or else as far as it is cached, and what went wrong."""
    try:
        return Path(snapshot_download(reference.id, revision=revision, allow_patterns=list(patterns))), None
    except _NO_ANSWER as error:
        try:
            config = hf_hub_download(reference.id, "config.json", revision=revision, local_files_only=True)
        except _NO_ANSWER:
            return None, error
        return Path(config).parent, error


@contextmanager
def _without_bars() -> Iterator[None]:
    """Hold bars of small files back: stderr belongs to the command line."""
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
