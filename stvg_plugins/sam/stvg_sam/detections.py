"""The tracker `detections`: boxes of any detector, one frame at a time, linked by the library `trackers`.

Boxes come from a file as detectors for the MOT Challenge write it (det.txt): a line per box,
`frame,-1,left,top,width,height,score`, frames counted from 1. In Python: `link_detections`.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from stvg_core.inputs.tracks.assembly import absent_stretches, inside_picture
from stvg_core.inputs.tracks.boxes import intersection_over_union
from stvg_core.plugin import NoTracksError, PluginError, Track, Tracker, TrackError, TrackRequest, UsageError, VideoInfo
from stvg_sam.detector import FoundBoxes, tidy
from stvg_sam.settings import EXECUTION_SETTINGS, DetectionsSettings, read_settings

NAME: Final = "detections"
MAXIMUM_BYTES: Final = 2**28
"""Largest file of boxes (256 MiB)."""
_FIELDS: Final = 6
_SCORE: Final = 6
_METHODS: Final = {"bytetrack": "ByteTrackTracker", "ocsort": "OCSORTTracker", "sort": "SORTTracker"}


@dataclass(frozen=True, eq=False)
class _Sighting:
    """A box of one frame that belongs to an object."""

    frame: int
    box_xyxy: np.ndarray
    score: float
    label: str


class DetectionsTracker(Tracker):
    """Links the boxes of a file."""

    per_video = True

    def __init__(self, settings: DetectionsSettings | None = None) -> None:
        """Keep the settings.

        Args:
            settings: with a file; None: none is named yet.
        """
        self.settings = settings or DetectionsSettings()

    @property
    def name(self) -> str:
        """Name as the user types it."""
        return NAME

    def configure(self, settings: Mapping[str, str]) -> "DetectionsTracker":
        """Return the tracker with other settings.

        Raises:
            UsageError: a setting is unknown or out of range.
        """
        return DetectionsTracker(read_settings(DetectionsSettings, NAME, settings))

    def describe(self) -> Mapping[str, Any]:
        """Return the settings."""
        return self.settings.model_dump(mode="json", exclude=set(EXECUTION_SETTINGS))

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return the linked boxes, the longest and surest first.

        Raises:
            UsageError: no file is named.
            TrackError: the file is missing or damaged, or belongs to another video.
            NoTracksError: it holds no box, or none long enough seen.
            PluginError: the library is not installed.
        """
        if self.settings.file is None:
            raise UsageError("tracker detections needs boxes; name their file as detections:file=det.txt")
        info = request.frames.info
        found = read_boxes(Path(self.settings.file), info, self.settings.least_score)
        tracks = link_detections(found, info, self.settings)
        if not tracks:
            raise NoTracksError(f"{self.settings.file} holds no object of {self.settings.least_boxes} boxes")
        return tracks


def link_detections(
    found: Mapping[int, FoundBoxes], info: VideoInfo, settings: DetectionsSettings
) -> tuple[Track, ...]:
    """Return boxes of single frames as tracks, best first.

    Args:
        found: by source frame; frames that were not looked at are left out, empty ones are not.
        info: the video.
        settings: how they are linked.

    Raises:
        PluginError: the library is not installed.
    """
    if not found:
        return ()
    supervision, linker = _library(settings, info, sorted(found))
    chains: dict[int, list[_Sighting]] = {}
    before: list[_Sighting] = []
    for frame in sorted(found):
        boxes = found[frame]
        given = supervision.Detections(
            xyxy=boxes.boxes_xyxy.astype(np.float32).reshape(-1, 4),
            confidence=boxes.scores.astype(np.float32),
            data={"place": np.arange(len(boxes.scores))},
        )
        linked = linker.update(given)
        places = linked.data.get("place", np.zeros(0, dtype=np.int64))
        unnumbered: list[_Sighting] = []
        for number, place in zip(linked.tracker_id if len(linked) else (), places, strict=True):
            # The detector's own box, not the filter's guess.
            seen = _Sighting(frame, boxes.boxes_xyxy[place], float(boxes.scores[place]), boxes.labels[place])
            if number < 0:
                unnumbered.append(seen)
            elif number in chains:
                chains[number].append(seen)
            else:
                chains[int(number)] = [*_first_sighting(before, seen, settings.least_overlap), seen]
        before = unnumbered
    looked = sorted(found)
    ranked = []
    for chain in chains.values():
        if len(chain) < settings.least_boxes:
            continue
        frames = [seen.frame for seen in chain]
        corners = inside_picture(np.stack([seen.box_xyxy for seen in chain]), info)
        worth = float(np.mean([seen.score for seen in chain]) * np.sqrt(len(chain) / len(looked)))
        stretches = absent_stretches(frames, looked)
        ranked.append((worth, Track(np.asarray(frames, dtype=np.int64), corners, chain[0].label, None, stretches)))
    ranked.sort(key=lambda item: -item[0])
    return tuple(track for _, track in ranked[: settings.most_objects])


def _first_sighting(before: list[_Sighting], second: _Sighting, least_overlap: float) -> list[_Sighting]:
    """Return the sighting that an object began with: the library gives numbers from the second on.

    It is the box without a number in the frame before that overlaps most; it is taken out of `before`.
    """
    if not before:
        return []
    overlaps = intersection_over_union(second.box_xyxy[None], np.stack([seen.box_xyxy for seen in before]))[0]
    return [before.pop(int(overlaps.argmax()))] if overlaps.max() >= least_overlap else []


def _library(settings: DetectionsSettings, info: VideoInfo, looked: Sequence[int]) -> tuple[Any, Any]:
    try:
        import supervision
        import trackers
    except ImportError as error:
        raise PluginError(
            f"tracker detections needs the library trackers ({error}); pip install 'stvg-sam[detections]'"
        ) from error
    step = float(np.median(np.diff(looked))) if len(looked) > 1 else 1.0
    # The library counts its buffer in frames of 30 per second and scales it by the frame rate.
    arguments: dict[str, Any] = {
        "lost_track_buffer": math.ceil(settings.longest_gap_seconds * 30),
        "frame_rate": max(info.fps / step, 1e-3),
        "minimum_consecutive_frames": 1,
        "minimum_iou_threshold": settings.least_overlap,
    }
    if settings.method == "bytetrack":
        arguments |= {"track_activation_threshold": settings.least_score, "high_conf_det_threshold": 0.5}
    elif settings.method == "ocsort":
        arguments |= {"high_conf_det_threshold": settings.least_score}
    else:
        arguments |= {"track_activation_threshold": settings.least_score}
    return supervision, getattr(trackers, _METHODS[settings.method])(**arguments)


def read_boxes(path: Path, info: VideoInfo, least_score: float) -> dict[int, FoundBoxes]:
    """Return the boxes of a det.txt by source frame (from 0); frames between the looked-at ones are left out.

    Raises:
        TrackError: the file is missing, too large, a line is malformed, or a frame is not the video's.
    """
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise TrackError(f"expected boxes of at most {MAXIMUM_BYTES // 2**20} MiB, got more in {path}; split it")
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (OSError, UnicodeError, csv.Error) as error:
        raise TrackError(f"expected a readable det.txt, got {path}: {error}; check the path") from error
    by_frame: dict[int, list[list[float]]] = {}
    for number, row in rows:
        values = _numbers(row, f"line {number} of {path}")
        frame = int(values[0]) - 1
        if not 0 <= frame < info.frame_count:
            raise TrackError(
                f"expected frames 1 to {info.frame_count} of {info.path}, got {values[0]:g} in line {number} of "
                f"{path}; name the file that was made for this video"
            )
        score = values[_SCORE] if len(values) > _SCORE else 1.0
        left, top, width, height = values[2:6]
        by_frame.setdefault(frame, [])
        if score >= least_score:
            by_frame[frame].append([left, top, left + width, top + height, score])
    found = {}
    for frame, boxes in by_frame.items():
        table = np.asarray(boxes, dtype=np.float64).reshape(-1, 5)
        found[frame] = tidy(table[:, :4], table[:, 4], [""] * len(table), info.width, info.height)
    return found


def _numbers(row: Sequence[str], place: str) -> list[float]:
    try:
        values = [float(cell) for cell in row[: _SCORE + 1]]
    except ValueError:
        values = []
    if len(values) < _FIELDS or not np.isfinite(values).all():
        raise TrackError(
            f"expected frame,id,left,top,width,height,score as numbers in {place}, got {','.join(row)[:60]!r}"
        )
    return values
