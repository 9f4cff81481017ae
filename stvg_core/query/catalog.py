"""Opens a decomposer by the name that the user types.

Reads entry-point group `stvg.decomposers`; imports the chosen one and no other. Imports no
numpy itself, so that the command line can list names at no cost.
"""

import difflib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stvg_core.errors import PluginError, UsageError

if TYPE_CHECKING:
    from stvg_core.query.decomposer import Decomposer, GenerateText

GROUP: Final = "stvg.decomposers"
_FILE: Final = "file:"
_BUILT_IN: Final = ("file:PATH", "mllm", "rules")


def decomposer_names() -> tuple[str, ...]:
    """Return every name that `open_decomposer` takes, sorted; imports none of them."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def open_decomposer(name_or_path: str, *, generate: "GenerateText | None", video_name: str | None) -> "Decomposer":
    """Return the decomposer of this name.

    Args:
        name_or_path: "rules", "mllm", "file:PATH", or a name that a plugin registers.
        generate: text generation of the loaded model; "mllm" needs it.
        video_name: file name of the video; a file keyed by video needs it.

    Raises:
        UsageError: the name is unknown, or "mllm" is asked for where no model is loaded.
        QueryError: the file is missing or malformed.
        PluginError: a plugin cannot be imported, or two claim the name.

    >>> open_decomposer("rules", generate=None, video_name=None).name
    'rules'
    """
    if name_or_path.startswith(_FILE):
        from stvg_core.query.from_file import FileDecomposer

        return FileDecomposer(Path(name_or_path.removeprefix(_FILE)), video_name=video_name)
    if name_or_path == "mllm":
        if generate is None:
            raise UsageError("expected a loaded model for decomposer mllm, got none; name a model, or use rules")
        from stvg_core.query.from_model import ModelDecomposer

        return ModelDecomposer(generate)
    if name_or_path == "rules":
        from stvg_core.query.rules import RulesDecomposer

        return RulesDecomposer()
    return _open_plugin(name_or_path)


def _open_plugin(name: str) -> "Decomposer":
    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        names = decomposer_names()
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise UsageError(f"expected a decomposer ({', '.join(names)}), got {name!r}{hint}")
    if len({point.value for point in points}) > 1:
        owners = " and ".join(sorted(_distribution(point) for point in points))
        raise PluginError(f"expected one decomposer named {name!r}, got one from each of {owners}; uninstall one")
    return _load(points[0])


def _load(point: EntryPoint) -> "Decomposer":
    from stvg_core.query.decomposer import Decomposer

    owner = _distribution(point)
    try:
        decomposer = point.load()()
    except Exception as error:
        raise PluginError(
            f"expected decomposer {point.name!r} of {owner} to load, got {type(error).__name__}: {error}; "
            f"reinstall it (pip install --force-reinstall {owner}) or uninstall it"
        ) from error
    if not isinstance(decomposer, Decomposer):
        raise PluginError(
            f"expected {point.value} of {owner} to return a Decomposer (name, decompose), got "
            f"{type(decomposer).__name__}; update {owner}"
        )
    return decomposer


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"
