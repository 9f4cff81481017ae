"""A tracker's description of itself, for the record of a result."""

from typing import Any

from stvg_core.plugin.tracker import Tracker

ORACLE_CATEGORIES = "oracle_categories"
"""Key of a description: true where tracks were made from the ground truth's categories."""

ORACLE_WARNING = (
    "the tracks were made from the ground truth's object categories (oracle_categories), so this result is no "
    "zero-shot one"
)


def describe_tracker(tracker: Tracker) -> dict[str, Any]:
    """Return what determines a tracker's tracks, as JSON values: settings, checkpoints, files.

    >>> from stvg_core.inputs.tracks.catalog import open_tracker
    >>> describe_tracker(open_tracker("attention"))
    {}
    """
    return dict(tracker.describe())


def describe_tracks(tracker: Tracker) -> dict[str, Any]:
    """Return how a tracker made its last tracks: what determines them, and its report."""
    return describe_tracker(tracker) | dict(tracker.report() or {})
