"""Opens a tracker by the name that the user types.

Reads entry-point group `stvg.trackers`; imports the chosen one and no other.
"""

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from stvg_core.errors import PluginError, UsageError
from stvg_core.tracks.tracker import Tracker

GROUP: Final = "stvg.trackers"
_BUILT_IN: Final = ("attention", "regions")


def tracker_names() -> tuple[str, ...]:
    """Return every name that `open_tracker` takes, sorted; imports none of them."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


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
    return _open_plugin(name)


def _open_plugin(name: str) -> Tracker:
    """Return the tracker that exactly one installed distribution registers under this name."""
    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        names = tracker_names()
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise UsageError(f"expected a tracker ({', '.join(names)}), got {name!r}{hint}")
    if len({point.value for point in points}) > 1:
        owners = " and ".join(sorted(_distribution(point) for point in points))
        raise PluginError(f"expected one tracker named {name!r}, got one from each of {owners}; uninstall one")
    return _load(points[0])


def _load(point: EntryPoint) -> Tracker:
    """Import and create a plugin's tracker; whatever its code raises becomes one line of ours."""
    owner = _distribution(point)
    try:
        tracker = point.load()()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise PluginError(
            f"expected tracker {point.name!r} of {owner} to load, got {type(error).__name__}: {reason}; "
            f"reinstall it (pip install --force-reinstall {owner}) or uninstall it"
        ) from error
    if not isinstance(tracker, Tracker):
        raise PluginError(
            f"expected tracker {point.name!r} of {owner} to have name and propose, got {type(tracker).__name__}; "
            f"update it (pip install --upgrade {owner})"
        )
    return tracker


def _distribution(point: EntryPoint) -> str:
    """Return the distribution that registers an entry point."""
    return point.dist.name if point.dist is not None else "an unknown distribution"
