"""Tracks read off the attention maps themselves: the tracker `attention`.

It knows neither pixels nor objects: its boxes are where the model looks, as fine as the token grid
and no finer. It needs no model beside the one that grounds, and always finds something.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float64, Int64

from stvg_core.errors import TrackError
from stvg_core.inputs.tracks.assembly import as_track, best_distinct, distinct_frames
from stvg_core.inputs.tracks.linking import Chain, Detections, LinkRules, link
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import FrameMaps, Track

_GRID_PIXELS: Final = 128
"""Maps are enlarged to a picture whose longer side is this: finer than any token grid."""
_LEVELS: Final = (0.35, 0.5, 0.7)
"""Cuts between a map's median (0) and its peak (1)."""
_FLAT: Final = 1e-6
"""A map whose peak exceeds its median by less than this share says nothing of where."""
_MOST_PER_MAP: Final = 4
_SAME_TRACK: Final = 0.7
_RULES: Final = LinkRules(longest_gap=2, reach=0.75, growth=4.0)
_HOLD: Final = 2


@dataclass(frozen=True)
class AttentionTracker(Tracker):
    """Proposes the places that attention dwells on, linked over time.

    Attributes:
        most_tracks: at most this many are returned.
    """

    most_tracks: int = 20

    @property
    def name(self) -> str:
        """Name as the user types it."""
        return "attention"

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return tracks, best first; boxes in pixels of the video as displayed.

        Candidates come from the attribute branch's maps, from the action branch's, and from their
        product, each cut at several levels, so that the track scorer has a choice. A flat map says
        nothing of where; if all are flat, the one track is the whole picture.

        Raises:
            TrackError: the maps are not one per sampled frame.
        """
        frames, info = request.frames, request.frames.info
        numbers, _ = distinct_frames(frames)
        spatial = _per_distinct_frame(request.spatial_maps, frames.indices)
        temporal = _per_distinct_frame(request.temporal_maps, frames.indices)
        width, height = _grid(info.width, info.height)
        scale = (info.width / width, info.height / height)
        sources = {"attribute": _enlarge(spatial, width, height), "action": _enlarge(temporal, width, height)}
        sources["both"] = [np.sqrt(one * other) for one, other in zip(*sources.values(), strict=True)]
        tracks: list[Track] = []
        scores: list[float] = []
        for label, pictures in sources.items():
            for level in _LEVELS:
                for chain in link([_find_peaks(picture, level) for picture in pictures], _RULES):
                    tracks.append(as_track(chain, numbers, scale, info, _HOLD, label))
                    scores.append(_worth(chain, len(numbers)))
        if not tracks:
            whole = np.array([[0.0, 0.0, info.width, info.height]])
            return (Track(numbers, np.repeat(whole, len(numbers), axis=0), "whole picture"),)
        return best_distinct(tracks, scores, numbers, _SAME_TRACK, self.most_tracks)


def _per_distinct_frame(
    maps: FrameMaps, sampled: Int64[np.ndarray, " frame"]
) -> Float64[np.ndarray, "distinct row column"]:
    """Return the mean map of each distinct source frame, the clip's peak at 1 so that branches compare."""
    if len(maps.values) != len(sampled) or maps.values.size == 0:
        raise TrackError(
            f"expected one attention map per sampled frame ({len(sampled)}), got maps {maps.values.shape}; "
            "check the backend's token layout"
        )
    values = np.maximum(maps.values, 0.0)
    peak = float(values.max())
    numbers, which = np.unique(sampled, return_inverse=True)
    sums = np.zeros((len(numbers), *values.shape[1:]))
    np.add.at(sums, which, values / peak if peak > 0.0 else values)
    return np.asarray(sums / np.bincount(which)[:, None, None], dtype=np.float64)


def _grid(width: int, height: int) -> tuple[int, int]:
    """Return width and height of the enlarged maps, in the picture's proportions."""
    factor = _GRID_PIXELS / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _enlarge(
    maps: Float64[np.ndarray, "frame row column"], width: int, height: int
) -> list[Float64[np.ndarray, "height width"]]:
    """Return maps stretched over the picture, bilinear (as released code, spatial_tuning.py, reads them)."""
    return [np.asarray(cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR), np.float64) for one in maps]


def _find_peaks(picture: Float64[np.ndarray, "height width"], level: float) -> Detections:
    """Return boxes around what lies above a level of one map; a box's score is the peak inside it."""
    floor, peak = float(np.median(picture)), float(picture.max())
    if peak - floor <= _FLAT * peak:
        return Detections(np.zeros((0, 4)), np.zeros((0, 0)), np.zeros(0))
    above = (picture >= floor + level * (peak - floor)).astype(np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    peaks = np.array([picture[labels == label].max() for label in range(1, count)])
    order = np.argsort(-peaks, kind="stable")[:_MOST_PER_MAP]
    boxes = statistics[1:, :4].astype(np.float64)[order]
    boxes[:, 2:] += boxes[:, :2]
    return Detections(boxes, np.zeros((len(order), 0)), peaks[order])


def _worth(chain: Chain, picture_count: int) -> float:
    """Return the mean of a chain's peaks times the square root of the share of pictures that show it."""
    return float(np.mean(chain.scores) * np.sqrt(len(chain.positions) / picture_count))
