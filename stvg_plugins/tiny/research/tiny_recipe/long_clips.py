"""Long videos with one event: a scene at a random place, and around it the same scene at rest, or other scenes.

A long clip is some times as long as the clips that the tiny models are trained on. `rest` looks like a camera that
does not move: the scene's objects are where they were before the event, then where they are after it. `cuts` looks
like an edited film: other scenes of a trained length each, none of which holds an object of the target's full
description. The event begins anywhere, not where a window does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from stvg_core.values import Track, Tube, VideoInfo
from stvg_tiny.clips import CLIP_FRAMES, CLIP_FRAMES_PER_SECOND, clip_info
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split, held_out_scene, sample_scene, split_generator
from stvg_tiny.scenes import Difficulty, Scene, SceneObject, frame_times

Surroundings = Literal["rest", "cuts"]
SURROUNDINGS: Final[tuple[Surroundings, ...]] = get_args(Surroundings)
CLIP_SECONDS: Final = CLIP_FRAMES / CLIP_FRAMES_PER_SECOND
"""The length that the tiny models are trained on."""

_LONG_KEY: Final = 9
_PLACE_KEY: Final = 0
_FILLER_KEY: Final = 1


@dataclass(frozen=True)
class LongClip:
    """One long video.

    Attributes:
        identifier: its name, unique among the clips of a measurement.
        scene: what holds the event; `scene.target` is what the query asks for.
        times: length, in trained lengths.
        first_frame: source frame at which the scene begins.
        fillers: the other scenes, in order of time; none where the scene itself is shown at rest.
    """

    identifier: str
    scene: Scene
    times: int
    first_frame: int
    fillers: tuple[Scene, ...] = ()

    def frames(
        self, indices: Int64[np.ndarray, " frame"], size_pixels: int
    ) -> UInt8[np.ndarray, "frame height width rgb=3"]:
        """Return the pictures of some source frames."""
        times = frame_times(CLIP_FRAMES)
        if not self.fillers:
            return render(self.scene, times[(indices - self.first_frame).clip(0, CLIP_FRAMES - 1)], size_pixels)
        pictures = np.empty((len(indices), size_pixels, size_pixels, 3), np.uint8)
        # Scenes of a trained length each, laid so that one of them begins where the event's does.
        places, moments = np.divmod(indices - self.first_frame, CLIP_FRAMES)
        before = -(-self.first_frame // CLIP_FRAMES)
        for place in np.unique(places):
            shown = places == place
            number = int(place) + before
            scene = self.scene if place == 0 else self.fillers[number - (place > 0)]
            pictures[shown] = render(scene, times[moments[shown]], size_pixels)
        return pictures

    def true_tube(self, size_pixels: int) -> Tube:
        """Return the target's boxes over the frames of its event."""
        info = long_clip_info(self.times, size_pixels)
        first, last = self.scene.target.span.frames(CLIP_FRAMES)
        boxes = _boxes(self.scene.target, size_pixels)[first : last + 1]
        first, last = first + self.first_frame, last + self.first_frame
        return Tube(first, boxes, info.frame_seconds[first : last + 1], info.frame_end_seconds(last))

    def true_tracks(self, size_pixels: int) -> tuple[Track, ...]:
        """Return the tracks of all objects of the event's scene, for as long as they are shown.

        Shuffled by the scene's own seed, so that a tie does not favour the target.
        """
        order = np.random.default_rng(self.scene.texture.seed).permutation(len(self.scene.objects))
        return tuple(self._track(self.scene.objects[place], size_pixels) for place in order)

    def _track(self, item: SceneObject, size_pixels: int) -> Track:
        frames, boxes = np.arange(CLIP_FRAMES) + self.first_frame, _boxes(item, size_pixels)
        if not self.fillers:
            # At rest from the beginning and to the end.
            ends = np.array([0, self.times * CLIP_FRAMES - 1])
            frames, places = np.unique(np.concatenate([frames, ends]), return_index=True)
            boxes = np.concatenate([boxes, boxes[[0, -1]]])[places]
        return Track(frames, boxes, f"{item.color} {item.shape}")


def _boxes(item: SceneObject, size_pixels: int) -> Float64[np.ndarray, "frame xyxy=4"]:
    return item.boxes(frame_times(CLIP_FRAMES), size_pixels).astype(np.float64)


def long_clip_info(times: int, size_pixels: int) -> VideoInfo:
    """Return what a long clip's file would say of itself."""
    return clip_info(size_pixels, times * CLIP_FRAMES)


def long_clip(split: Split, index: int, difficulty: Difficulty, times: int, surroundings: Surroundings) -> LongClip:
    """Return long clip number `index` of a split: the same clip today and in a year.

    Its event is that of the split's scene of the same number; where it is does not depend on the surroundings.
    """
    scene = held_out_scene(split, index, difficulty)
    keys = (_LONG_KEY, int(difficulty == "hard"), times, index)
    first = int(split_generator(split, *keys, _PLACE_KEY).integers((times - 1) * CLIP_FRAMES + 1))
    identifier = f"{difficulty}_{surroundings}_{times}x_{index:04d}"
    if surroundings == "rest":
        return LongClip(identifier, scene, times, first)
    generator = split_generator(split, *keys, _FILLER_KEY)
    # One more than fit: the first and the last may be cut.
    fillers = tuple(_other_scene(generator, scene, difficulty) for _ in range(times))
    return LongClip(identifier, scene, times, first, fillers)


def _other_scene(generator: np.random.Generator, scene: Scene, difficulty: Difficulty) -> Scene:
    """Draw a scene that the query about another one does not fit."""
    target = scene.target
    while True:
        drawn = sample_scene(generator, difficulty)
        if all(
            (one.color, one.shape, one.action) != (target.color, target.shape, target.action) for one in drawn.objects
        ):
            return drawn
