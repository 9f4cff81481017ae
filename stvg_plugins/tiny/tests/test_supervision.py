"""Dense labels against the scene they describe."""

import numpy as np

from stvg_tiny.architectures import VideoGrid
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import COLOR_NAMES, EVENTS, STILL, Scene, SceneObject, Span, Texture, frame_times
from stvg_tiny.supervision import IGNORED, dense_labels

GRID = VideoGrid()
TIMES = frame_times(GRID.frame_count)


def lone(action: str, span: Span) -> Scene:
    item = SceneObject("blue", "ring", action, span, (0.25, 0.75), (0.0, 0.0), 0.1, 0.1)
    return Scene((item,), Texture(0, 4, 0.0, 0.0))


def test_the_cell_below_the_object_has_its_classes() -> None:
    color, _shape, action = dense_labels(lone("grows", Span(0.5, 1.0)), TIMES, GRID).reshape(3, 8, 6, 6)
    assert (color[:, 4, 1] == COLOR_NAMES.index("blue") + 1).all()
    assert (color[:, 0, 5] == 0).all()
    assert (action[:4, 4, 1] == 0).all()
    assert (action[4:, 4, 1] == EVENTS.index("grows") + 1).all()


def test_still_objects_have_no_action() -> None:
    action = dense_labels(lone(STILL, Span(0.0, 1.0)), TIMES, GRID)[2]
    assert set(np.unique(action)) <= {0, IGNORED}


def test_hidden_objects_teach_nothing() -> None:
    scene = lone("blinks", Span(0.0, 1.0))
    labels = dense_labels(scene, TIMES, GRID).reshape(3, 8, 6, 6)
    hidden = ~scene.target.visible(TIMES).reshape(8, 2).any(axis=1)
    assert hidden.any()
    assert (labels[:, hidden, 4, 1] == IGNORED).all()
    assert (labels[:, ~hidden, 4, 1] > 0).all()


def test_labels_are_within_their_classes() -> None:
    for index in range(20):
        labels = dense_labels(held_out_scene(Split.DEVELOPMENT, index, "hard"), TIMES, GRID)
        assert labels.shape == (3, GRID.visual_tokens)
        assert labels.min() >= IGNORED
        assert (labels.max(axis=1) <= [6, 5, 7]).all()
