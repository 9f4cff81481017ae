"""A scene as the framework's values: sampled frames, the query, and the true tube and tracks.

Training knows frames only; here a scene is a video of 128 frames at 20 fps, of which a method
sees a few, as it would see a file. Ground truth made here goes to the metrics, to oracle
tracks and to pictures, never to a method.
"""

from dataclasses import dataclass

import numpy as np

from stvg_core.config import SamplingSettings
from stvg_core.tracks.tracker import TrackRequest
from stvg_core.values import Frames, Track, Tube, VideoInfo
from stvg_core.video import sample_indices
from stvg_tiny.rendering import render
from stvg_tiny.scenes import Scene, SceneObject, frame_times

CLIP_FRAMES = 128
CLIP_FRAMES_PER_SECOND = 20.0


def clip_info(size_pixels: int) -> VideoInfo:
    """Return what a clip's file would say of itself."""
    return VideoInfo(
        path="scene",
        width=size_pixels,
        height=size_pixels,
        fps=CLIP_FRAMES_PER_SECOND,
        duration_seconds=CLIP_FRAMES / CLIP_FRAMES_PER_SECOND,
        frame_seconds=np.arange(CLIP_FRAMES) / CLIP_FRAMES_PER_SECOND,
    )


def clip_frames(scene: Scene, size_pixels: int, sampling: SamplingSettings) -> Frames:
    """Return the frames of a scene's clip that a method would see."""
    info = clip_info(size_pixels)
    indices = sample_indices(info, sampling)
    return Frames(info, indices, render(scene, frame_times(CLIP_FRAMES)[indices], size_pixels))


def query(scene: Scene) -> str:
    """Return the sentence that describes the scene's target and nothing else in it."""
    return f"The {scene.target.color} {scene.target.shape} {scene.target.action}."


def true_tube(scene: Scene, size_pixels: int) -> Tube:
    """Return the target's boxes over the frames of its event."""
    first, last = scene.target.span.frames(CLIP_FRAMES)
    info = clip_info(size_pixels)
    boxes = scene.target.boxes(frame_times(CLIP_FRAMES), size_pixels)[first : last + 1]
    return Tube(first, boxes.astype(np.float64), info.frame_seconds[first : last + 1], info.frame_end_seconds(last))


def true_track(item: SceneObject, size_pixels: int) -> Track:
    """Return an object's boxes over the whole clip."""
    boxes = item.boxes(frame_times(CLIP_FRAMES), size_pixels).astype(np.float64)
    return Track(np.arange(CLIP_FRAMES), boxes, f"{item.color} {item.shape}")


@dataclass(frozen=True)
class OracleTracker:
    """Proposes the true tracks of every object of one scene: an upper bound, never a result.

    The order is shuffled by the scene's own seed, so that a tie does not favour the target.
    """

    scene: Scene
    size_pixels: int

    @property
    def name(self) -> str:
        """Name in tables."""
        return "oracle"

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return all true tracks, whatever is asked."""
        return self.tracks()

    def tracks(self) -> tuple[Track, ...]:
        """Return all true tracks, shuffled."""
        order = np.random.default_rng(self.scene.texture.seed).permutation(len(self.scene.objects))
        return tuple(true_track(self.scene.objects[place], self.size_pixels) for place in order)
