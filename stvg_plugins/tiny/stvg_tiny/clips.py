"""A scene as the framework's values: sampled frames, the query, and the true tube and tracks.

Training knows frames only; here a scene is a video of 128 frames at 20 fps, of which a method
sees a few, as it would see a file. Ground truth made here goes to the metrics, to oracle
tracks and to pictures, never to a method.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np
from jaxtyping import UInt8

from stvg_core.inputs.video import sample_indices
from stvg_core.plugin import Tracker, TrackRequest
from stvg_core.settings import SamplingSettings
from stvg_core.values import Frames, Track, Tube, VideoInfo
from stvg_tiny.rendering import render
from stvg_tiny.sampling import planned_novelty, sample_test_scene
from stvg_tiny.scenes import Difficulty, Scene, SceneObject, frame_times

CLIP_FRAMES = 128
CLIP_FRAMES_PER_SECOND = 20.0
CLIP_PIXELS: Final = 192
"""Side of a measured clip. The tiny models see less; trackers see the clip."""

_ENCODER_OPTIONS: Final = {"crf": "23", "preset": "superfast", "x264-params": "no-asm=1:threads=1"}
"""x264's assembly reads memory that was never set: with it, two runs of one clip differ in some bytes."""

QueryForm = Literal["declarative", "interrogative"]
QUERY_FORMS: Final[tuple[QueryForm, ...]] = ("declarative", "interrogative")


@dataclass(frozen=True)
class Clip:
    """One clip of a benchmark.

    Attributes:
        identifier: its name, unique in the benchmark ("hard_0007").
        scene: what it shows; `scene.target` is what its queries ask for.
        tags: what is new to a model in it: "pair", "triple", "background", "five_objects", or nothing.
    """

    identifier: str
    scene: Scene
    tags: tuple[str, ...] = ()


def benchmark_clips(difficulty: Difficulty, count: int, seed: int = 0) -> list[Clip]:
    """Return the first clips of one level of the test split; seed 0 is the split itself."""
    return [
        Clip(
            f"{difficulty}_{index:04d}",
            sample_test_scene(index, difficulty, seed),
            planned_novelty(index, difficulty, seed).tags,
        )
        for index in range(count)
    ]


def clip_info(size_pixels: int, frame_count: int = CLIP_FRAMES) -> VideoInfo:
    """Return what a clip's file would say of itself."""
    return VideoInfo(
        path="scene",
        width=size_pixels,
        height=size_pixels,
        fps=CLIP_FRAMES_PER_SECOND,
        duration_seconds=frame_count / CLIP_FRAMES_PER_SECOND,
        frame_seconds=np.arange(frame_count) / CLIP_FRAMES_PER_SECOND,
    )


def clip_frames(scene: Scene, size_pixels: int, sampling: SamplingSettings) -> Frames:
    """Return the frames of a scene's clip that a method would see."""
    info = clip_info(size_pixels)
    indices = sample_indices(info, sampling)
    return Frames(info, indices, render(scene, frame_times(CLIP_FRAMES)[indices], size_pixels))


def clip_pixels(scene: Scene, size_pixels: int) -> UInt8[np.ndarray, "frame height width rgb=3"]:
    """Return every frame of a scene's clip."""
    return render(scene, frame_times(CLIP_FRAMES), size_pixels)


def query(scene: Scene, form: QueryForm = "declarative") -> str:
    """Return the sentence, or the question as VidSTG asks it, that fits the scene's target and nothing else in it."""
    target = scene.target
    if form == "interrogative":
        return f"what {target.color} {target.shape} {target.action}?"
    return f"The {target.color} {target.shape} {target.action}."


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
class OracleTracker(Tracker):
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


def write_clip(path: Path, pixels: UInt8[np.ndarray, "frame height width rgb=3"]) -> None:
    """Write the frames of a clip as an H.264 file: the same bytes every time, for one version of the encoder."""
    with av.open(str(path), "w") as container:
        rate = Fraction(CLIP_FRAMES_PER_SECOND)
        stream = container.add_stream("libx264", rate=rate, options=_ENCODER_OPTIONS)
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
