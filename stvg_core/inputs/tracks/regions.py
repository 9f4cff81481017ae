"""Tracks of whatever stands out, found without a model: the tracker `regions`.

For clips with distinct objects on a calmer ground, and as the tracker that needs no download. It
knows neither the query nor the attention maps. Method and limits: docs/tracks.md.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import UInt8

from stvg_core.errors import NoTracksError
from stvg_core.inputs.tracks.assembly import as_track, best_distinct, distinct_frames
from stvg_core.inputs.tracks.linking import Chain, LinkRules, link
from stvg_core.inputs.tracks.proposals import find_regions, smooth_lab
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import Track

_GAP_SHARE: Final = 0.25
"""An object may go unseen for this share of the sampled frames and stay the same object."""
_SAME_TRACK: Final = 0.5
_LEAST_SALIENCY: Final = 0.3
"""Tracks under this share of the best one's score are dropped."""


@dataclass(frozen=True)
class RegionTracker(Tracker):
    """Proposes regions that differ in colour from their surroundings, linked over time.

    Attributes:
        search_pixels: frames are searched at this length of their longer side, or less.
        most_tracks: at most this many are returned.
    """

    search_pixels: int = 160
    most_tracks: int = 40
    per_video = True

    @property
    def name(self) -> str:
        """Name as the user types it."""
        return "regions"

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return tracks ranked by contrast times length; boxes in pixels of the video as displayed.

        Raises:
            NoTracksError: no region stands out from its surroundings in any sampled frame.
        """
        frames = request.frames
        numbers, positions = distinct_frames(frames)
        pictures = [_shrink(frames.pixels[position], self.search_pixels) for position in positions]
        height, width = pictures[0].shape[:2]
        rules = LinkRules(longest_gap=max(1, round(_GAP_SHARE * len(numbers))))
        chains = link([find_regions(smooth_lab(picture)) for picture in pictures], rules)
        if not chains:
            raise NoTracksError(
                f"expected objects that stand out in {frames.info.path}, found none; "
                "use the tracker attention, or one that has a model"
            )
        scores = np.array([_saliency(chain, len(numbers)) for chain in chains])
        worthy = np.flatnonzero(scores >= _LEAST_SALIENCY * scores.max())
        scale = (frames.info.width / width, frames.info.height / height)
        tracks = [as_track(chains[index], numbers, scale, frames.info, rules.longest_gap) for index in worthy]
        return best_distinct(tracks, scores[worthy].tolist(), numbers, _SAME_TRACK, self.most_tracks)


def _shrink(picture: UInt8[np.ndarray, "height width 3"], longest_pixels: int) -> UInt8[np.ndarray, "row column 3"]:
    """Return the picture with its longer side at most so long; never enlarged."""
    height, width = picture.shape[:2]
    factor = min(1.0, longest_pixels / max(height, width))
    if factor == 1.0:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _saliency(chain: Chain, picture_count: int) -> float:
    """Return mean contrast times the square root of the share of pictures that show it.

    The root, because an object that is there for half of the clip is not half as much an object.
    """
    return float(np.mean(chain.scores) * np.sqrt(len(chain.positions) / picture_count))
