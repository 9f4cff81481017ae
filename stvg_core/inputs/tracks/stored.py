"""Tracks that come from a file or cache, and whether they belong to a video. Knows no format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from stvg_core._internal.masks import RunLengthMask
from stvg_core.errors import TrackError
from stvg_core.inputs.tracks.assembly import absent_stretches, inside_picture
from stvg_core.values import Track, VideoInfo


@dataclass(frozen=True, eq=False)
class StoredTracks:
    """What a file of tracks holds.

    Attributes:
        source: the file, for messages.
        width: of the video they were made for, in pixels as displayed.
        height: of the video they were made for, in pixels as displayed.
        frame_count: of that video; None where the file does not say.
        sampled_frames: source frames that were looked at; None where the file does not say.
        tracks: best first; may be none.
        tracker: name of what made them, may be empty.
        settings: how it was set, as JSON values.
        oracle_categories: whether the ground truth's categories told it what to look for.
    """

    source: str
    width: int
    height: int
    frame_count: int | None
    sampled_frames: Int64[np.ndarray, " looked"] | None
    tracks: tuple[Track, ...]
    tracker: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    oracle_categories: bool = False

    def check_video(self, info: VideoInfo) -> None:
        """Find out whether the tracks were made for a video.

        Raises:
            TrackError: its size or its frames are others.
        """
        cure = "name the file that was made for this video"
        if (self.width, self.height) != (info.width, info.height):
            raise TrackError(
                f"expected tracks of {info.width}x{info.height} pixels for {info.path}, got {self.width}x{self.height} "
                f"in {self.source}; {cure}"
            )
        if self.frame_count is not None and self.frame_count != info.frame_count:
            raise TrackError(
                f"expected tracks over the {info.frame_count} frames of {info.path}, got {self.frame_count} frames in "
                f"{self.source}; {cure}"
            )
        last = max((int(track.frames[-1]) for track in self.tracks), default=0)
        looked = self.sampled_frames
        if looked is not None and len(looked) > 1:
            last = max(last, int(looked[-1]))
            step = int(np.diff(looked).max())
            # Decoders differ by a frame or two at the end; a whole step more is another video.
            if info.frame_count - 1 - last >= 2 * step:
                raise TrackError(
                    f"expected tracks over the {info.frame_count} frames of {info.path}, got frames up to {last} in "
                    f"steps of {step} in {self.source}; {cure}"
                )
        if last >= info.frame_count:
            raise TrackError(
                f"expected frames 0 to {info.frame_count - 1} of {info.path}, got frame {last} in {self.source}; {cure}"
            )

    def tracks_of(self, info: VideoInfo) -> tuple[Track, ...]:
        """Return the tracks for a video that `check_video` let pass.

        What the last looked-at frame shows is held to the video's end, less than two steps on: nobody looked there,
        and an object does not leave with the sampling.
        """
        looked, last = self.sampled_frames, info.frame_count - 1
        if looked is None or not looked.size or looked[-1] >= last:
            return self.tracks
        return tuple(_held(track, last) if track.frames[-1] == looked[-1] else track for track in self.tracks)


def _held(track: Track, last: int) -> Track:
    masks = None if track.masks is None else (*track.masks, track.masks[-1])
    boxes = np.concatenate([track.boxes_xyxy, track.boxes_xyxy[-1:]])
    return Track(np.append(track.frames, last), boxes, track.label, masks, track.absent)


def stored_track(
    frames: Sequence[int],
    boxes_xyxy: Float64[np.ndarray, "box xyxy=4"],
    size: tuple[int, int],
    *,
    label: str = "",
    masks: Sequence[RunLengthMask | None] | None = None,
    looked: Sequence[int] | None = None,
    absent: Sequence[tuple[int, int]] = (),
) -> Track:
    """Return a checked track of foreign numbers; a box that juts out of the picture is cut.

    Args:
        frames: source frame of each box.
        boxes_xyxy: in pixels.
        size: width and height of the picture.
        label: what it shows.
        masks: one per box, of the size of the picture.
        looked: every frame that was looked at; the object is absent where it has no box among them.
        absent: stretches without the object, where `looked` is not known.

    Raises:
        TrackError: a number is no number, a box is empty or lies outside the picture, or sizes disagree.
    """
    width, height = size
    numbers = np.asarray(frames, dtype=np.int64)
    if len(numbers) != len(boxes_xyxy):
        raise TrackError(f"expected a box for each of {len(numbers)} frames, got {len(boxes_xyxy)} boxes")
    if not np.isfinite(boxes_xyxy).all():
        raise TrackError("expected finite box corners, got nan or infinity")
    if numbers.size and numbers[0] < 0:
        raise TrackError(f"expected frames from 0 on, got {int(numbers[0])}")
    outside = (boxes_xyxy[:, :2] >= [width, height]).any(axis=1) | (boxes_xyxy[:, 2:] <= 0).any(axis=1)
    if outside.any():
        place = int(outside.argmax())
        raise TrackError(
            f"expected boxes within {width}x{height} pixels, got {boxes_xyxy[place].round(1).tolist()} at frame "
            f"{int(numbers[place])}"
        )
    if (boxes_xyxy[:, 2:] <= boxes_xyxy[:, :2]).any():
        raise TrackError("expected boxes as (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
    for mask in masks or ():
        if mask is not None and not _same_proportions(mask, width, height):
            raise TrackError(
                f"expected masks of the proportions of {width}x{height} pixels, got {mask.width}x{mask.height}"
            )
    info = VideoInfo("tracks", width, height, 1.0, 1.0, np.zeros(1))
    stretches = tuple(absent) if looked is None else absent_stretches(frames, looked)
    return Track(numbers, inside_picture(boxes_xyxy, info), label, None if masks is None else tuple(masks), stretches)


def _same_proportions(mask: RunLengthMask, width: int, height: int) -> bool:
    """Return whether a mask's picture is the video's, or that shrunk or grown, each side to a whole pixel."""
    return abs(mask.width * height - mask.height * width) <= max(width, height)
