"""Long clips: the event is where the truth says, and nothing else fits the query."""

import json

import numpy as np
import pytest

from stvg_tiny.clips import CLIP_FRAMES
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import frame_times
from tiny_recipe.long_clips import SURROUNDINGS, LongClip, Surroundings, long_clip
from tiny_recipe.long_grounding import main

PIXELS = 32


@pytest.fixture(params=SURROUNDINGS)
def clip(request: pytest.FixtureRequest) -> LongClip:
    return long_clip(Split.DEVELOPMENT, 3, "hard", 5, request.param)


def test_the_scene_is_shown_at_its_place(clip: LongClip) -> None:
    assert clip.scene == held_out_scene(Split.DEVELOPMENT, 3, "hard")
    indices = np.arange(clip.first_frame, clip.first_frame + CLIP_FRAMES)
    np.testing.assert_array_equal(clip.frames(indices, PIXELS), render(clip.scene, frame_times(CLIP_FRAMES), PIXELS))


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("first_frame", [0, 1, 127, 128, 300, 512])
def test_every_frame_shows_something_wherever_the_scene_is(surroundings: Surroundings, first_frame: int) -> None:
    drawn = long_clip(Split.DEVELOPMENT, 0, "hard", 5, surroundings)
    clip = LongClip("a", drawn.scene, 5, first_frame, drawn.fillers)
    indices = np.arange(0, 5 * CLIP_FRAMES, 31)
    pictures = clip.frames(indices, PIXELS)
    assert pictures.shape == (len(indices), PIXELS, PIXELS, 3)
    assert all(shown.std() > 5 for shown in pictures)


def test_around_the_event_the_scene_rests() -> None:
    clip, times = long_clip(Split.DEVELOPMENT, 3, "hard", 5, "rest"), frame_times(CLIP_FRAMES)
    for frame, time in ((0, times[:1]), (5 * CLIP_FRAMES - 1, times[-1:])):
        np.testing.assert_array_equal(clip.frames(np.array([frame]), PIXELS), render(clip.scene, time, PIXELS))


def test_no_other_scene_fits_the_query(clip: LongClip) -> None:
    target = clip.scene.target
    described = {(one.color, one.shape, one.action) for scene in clip.fillers for one in scene.objects}
    assert (target.color, target.shape, target.action) not in described
    assert len(clip.fillers) in (0, 5)


def test_the_true_tube_and_tracks_are_those_of_the_scene(clip: LongClip) -> None:
    tube = clip.true_tube(PIXELS)
    first, last = clip.scene.target.span.frames(CLIP_FRAMES)
    assert (tube.start_frame, tube.end_frame) == (clip.first_frame + first, clip.first_frame + last)
    boxes = clip.scene.target.boxes(frame_times(CLIP_FRAMES), PIXELS)[first : last + 1]
    np.testing.assert_allclose(tube.boxes_xyxy, boxes)
    tracks = clip.true_tracks(PIXELS)
    assert len(tracks) == len(clip.scene.objects)
    numbers = np.arange(tube.start_frame, tube.end_frame + 1)
    assert any(np.allclose(track.boxes_at(numbers)[0], boxes) for track in tracks)
    shown = [(int(track.frames[0]), int(track.frames[-1])) for track in tracks]
    scene = clip.first_frame, clip.first_frame + CLIP_FRAMES - 1
    assert set(shown) == {scene if clip.fillers else (0, 5 * CLIP_FRAMES - 1)}


def test_clips_are_the_same_every_time_and_differ(clip: LongClip) -> None:
    surroundings: Surroundings = "cuts" if clip.fillers else "rest"
    assert long_clip(Split.DEVELOPMENT, 3, "hard", 5, surroundings) == clip
    others = [long_clip(Split.DEVELOPMENT, index, "hard", 16, surroundings).first_frame for index in range(8)]
    assert len(set(others)) > 4
    assert all(0 <= first <= 15 * CLIP_FRAMES for first in others)


@pytest.mark.slow
def test_long_grounding_prints_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--times", "3", "--clips", "2", "--surroundings", "cuts"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["rows"]] == ["whole video", "windows"]
    assert all(row["failures"] == 0 for row in found["rows"])
    assert found["windows_minus_whole"]["scenes"] == 2
