"""Opens a tracker by the name that the user types.

Reads entry-point group `stvg.trackers`; imports the chosen one and no other.
"""

from typing import Final

from stvg_core.extensions import extension_names, open_extension
from stvg_core.tracks.tracker import Tracker

GROUP: Final = "stvg.trackers"
_BUILT_IN: Final = ("attention", "regions")


def tracker_names() -> tuple[str, ...]:
    """Return every name that `open_tracker` takes, sorted; imports none of them."""
    return extension_names(GROUP, _BUILT_IN)


def open_tracker(name: str) -> Tracker:
    """Return the tracker of this name.

    Args:
        name: "attention", "regions", or a name that a plugin registers.

    Raises:
        UsageError: the name is unknown.
        PluginError: a plugin cannot be imported, is no tracker, or two claim the name.

    >>> open_tracker("attention").name
    'attention'
    """
    if name == "attention":
        from stvg_core.tracks.from_attention import AttentionTracker

        return AttentionTracker()
    if name == "regions":
        from stvg_core.tracks.regions import RegionTracker

        return RegionTracker()
    # mypy takes a Protocol for abstract here; isinstance does not.
    return open_extension(GROUP, "tracker", Tracker, name, tracker_names())  # type: ignore[type-abstract]
