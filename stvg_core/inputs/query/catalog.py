"""Opens decomposers by name (entry-point group `stvg.decomposers`); imports the chosen one and no other.

Imports no numpy, so that the command line can list names at no cost.
"""

from typing import TYPE_CHECKING, Final

from stvg_core.host.loading import open_plugin, plugin_names

if TYPE_CHECKING:
    from stvg_core.plugin.decomposer import Decomposer, GenerateText

GROUP: Final = "stvg.decomposers"


def decomposer_names() -> tuple[str, ...]:
    """Return every name that `open_decomposer` takes, sorted; imports none of them."""
    return plugin_names(GROUP)


def check_decomposer(name_or_path: str) -> None:
    """Check that there is a decomposer of this name, before a model is loaded; imports none.

    Raises:
        UsageError: the name is unknown.
        PluginError: two plugins claim the name.
    """
    name = name_or_path.partition(":")[0]
    if name not in {known.partition(":")[0] for known in decomposer_names()}:
        open_decomposer(name_or_path, generate=None, video_name=None)


def open_decomposer(name_or_path: str, *, generate: "GenerateText | None", video_name: str | None) -> "Decomposer":
    """Return the decomposer of this name.

    Args:
        name_or_path: NAME or NAME:ARGUMENT, such as "rules", "mllm", "file:PATH".
        generate: text generation of the loaded model; "mllm" needs it.
        video_name: file name of the video; a file keyed by video needs it.

    Raises:
        UsageError: the name is unknown, or "mllm" is chosen while no model is loaded.
        QueryError: the file is missing or malformed.
        PluginError: a plugin cannot be imported, is no decomposer, or two claim the name.

    >>> open_decomposer("rules", generate=None, video_name=None).name
    'rules'
    """
    from stvg_core.plugin.decomposer import Decomposer

    name, _, argument = name_or_path.partition(":")
    # mypy refuses an abstract class here; only subclasses of it are opened.
    return open_plugin(
        GROUP,
        "decomposer",
        Decomposer,  # type: ignore[type-abstract]
        name,
        lambda chosen: chosen.open(argument, generate, video_name),
    )
