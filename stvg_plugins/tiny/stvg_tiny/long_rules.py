"""Every rule of choosing and merging windows, on the same readings of them and on true tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Int64

from stvg_core.errors import StvgError
from stvg_core.host.session import Session
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.inputs.video import Window, WindowedVideo
from stvg_core.method.branches import BranchMaps
from stvg_core.method.long_videos import answer_margins
from stvg_core.method.pipeline import Pipeline, join_branches
from stvg_core.method.windows import WindowFrames, choose_windows, merge_frames, merge_maps, widened
from stvg_core.metrics import TubeOverlap, tube_overlap
from stvg_core.settings import Settings, WindowSettings
from stvg_core.values import FrameMaps, Frames, SubQueries
from stvg_tiny.long_clips import LongClip, long_clip_info
from stvg_tiny.measurements import Row

QUESTIONS: Final = ("sentence", "action", "attribute", "both")
JOINED: Final = (1, 2, 3, 8)
ATTENTION: Final = "attention"
"""Not a setting: windows ranked by the largest product of both branches' relative attention in a cell."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model says of every window of a clip.

    Attributes:
        windows: where they lie.
        frames: sampled frames of each.
        margins: of each window, by what ranks them.
        maps: both branches' maps of each.
    """

    windows: tuple[Window, ...]
    frames: tuple[Int64[np.ndarray, " frame"], ...]
    margins: Mapping[str, tuple[float, ...]]
    maps: tuple[BranchMaps, ...]


def read_clip(video: WindowedVideo, sub_queries: SubQueries, session: Session, settings: Settings) -> Reading:
    """Ask every question about every window, and read every window's attention.

    Raises:
        StvgError: a stage failed.
    """
    pipeline = Pipeline(session, settings)
    asked = {
        name: settings.question(part)
        for name, part in (
            ("sentence", sub_queries.text.lower()),
            ("action", sub_queries.action),
            ("attribute", sub_queries.attribute),
        )
    }
    indices, maps = [], []
    margins: dict[str, list[float]] = {name: [] for name in (*QUESTIONS, ATTENTION)}
    with closing(video.each()) as pictures:
        for frames in pictures:
            if not isinstance(frames, Frames):
                raise frames
            views = pipeline.encode(frames)
            answers = answer_margins(pipeline, views.clip, list(asked.values()))
            (found,) = pipeline.compute_maps(views, (sub_queries,))
            for name, question in asked.items():
                margins[name].append(answers[question])
            margins["both"].append(answers[asked["attribute"]] + answers[asked["action"]])
            margins[ATTENTION].append(float((found.spatial.values * found.temporal.values).max()))
            indices.append(frames.indices)
            maps.append(found)
    return Reading(
        video.windows, tuple(indices), {name: tuple(values) for name, values in margins.items()}, tuple(maps)
    )


def rule_rows(
    readings: Sequence[Reading], clips: Sequence[LongClip], settings: Settings, size_pixels: int
) -> list[Row]:
    """Return a row for each way to rank windows, and for each way to join and merge those ranked by the sentence."""
    ways: dict[str, tuple[str, WindowSettings]] = {}
    for question in (*QUESTIONS, ATTENTION):
        ways[f"{question}, best window alone"] = question, settings.windows.model_copy(update={"join": "none"})
    for most in JOINED:
        windows = settings.windows.model_copy(update={"most_joined": most})
        ways[f"sentence, at most {most} windows"] = "sentence", windows
    for join, weight, shared in product(("relative", "positive"), ("none", "probability"), ("central", "average")):
        update = {"join": join, "weight": weight, "shared_frames": shared}
        ways[f"sentence, {join}, weight {weight}, {shared}"] = "sentence", settings.windows.model_copy(update=update)
    found: dict[str, list[TubeOverlap | None]] = {name: [] for name in ways}
    for reading, clip in zip(readings, clips, strict=True):
        for name, (question, windows) in ways.items():
            try:
                found[name].append(_overlap(reading, reading.margins[question], clip, settings, windows, size_pixels))
            except StvgError:
                found[name].append(None)
    return [Row(name, tuple(overlaps)) for name, overlaps in found.items()]


def _overlap(
    reading: Reading,
    margins: Sequence[float],
    clip: LongClip,
    settings: Settings,
    windows: WindowSettings,
    size_pixels: int,
) -> TubeOverlap:
    """Ground by one rule what was read, on the true tracks of the event's scene."""
    info = long_clip_info(clip.times, size_pixels)
    joined = choose_windows(margins, windows)
    parts = [WindowFrames(*reading.windows[number], reading.frames[number]) for number in joined]
    merged = merge_frames(parts)
    indices = np.array([parts[owner].indices[place] for owner, place in zip(merged.owners, merged.places, strict=True)])
    own = [margins[number] for number in joined]

    def merge(maps: list[FrameMaps]) -> FrameMaps:
        return merge_maps(parts, merged, maps, own, info.frame_seconds, windows)

    spatial = merge([reading.maps[number].spatial for number in joined])
    temporal = merge([reading.maps[number].temporal for number in joined])
    tracks = clip.true_tracks(size_pixels)
    rows, columns = spatial.values.shape[1:]
    coverage = cell_coverage(tracks, indices, info, rows, columns, settings.joint.track_cells)
    # Tracks and tube need no pictures.
    frames = Frames(info, indices, np.zeros((len(indices), 1, 1, 3), np.uint8))
    tube = join_branches(frames, tracks, coverage, spatial, temporal, widened(settings.joint, merged)).tube
    return tube_overlap(tube, clip.true_tube(size_pixels))
