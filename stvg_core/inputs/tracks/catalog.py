"""Opens trackers by name (entry-point group `stvg.trackers`); imports the chosen one and no other."""

from typing import Final

from stvg_core.host.loading import open_plugin, plugin_names
from stvg_core.plugin.tracker import Tracker

GROUP: Final = "stvg.trackers"


def tracker_names() -> tuple[str, ...]:
    """Return every name that `open_tracker` takes, sorted; imports none of them."""
    return plugin_names(GROUP)


def open_tracker(name: str) -> Tracker:
    """Return the tracker of this name.

    Args:
        name: NAME or NAME:ARGUMENT, such as "regions", "file:PATH", "sam3:classes=dog,device=cpu".

    Raises:
        UsageError: the name or a setting is unknown.
        TrackError: the file does not exist.
        PluginError: a plugin cannot be imported, is no tracker, or two claim the name.

    >>> open_tracker("attention").name
    'attention'
    """
    base, _, argument = name.partition(":")
    # mypy refuses an abstract class here; only subclasses of it are opened.
    return open_plugin(GROUP, "tracker", Tracker, base, lambda chosen: chosen.open(argument))  # type: ignore[type-abstract]
