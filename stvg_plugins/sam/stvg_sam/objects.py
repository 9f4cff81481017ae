"""Objects that were followed through a video, as tracks: merged, ranked, scaled. Knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core.inputs.tracks.assembly import absent_stretches, inside_picture
from stvg_core.inputs.tracks.boxes import intersection_over_union
from stvg_core.plugin import RunLengthMask, Track, VideoInfo


@dataclass(eq=False)
class FollowedObject:
    """One object, while it is followed.

    Attributes:
        label: what it was found as.
        score: of its best detection.
        seed: position of the frame where it was found first.
        seed_box_xyxy: its box there, in pixels of the looked-at pictures.
        masks: which pixels show it, by position; positions without it are left out.
    """

    label: str
    score: float
    seed: int
    seed_box_xyxy: Float64[np.ndarray, " xyxy=4"]
    masks: dict[int, RunLengthMask] = field(default_factory=dict)

    def box_at(self, position: int) -> Float64[np.ndarray, " xyxy=4"] | None:
        """Return its box at a position, or None where it is not there."""
        mask = self.masks.get(position)
        return None if mask is None else mask.box_xyxy()

    def worth(self, looked: int) -> float:
        """Return what it is ranked by: score times the square root of the share of frames that show it."""
        return float(self.score * np.sqrt(len(self.masks) / looked))


def merge_duplicates(objects: Sequence[FollowedObject], overlap: float) -> list[FollowedObject]:
    """Return the objects without repeats: those whose boxes agree on the frames they share become one.

    The one with the better score keeps its masks and gains those of frames that it lacks, so an object that
    left, came back and was found anew is one again as soon as both were followed over a common frame.
    """
    kept: list[FollowedObject] = []
    for candidate in sorted(objects, key=lambda one: -one.score):
        twin = next((one for one in kept if _agreement(one, candidate) > overlap), None)
        if twin is None:
            kept.append(candidate)
        else:
            twin.masks = candidate.masks | twin.masks
    return kept


def _agreement(first: FollowedObject, second: FollowedObject) -> float:
    """Return the mean overlap on common frames, 0..1; 0 where there is none."""
    overlaps = []
    for position in first.masks.keys() & second.masks.keys():
        one, other = first.box_at(position), second.box_at(position)
        if one is not None and other is not None:
            overlaps.append(float(intersection_over_union(one[None], other[None])[0, 0]))
    return float(np.mean(overlaps)) if overlaps else 0.0


def as_tracks(
    objects: Sequence[FollowedObject], source_frames: Int64[np.ndarray, " looked"], info: VideoInfo, most: int
) -> tuple[Track, ...]:
    """Return objects as tracks of the video, best first; one that no mask shows is left out."""
    looked = source_frames.tolist()
    tracks = []
    for one in sorted(objects, key=lambda item: -item.worth(len(looked)))[:most]:
        positions = [position for position in sorted(one.masks) if one.masks[position].area_pixels]
        if not positions:
            continue
        boxes = []
        for position in positions:
            mask = one.masks[position]
            scale = np.tile([info.width / mask.width, info.height / mask.height], 2)
            boxes.append(np.asarray(mask.box_xyxy()) * scale)
        frames = source_frames[positions]
        tracks.append(
            Track(
                frames,
                inside_picture(np.stack(boxes), info),
                one.label,
                tuple(one.masks[position] for position in positions),
                absent_stretches(frames.tolist(), looked),
            )
        )
    return tuple(tracks)
