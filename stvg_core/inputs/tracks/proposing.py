"""Asks a tracker, and falls back to attention where it finds no object at all."""

from stvg_core.errors import NoTracksError
from stvg_core.inputs.tracks.description import ORACLE_CATEGORIES, ORACLE_WARNING, describe_tracks
from stvg_core.inputs.tracks.from_attention import AttentionTracker
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import Track


def propose_tracks(tracker: Tracker, request: TrackRequest) -> tuple[tuple[Track, ...], tuple[str, ...]]:
    """Return a tracker's tracks and what has to be said of them, one sentence each.

    Where the tracker finds nothing (`NoTracksError`, or no track), those of `attention` stand in.

    Raises:
        TrackError: the tracker cannot work; its message says what to do.
    """
    try:
        tracks = tracker.propose(request)
        reason = "it proposed nothing"
    except NoTracksError as error:
        tracks, reason = (), str(error)
    if not tracks:
        warning = f"tracker {tracker.name} found no track, so the tracks are those of attention ({reason})"
        return AttentionTracker().propose(request), (warning,)
    return tracks, (ORACLE_WARNING,) if describe_tracks(tracker).get(ORACLE_CATEGORIES) else ()
