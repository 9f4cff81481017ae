"""From what a user types after --model to a checkpoint and its architecture; imports no torch.

Order: a named checkpoint (entry-point group `stvg.models`), a folder on disk, a hub id
whose config.json is in the local cache or can be downloaded.
"""

import difflib
import json
import re
import shlex
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

from stvg_core.errors import ModelError, PluginError, UsageError
from stvg_core.identity import ModelReference
from stvg_core.registry.loading import call_entry_point
from stvg_core.registry.metadata import InstalledEntry
from stvg_core.registry.selection import find_entries

MODEL_GROUP = "stvg.models"
_CONFIG_BYTES = 4 * 1024 * 1024
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ResolvedModel:
    """A reference and the architecture that its config.json names."""

    reference: ModelReference
    architecture: str


def named_models() -> dict[str, EntryPoint]:
    """Return the named checkpoints that installed distributions offer and the environment lets in, by name."""
    return {name: entry.point for name, entry in named_entries().items()}


def named_entries() -> dict[str, InstalledEntry]:
    """Return what `named_models` does, each with the distribution that holds it."""
    found = {entry.point.name: entry for entry, disabled in find_entries(MODEL_GROUP) if not disabled}
    return dict(sorted(found.items()))


def resolve_model(model: str, revision: str | None = None) -> ResolvedModel:
    """Return the checkpoint and architecture that a model name stands for.

    Args:
        model: a named checkpoint, a folder, or a hub id.
        revision: a hub id's branch, tag or commit; None: its main branch.

    Raises:
        UsageError: a revision was given for what is no hub id.
        ModelError: the name is unknown, or its folder or config.json cannot be read.
    """
    named = named_entries()
    path = _local_path(model)
    if revision is not None and (model in named or path is not None):
        raise UsageError(
            f"expected a hub id such as Qwen/Qwen2-VL-7B-Instruct beside revision {revision!r}, got "
            f"{'the named checkpoint' if model in named else 'the local path'} {model}; leave the revision out"
        )
    if model in named:
        folder = _named_folder(named[model])
        return ResolvedModel(ModelReference(model, folder), read_architecture(folder / "config.json"))
    if path is not None and path.is_dir():
        return ResolvedModel(ModelReference(model, path.resolve()), read_architecture(path / "config.json"))
    if path is not None:
        raise ModelError(f"expected a checkpoint folder, got the file {model}; name the folder that holds config.json")
    if _HUB_ID.fullmatch(model):
        config = _hub_config(model, revision)
        return ResolvedModel(ModelReference(model, revision=revision), read_architecture(config))
    for entry, disabled in find_entries(MODEL_GROUP):
        if entry.point.name == model and disabled:
            raise ModelError(f"model {model!r} of {entry.distribution.name} is disabled: {disabled}")
    near = difflib.get_close_matches(model, named, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ModelError(
        f"unknown model {model!r}: {hint}expected a folder, a hub id such as Qwen/Qwen2-VL-7B-Instruct, "
        f"or one of {', '.join(named) or 'no named models (pip install stvg-tiny has some)'}"
    )


def download_command(model: str, revision: str | None = None) -> str:
    """Return the command that puts a hub model into the local cache.

    >>> download_command("Qwen/Qwen2-VL-7B-Instruct", "v1.0")
    'hf download Qwen/Qwen2-VL-7B-Instruct --revision v1.0'
    """
    return f"hf download {model}" + ("" if revision is None else f" --revision {shlex.quote(revision)}")


def read_architecture(config: Path) -> str:
    """Return the architecture that a config.json names.

    Raises:
        ModelError: the file is missing, too large, no JSON, or names no architecture.
    """
    if not config.is_file():
        raise ModelError(
            f"expected a checkpoint with config.json in {config.parent}, found none; is it the right folder?"
        )
    if config.stat().st_size > _CONFIG_BYTES:
        raise ModelError(f"expected a config.json below {_CONFIG_BYTES} bytes, got {config.stat().st_size} in {config}")
    try:
        data = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {config}: {error}; download the checkpoint again") from error
    architectures = data.get("architectures") if isinstance(data, dict) else None
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise ModelError(f"expected 'architectures' in {config}, found none; it is not a model's configuration")
    return architectures[0]


def _local_path(model: str) -> Path | None:
    """Return the file or folder of that name, where there is one."""
    try:
        path = Path(model).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        # Too long for a path, of an unknown user, or with a null character.
        return None


def _named_folder(entry: InstalledEntry) -> Path:
    title, owner = f"model {entry.point.name!r}", entry.distribution.name
    owners = sorted(
        other.distribution.name
        for other, disabled in find_entries(MODEL_GROUP)
        if other.point.name == entry.point.name and not disabled
    )
    if len(owners) > 1:
        raise ModelError(
            f"expected one {title}, got one from each of {' and '.join(owners)}; uninstall one, "
            "or name it in STVG_DISABLE_PLUGINS"
        )
    try:
        folder = call_entry_point(entry.point, f"{title} of {owner}", f"pip install --force-reinstall {owner}")
    except PluginError as error:
        raise ModelError(str(error)) from error
    if not isinstance(folder, Path):
        raise ModelError(f"expected {entry.point.value} of {owner} to return a folder, got {type(folder).__name__}")
    return folder


def _hub_config(model: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ModelError(f"hub id {model!r} needs huggingface_hub; pip install stvg-huggingface") from error
    try:
        return Path(hf_hub_download(model, "config.json", revision=revision))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        wanted = model if revision is None else f"{model} at revision {revision}"
        raise ModelError(
            f"{wanted!r} is neither a folder nor in the local hub cache, and the hub did not give it; "
            f"download it where there is a network: {download_command(model, revision)}"
        ) from error
