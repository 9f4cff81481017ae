"""Opens a decomposer by the name that the user types.

Reads entry-point group `stvg.decomposers`; imports the chosen one and no other. Imports no
numpy itself, so that the command line can list names at no cost.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from stvg_core.errors import UsageError
from stvg_core.host.entry_points import extension_names, open_extension

if TYPE_CHECKING:
    from stvg_core.plugin.decomposer import Decomposer, GenerateText

GROUP: Final = "stvg.decomposers"
_FILE: Final = "file:"
_BUILT_IN: Final = ("file:PATH", "mllm", "rules")


def decomposer_names() -> tuple[str, ...]:
    """Return every name that `open_decomposer` takes, sorted; imports none of them."""
    return extension_names(GROUP, _BUILT_IN)


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
        from stvg_core.inputs.query.from_file import FileDecomposer

        return FileDecomposer(Path(name_or_path.removeprefix(_FILE)), video_name=video_name)
    if name_or_path == "mllm":
        if generate is None:
            raise UsageError("expected a loaded model for decomposer mllm, got none; name a model, or use rules")
        from stvg_core.inputs.query.from_model import ModelDecomposer

        return ModelDecomposer(generate)
    if name_or_path == "rules":
        from stvg_core.inputs.query.rules import RulesDecomposer

        return RulesDecomposer()
    from stvg_core.plugin.decomposer import Decomposer

    # mypy takes a Protocol for abstract here; isinstance does not.
    return open_extension(GROUP, "decomposer", Decomposer, name_or_path, decomposer_names())  # type: ignore[type-abstract]
