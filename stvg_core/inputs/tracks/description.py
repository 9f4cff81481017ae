"""What a tracker says of itself, for the record of a result; knows no tracker."""

from typing import Any

from stvg_core.plugin.tracker import Tracker

ORACLE_CATEGORIES = "oracle_categories"
"""Key of a description: true where tracks were made from the ground truth's categories."""

ORACLE_WARNING = (
    "the tracks were made from the ground truth's object categories (oracle_categories), so this result is no "
    "zero-shot one"
)


def describe_tracker(tracker: Tracker) -> dict[str, Any]:
    """Return what of a tracker decides its tracks, as JSON values: settings, checkpoints, files; never what it did.

    A tracker says so with a method `describe() -> Mapping[str, JSON]`; of one without it nothing is known.

    >>> from stvg_core.inputs.tracks.catalog import open_tracker
    >>> describe_tracker(open_tracker("attention"))
    {}
    """
    return _told(tracker, "describe")


def describe_tracks(tracker: Tracker) -> dict[str, Any]:
    """Return how a tracker made its last tracks: what decides them, and what came of it.

    The second a tracker says with a method `report() -> Mapping[str, JSON]`.
    """
    return describe_tracker(tracker) | _told(tracker, "report")


def _told(tracker: Tracker, method: str) -> dict[str, Any]:
    tell = getattr(tracker, method, None)
    return dict(tell()) if callable(tell) else {}
