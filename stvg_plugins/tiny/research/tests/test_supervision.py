"""Dense labels against the scene they describe; the losses on attention against loops."""

import math

import numpy as np
import pytest
import torch

from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import COLOR_NAMES, EVENTS, SHAPE_NAMES, STILL, Scene, SceneObject, Span, Texture, frame_times
from tiny_recipe.grid import VideoGrid
from tiny_recipe.packing import pack
from tiny_recipe.questions import training_questions
from tiny_recipe.supervision import (
    IGNORED,
    PlaceHead,
    asked_cells,
    dense_labels,
    following_loss,
    looking_loss,
    named_words,
    reading_loss,
    token_owners,
)

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


def test_asked_cells_are_those_of_the_objects_that_a_question_names() -> None:
    for index in range(10):
        scene = held_out_scene(Split.DEVELOPMENT, index, "hard")
        labels = dense_labels(scene, TIMES, GRID)
        questions = training_questions(np.random.default_rng(index), scene)
        cells = asked_cells([questions], torch.from_numpy(labels)[None])[0].numpy()
        for question, asked in zip(questions, cells, strict=True):
            expected = np.zeros(GRID.visual_tokens, bool)
            words = question.text.replace("?", " ?").split()
            if question.kind not in ("caption", "combined"):
                for cell, (color, shape, action) in enumerate(labels.T):
                    wrong_color = any(name in words and color != place for place, name in enumerate(COLOR_NAMES, 1))
                    wrong_shape = any(name in words and shape != place for place, name in enumerate(SHAPE_NAMES, 1))
                    wrong_action = any(
                        name in question.text and action != place for place, name in enumerate(EVENTS, 1)
                    )
                    expected[cell] = not (wrong_color or wrong_shape or wrong_action)
            assert (asked == expected).all(), question.text


def test_looking_loss_equals_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(3, 2, 4, 6, 9, generator=generator)
    cells = torch.rand(2, 4, 9, generator=generator) < 0.3
    cells[1, 2] = False
    whole, single = [], []
    for video in range(2):
        for question in range(4):
            if not cells[video, question].any():
                continue
            for role in range(6):
                layers = [attention[layer, video, question, role].double() for layer in range(3)]
                wanted = cells[video, question]
                mean = sum(layers) / 3
                whole.append(-math.log(float(mean[wanted].sum() / mean.sum())))
                single += [-math.log(float(layer[wanted].sum() / layer.sum())) for layer in layers[1:]]
    expected = np.mean(whole) + 0.5 * np.mean(single)
    assert looking_loss(attention, cells).item() == pytest.approx(expected, rel=1e-5)
    assert looking_loss(attention, torch.zeros_like(cells)).item() == 0.0


def test_reading_loss_is_that_of_a_questions_own_naming_words() -> None:
    # Two questions of the words 7 9 and 8 7, each answered by 7; role tokens are left out.
    packed = pack([[([0] * 4 + [7, 9], [7]), ([0] * 4 + [8, 7], [7])]])
    words = named_words(packed, torch.tensor([7, 8]))
    assert words[0].nonzero().tolist() == [[0, 4], [1, 11], [1, 12]]
    reading = torch.full((1, 2, 1, 14), 0.5)
    reading[0, 0, 0, 4] = 0.25
    assert reading_loss(reading, words).item() == pytest.approx((math.log(4) + 2 * math.log(2)) / 3, rel=1e-6)


def test_owners_are_the_objects_whose_dense_labels_a_token_has() -> None:
    for index in range(10):
        scene = held_out_scene(Split.DEVELOPMENT, index, "hard")
        owners = token_owners(scene, TIMES, GRID)
        color, shape, _ = dense_labels(scene, TIMES, GRID)
        for owner, color_class, shape_class in zip(owners, color, shape, strict=True):
            if owner == -1:
                assert color_class <= 0
            else:
                item = scene.objects[owner]
                assert color_class == COLOR_NAMES.index(item.color) + 1
                assert shape_class == SHAPE_NAMES.index(item.shape) + 1


def test_following_loss_equals_a_loop() -> None:
    grid = VideoGrid(frame_count=3, size_pixels=32, token_frames=1)
    generator = torch.Generator().manual_seed(1)
    following = torch.rand(2, 12, 12, generator=generator)
    owners = torch.randint(-1, 2, (2, 12), generator=generator)
    values = []
    for video in range(2):
        for row in range(12):
            past = [
                column
                for column in range(12)
                if column // 4 == row // 4 - 1 and owners[video, column] == owners[video, row] != -1
            ]
            if past:
                weights = following[video, row].double()
                values.append(-math.log(float(weights[past].sum() / weights.sum())))
    assert len(values) > 4
    assert following_loss(following, owners, grid).item() == pytest.approx(np.mean(values), rel=1e-5)
    assert following_loss(following, torch.full_like(owners, -1), grid).item() == 0.0


@torch.no_grad()
def test_place_loss_equals_a_loop() -> None:
    grid = VideoGrid(frame_count=2, size_pixels=48, token_frames=1)
    generator = torch.Generator().manual_seed(2)
    head = PlaceHead(5, grid)
    states = torch.randn(2, grid.visual_tokens, 5, generator=generator)
    owners = torch.randint(-1, 2, (2, grid.visual_tokens), generator=generator)
    total = weight = 0.0
    for video in range(2):
        for token in range(grid.visual_tokens):
            scores = (head.linear.weight @ states[video, token] + head.linear.bias).double()
            row, column = token % 9 // 3, token % 3
            loss = -scores[:3].log_softmax(0)[row] - scores[3:].log_softmax(0)[column]
            share = 0.1 if owners[video, token] == -1 else 1.0
            total, weight = total + share * float(loss), weight + share
    assert head(states, owners).item() == pytest.approx(total / weight, rel=1e-5)
