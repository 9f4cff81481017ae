"""From what a user types after --model to a checkpoint and its architecture; imports no torch.

Order: a named checkpoint (entry-point group `stvg.models`), a folder on disk, a hub id
whose config.json is in the local cache or can be downloaded.
"""

import difflib
import json
import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

from stvg_core.errors import ModelError, PluginError, UsageError
from stvg_core.host.hub import ADAPTER, CONFIG, base_model_of, download_command, fetch_config, without_config
from stvg_core.host.known_models import closest_checkpoint, describes_language_model
from stvg_core.host.loading import call_entry_point
from stvg_core.host.registry.metadata import InstalledEntry
from stvg_core.host.registry.selection import find_entries
from stvg_core.plugin.model_reference import ModelReference

MODEL_GROUP = "stvg.models"
_CONFIG_BYTES = 4 * 1024 * 1024
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ResolvedModel:
    """A reference and what its config.json says.

    Attributes:
        reference: how the user named it.
        architecture: the first that config.json names.
        is_language_model: config.json describes nothing that sees.
    """

    reference: ModelReference
    architecture: str
    is_language_model: bool = False


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
        return _read(ModelReference(model, folder), folder / CONFIG)
    if path is not None and path.is_dir():
        return _read(ModelReference(model, path.resolve()), path / CONFIG)
    if path is not None:
        raise ModelError(f"expected a checkpoint folder, got the file {model}; name the folder that holds config.json")
    if _HUB_ID.fullmatch(model):
        return _read(ModelReference(model, revision=revision), fetch_config(model, revision)[0])
    for entry, disabled in find_entries(MODEL_GROUP):
        if entry.point.name == model and disabled:
            raise ModelError(f"model {model!r} of {entry.distribution.name} is disabled: {disabled}")
    near = closest_checkpoint(model) or next(iter(difflib.get_close_matches(model, named, n=1)), None)
    hint = f"did you mean {near!r}? " if near else ""
    raise ModelError(
        f"unknown model {model!r}: {hint}expected a folder, a hub id such as Qwen/Qwen2-VL-7B-Instruct, "
        f"or one of {', '.join(named) or 'no named models (pip install stvg-tiny has some)'}"
    )


def read_architecture(config: Path) -> str:
    """Return the architecture that a config.json names.

    Raises:
        ModelError: the file is missing, too large, no JSON, or names no architecture.
    """
    return _read(ModelReference(str(config.parent), config.parent), config).architecture


def _read(reference: ModelReference, config: Path) -> ResolvedModel:
    if not config.is_file():
        names = [path.name for path in config.parent.iterdir()] if config.parent.is_dir() else []
        advice = without_config(names, base_model_of(config.parent / ADAPTER))
        raise ModelError(f"expected a checkpoint with {CONFIG} in {config.parent}, found none; {advice}")
    if config.stat().st_size > _CONFIG_BYTES:
        raise ModelError(f"expected a config.json below {_CONFIG_BYTES} bytes, got {config.stat().st_size} in {config}")
    try:
        data = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        again = (
            "download the checkpoint again"
            if reference.folder is not None
            else f"run `{download_command(reference.id, reference.revision, again=True)}`"
        )
        raise ModelError(f"cannot read {config}: {error}; {again}") from error
    architectures = data.get("architectures") if isinstance(data, dict) else None
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise ModelError(f"expected 'architectures' in {config}, found none; it is not a model's configuration")
    return ResolvedModel(reference, architectures[0], describes_language_model(architectures[0], frozenset(data)))


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
