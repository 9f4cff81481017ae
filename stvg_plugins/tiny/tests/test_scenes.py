"""Ground truth against pixels, determinism, and what hard scenes promise."""

import numpy as np
import pytest

from stvg_tiny.errors import SceneError
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split, held_out_scene, sample_scene, split_generator
from stvg_tiny.scenes import EVENTS, SHAPE_NAMES, STILL, Scene, SceneObject, Span, Texture, frame_times

PLAIN = Texture(seed=0, grid_cells=4, noise_level=0.0, edge_softness=0.0)


def only(shape: str, action: str = STILL, **changes: object) -> Scene:
    values = {
        "color": "yellow",
        "shape": shape,
        "action": action,
        "span": Span(0.25, 0.75),
        "start_center": (0.62, 0.4),
        "displacement": (0.0, 0.0),
        "start_radius": 0.12,
        "end_radius": 0.12,
    }
    return Scene((SceneObject(**(values | changes)),), PLAIN)


def painted_box(scene: Scene, time: float, size: int) -> np.ndarray:
    """Box of the pixels that differ from the same picture without the object."""
    times = np.array([time])
    with_object = render(scene, times, size)[0].astype(int)
    without = render(Scene((), scene.texture), times, size)[0].astype(int)
    rows, columns = np.nonzero(np.abs(with_object - without).max(axis=-1) > 12)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("size", [96, 384])
@pytest.mark.parametrize("shape", SHAPE_NAMES)
def test_box_encloses_the_painted_pixels(shape: str, size: int) -> None:
    scene = only(shape, "moves left", displacement=(-0.3, 0.02), end_radius=0.1)
    for time in (0.1, 0.4, 0.9):
        box = scene.target.boxes(np.array([time]), size)[0]
        # The triangle's tip is thinner than a pixel; all other edges are exact to about one.
        np.testing.assert_allclose(painted_box(scene, time, size), box, atol=3.0 if shape == "triangle" else 1.5)


def test_boxes_scale_with_the_frame() -> None:
    scene = held_out_scene(Split.DEVELOPMENT, 0, "hard")
    times = frame_times(16)
    for item in scene.objects:
        np.testing.assert_allclose(item.boxes(times, 384), 4 * item.boxes(times, 96))


def test_a_large_picture_made_small_looks_like_a_small_picture() -> None:
    scene = held_out_scene(Split.DEVELOPMENT, 1, "hard")
    large = render(scene, np.array([0.5]), 384)[0].astype(float)
    small = render(scene, np.array([0.5]), 96)[0].astype(float)
    shrunk = large.reshape(96, 4, 96, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small).mean() < 6.0


def test_blinking_hides_the_object_and_only_during_its_span() -> None:
    scene = only("square", "blinks")
    times = frame_times(32)
    visible = scene.target.visible(times)
    assert not visible.all()
    assert visible[~scene.target.span.contains(times)].all()
    hidden = times[~visible][0]
    np.testing.assert_array_equal(render(scene, np.array([hidden]), 96), render(Scene((), PLAIN), np.array([0.0]), 96))


def test_span_frames_are_inclusive_and_follow_the_frame_count() -> None:
    assert Span(0.25, 0.5).frames(16) == (4, 7)
    assert Span(0.25, 0.5).frames(128) == (32, 63)


@pytest.mark.parametrize("index", range(60))
def test_hard_scenes_need_both_halves_of_the_description(index: int) -> None:
    target, same_looks, same_action, *_ = held_out_scene(Split.TEST, index, "hard").objects
    assert (same_looks.color, same_looks.shape) == (target.color, target.shape)
    assert same_looks.action != target.action
    assert same_action.action == target.action
    assert (same_action.color, same_action.shape) != (target.color, target.shape)


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
def test_the_target_is_unique_and_does_something(difficulty: str) -> None:
    for index in range(100):
        scene = held_out_scene(Split.TEST, index, difficulty)
        full = [(item.color, item.shape, item.action) for item in scene.objects]
        assert full.count(full[0]) == 1
        assert scene.target.action in EVENTS


def test_objects_stay_inside_the_frame() -> None:
    for index in range(50):
        for item in held_out_scene(Split.TEST, index, "hard").objects:
            boxes = item.boxes(frame_times(64), 96)
            assert (boxes > 0).all()
            assert (boxes < 96).all()


def test_scenes_and_pixels_are_reproducible() -> None:
    first, again = (held_out_scene(Split.TEST, 5, "hard") for _ in range(2))
    assert first == again
    times = frame_times(16)
    np.testing.assert_array_equal(render(first, times, 96), render(again, times, 96))


def test_splits_do_not_share_scenes() -> None:
    scenes = [held_out_scene(split, index, "hard") for split in Split for index in range(20)]
    assert len(set(scenes)) == len(scenes)


def test_a_hard_scene_needs_room_for_its_distractors() -> None:
    with pytest.raises(SceneError, match="at least 3 objects"):
        sample_scene(split_generator(Split.DEVELOPMENT, 0), "hard", object_count=2)


def test_an_unknown_shape_is_named_in_the_error() -> None:
    scene = only("circle")
    broken = SceneObject(**{**vars(scene.target), "shape": "blob"})
    with pytest.raises(SceneError, match="blob"):
        render(Scene((broken,), PLAIN), np.array([0.0]), 96)
