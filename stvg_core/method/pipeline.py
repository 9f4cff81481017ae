"""The method, in the order of the paper: the only module that knows the order.

Frames -> visual tokens -> prompts (LRA) -> attention maps -> assembled views (TAS) ->
tracks -> track and frame scores -> tube. Ground truth never comes here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from stvg_core._internal.determinism import deterministic_algorithms
from stvg_core.host.session import Session
from stvg_core.inputs.tracks.cells import cell_coverage, peaks_in_pixels
from stvg_core.inputs.tracks.proposing import propose_tracks
from stvg_core.method import scores
from stvg_core.method.branches import BranchMaps, read_branches, read_queries
from stvg_core.method.stages import Stopwatch, device_stage
from stvg_core.method.tube import assemble_tube, choose_span
from stvg_core.plugin.adapter import EncodedClip
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.settings import JointSettings, Settings
from stvg_core.values import FrameMaps, Frames, Grounding, SubQueries, Track, Tube

__all__ = [
    "BranchMaps",
    "EncodedViews",
    "Joined",
    "Stopwatch",
    "encode_views",
    "ground_frames",
    "ground_maps",
    "ground_queries",
    "ground_views",
    "join_branches",
    "read_branches",
    "read_views",
    "score_track_frames",
]


@dataclass(frozen=True, eq=False)
class EncodedViews:
    """A video's sampled frames as the model sees them; the same for every query about the video.

    Attributes:
        frames: what was encoded.
        clip: visual tokens of the frames in source order.
        reversed_clip: the same in reversed order (TAS), or None where one view is enough.
    """

    frames: Frames
    clip: EncodedClip
    reversed_clip: EncodedClip | None


@dataclass(frozen=True, eq=False)
class Joined:
    """What both branches' maps chose together; the fields are those of Grounding."""

    chosen_track: int
    track_scores: Float64[np.ndarray, " track"]
    frame_scores: Float64[np.ndarray, " frame"]
    span_frames: tuple[int, int]
    tube: Tube


def encode_views(frames: Frames, session: Session, settings: Settings, watch: Stopwatch) -> EncodedViews:
    """Encode sampled frames, and their reversed view where the settings want one (TAS).

    Args:
        frames: what the model sees.
        session: the opened backend.
        settings: every choice of the method; only `input` and `augment` matter here.
        watch: collects the time per stage.

    Raises:
        DeviceMemoryError: the device is too small for these frames.
    """
    with (
        deterministic_algorithms(session.options.deterministic),
        device_stage(watch, "encode", f"{len(frames)} frames"),
    ):
        clip = session.adapter.encode(frames, settings.input, tuple(range(len(frames))))
        reversed_clip = session.augment_frames(frames, clip, settings.input) if settings.augment.enabled else None
    return EncodedViews(frames, clip, reversed_clip)


def ground_frames(
    frames: Frames,
    sub_queries: SubQueries,
    session: Session,
    tracker: Tracker,
    settings: Settings,
    watch: Stopwatch | None = None,
) -> Grounding:
    """Ground one decomposed query in sampled frames.

    Args:
        frames: what the model sees.
        sub_queries: the query and its attribute and action parts (DSTH).
        session: the opened backend.
        tracker: proposes the candidate tracks.
        settings: every choice of the method.
        watch: collects the time per stage; pass the one that timed decoding.

    Raises:
        DeviceMemoryError: a stage needs more memory than there is; the session still works.
        StvgError: any stage failed; the message says which and what to do.
    """
    watch = watch or Stopwatch()
    views = encode_views(frames, session, settings, watch)
    return ground_views(views, sub_queries, session, tracker, settings, watch)


def ground_views(
    views: EncodedViews,
    sub_queries: SubQueries,
    session: Session,
    tracker: Tracker,
    settings: Settings,
    watch: Stopwatch,
    *,
    unprompted: bool = False,
) -> Grounding:
    """Ground one decomposed query in frames that are encoded already; see `ground_queries`."""
    (grounding,) = ground_queries(views, (sub_queries,), session, tracker, settings, watch, unprompted=unprompted)
    return grounding


def ground_queries(
    views: EncodedViews,
    queries: Sequence[SubQueries],
    session: Session,
    tracker: Tracker,
    settings: Settings,
    watch: Stopwatch,
    *,
    unprompted: bool = False,
) -> tuple[Grounding, ...]:
    """Ground several decomposed queries about one video, which share the passes that they have in common.

    Questions without a visual prompt, and the first step of all prompts, are asked in one pass. Results are
    those of the single queries, but for rounding. One query that cannot be asked fails them all.

    Args:
        views: what `encode_views` made with the same session and settings.
        queries: each query and its attribute and action parts (DSTH).
        session: the opened backend.
        tracker: proposes the candidate tracks, for each query.
        settings: every choice of the method.
        watch: collects the time per stage, of all queries together; so do the groundings' timings.
        unprompted: read maps without the prompts as well, for reports; what is found does not depend on it.

    Raises:
        DeviceMemoryError: a stage needs more memory than there is; the session still works.
        StvgError: any stage failed; the message says which and what to do.
    """
    read = read_views(views, queries, session, settings, watch, unprompted=unprompted)
    return tuple(
        ground_maps(views.frames, sub_queries, maps, tracker, settings.joint, watch)
        for sub_queries, maps in zip(queries, read, strict=True)
    )


def read_views(
    views: EncodedViews,
    queries: Sequence[SubQueries],
    session: Session,
    settings: Settings,
    watch: Stopwatch,
    *,
    unprompted: bool = False,
) -> tuple[BranchMaps, ...]:
    """Return both branches' maps of queries about one video: the part of `ground_queries` that runs the model.

    Raises:
        DeviceMemoryError: a stage needs more memory than there is; the session still works.
        StvgError: any stage failed; the message says which and what to do.
    """
    with deterministic_algorithms(session.options.deterministic):
        return read_queries(session, views.clip, views.reversed_clip, queries, settings, watch, unprompted=unprompted)


def ground_maps(
    frames: Frames,
    sub_queries: SubQueries,
    read: BranchMaps,
    tracker: Tracker,
    settings: JointSettings,
    watch: Stopwatch,
) -> Grounding:
    """Find one query's tube in its maps.

    Args:
        frames: what the maps are of.
        sub_queries: the query and its attribute and action parts (DSTH).
        read: both branches' maps, one per frame.
        tracker: proposes the candidate tracks.
        settings: how maps choose a track and a span.
        watch: collects the time per stage.

    Raises:
        TrackError: the tracker cannot work.
    """
    with watch.stage("tracks"):
        tracks, warnings = propose_tracks(tracker, TrackRequest(frames, sub_queries, read.spatial, read.temporal))
    with watch.stage("tube"):
        rows, columns = read.spatial.values.shape[1:]
        coverage = cell_coverage(tracks, frames.indices, frames.info, rows, columns, settings.track_cells)
        joined = join_branches(frames, tracks, coverage, read.spatial, read.temporal, settings)
    return Grounding(
        frames=frames,
        sub_queries=sub_queries,
        tracks=tracks,
        chosen_track=joined.chosen_track,
        track_scores=joined.track_scores,
        frame_scores=joined.frame_scores,
        span_frames=joined.span_frames,
        spatial_maps=read.spatial,
        temporal_maps=read.temporal,
        tube=joined.tube,
        diagnostics=read.margins,
        timings_seconds=watch.seconds,
        warnings=(*read.warnings, *warnings),
        prompts=read.prompts,
        answers=read.answers,
        unprompted_spatial_maps=read.unprompted_spatial,
        unprompted_temporal_maps=read.unprompted_temporal,
    )


def join_branches(
    frames: Frames,
    tracks: tuple[Track, ...],
    coverage: Float64[np.ndarray, "track frame row column"],
    spatial_maps: FrameMaps,
    temporal_maps: FrameMaps,
    settings: JointSettings,
) -> Joined:
    """Choose a track and a span from both branches' maps (paper section 3.5, joint inference)."""
    track_scores = scores.score_tracks(spatial_maps, temporal_maps, coverage, settings)
    chosen = int(track_scores.argmax())
    frame_scores = score_track_frames(frames, tracks[chosen], coverage[chosen], temporal_maps, settings)
    span = choose_span(frame_scores, settings)
    return Joined(chosen, track_scores, frame_scores, span, assemble_tube(tracks[chosen], span, frames, settings))


def score_track_frames(
    frames: Frames,
    track: Track,
    coverage: Float64[np.ndarray, "frame row column"],
    temporal_maps: FrameMaps,
    settings: JointSettings,
) -> Float64[np.ndarray, " frame"]:
    """Return how strongly the action branch looks at one track in each frame (S_frame), by cells or by pixels."""
    if settings.frame_scores == "pixels":
        return peaks_in_pixels(temporal_maps, track, frames.indices, frames.info)
    return scores.score_frames(temporal_maps, coverage)
