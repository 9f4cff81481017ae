"""Object tracks that the caller has already."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from stvg_core.errors import TrackError
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.values import Track


@dataclass(frozen=True, eq=False)
class GivenTracks(Tracker):
    """A tracker that proposes the tracks it was made with.

    Attributes:
        tracks: of one video.
        frame_count: source frames that were looked at; None: unknown.
    """

    tracks: tuple[Track, ...]
    frame_count: int | None = None

    def __post_init__(self) -> None:
        """Check that there is a track."""
        if not self.tracks:
            raise TrackError("expected at least one track, got none")

    @property
    def name(self) -> str:
        """Name in results."""
        return "given"

    @property
    def per_video(self) -> bool:
        """True: the query changes nothing."""
        return True

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return the tracks, whatever the request.

        Raises:
            TrackError: they are of another video: a frame lies outside of it.
        """
        info = request.frames.info
        cure = "frames are numbered from 0 in the video as it is, before sampling"
        if self.frame_count is not None and self.frame_count > info.frame_count:
            raise TrackError(
                f"expected detections of the {info.frame_count} frames of {info.path}, got {self.frame_count}; {cure}"
            )
        for track in self.tracks:
            first, last = int(track.frames[0]), int(track.frames[-1])
            if first < 0 or last >= info.frame_count:
                expected = f"expected tracks in frames 0 to {info.frame_count - 1} of {info.path}"
                raise TrackError(f"{expected}, got {first} to {last}; {cure}")
        return self.tracks


@runtime_checkable
class Detections(Protocol):
    """What is used of `supervision.Detections`: the boxes of one frame, with the tracker's ids."""

    xyxy: Any
    tracker_id: Any
    data: Any


def tracks_from_detections(frames: Sequence[Detections]) -> tuple[Track, ...]:
    """Return one track per tracker id.

    Args:
        frames: detections of every source frame, in order (`supervision.Detections`); xyxy in pixels.

    Raises:
        TrackError: detections have no tracker ids, or ids that are no whole numbers; an id occurs twice in a frame; or
            there is no box at all.

    Examples:
        >>> from types import SimpleNamespace as Detections
        >>> one = Detections(xyxy=np.array([[0.0, 0, 8, 8]]), tracker_id=np.array([7]), data={"class_name": ["dog"]})
        >>> none = Detections(xyxy=np.zeros((0, 4)), tracker_id=None, data={})
        >>> [(track.label, track.frames.tolist()) for track in tracks_from_detections([one, none, one])]
        [('dog', [0, 2])]
    """
    boxes: dict[int, dict[int, np.ndarray]] = {}
    labels: dict[int, str] = {}
    for frame, detections in enumerate(frames):
        if len(detections.xyxy) == 0:
            continue
        if detections.tracker_id is None:
            raise TrackError(
                f"expected tracker ids in the detections of frame {frame}, got none; run a tracker over them first, "
                "such as supervision.ByteTrack().update_with_detections"
            )
        identities = _identities(detections, frame)
        names = (detections.data or {}).get("class_name", [""] * len(identities))
        if len(names) != len(identities):
            raise TrackError(f"expected {len(identities)} class names in frame {frame}, got {len(names)}")
        for identity, box, label in zip(identities, detections.xyxy, names, strict=True):
            track = boxes.setdefault(identity, {})
            if frame in track:
                raise TrackError(f"expected one box of track {identity} in frame {frame}, got two")
            track[frame] = np.asarray(box, np.float64)
            labels.setdefault(identity, str(label))
    if not boxes:
        raise TrackError("expected at least one detection, got none in any frame")
    return tuple(
        Track(np.array(list(track)), np.stack(list(track.values())), labels[identity])
        for identity, track in sorted(boxes.items())
    )


def _identities(detections: Detections, frame: int) -> list[int]:
    """Return the tracker ids of one frame's boxes."""
    identities = np.asarray(detections.tracker_id)
    if not np.issubdtype(identities.dtype, np.integer) or identities.shape != (len(detections.xyxy),):
        raise TrackError(
            f"expected {len(detections.xyxy)} whole numbers as tracker ids in frame {frame}, got {identities.dtype} "
            f"of {identities.shape}; leave boxes without an id out"
        )
    return [int(identity) for identity in identities]
