"""Which visual token shows which patch of which frame, and what a clip looks like in reverse."""

import itertools

import pytest

from stvg_core.values import TokenLayout
from tests.support.backends.impulse import changed_cells, without_mixing
from tests.support.backends.measure import flip_difference, reversal_difference
from tests.support.backends.plain import PATCH
from tests.support.backends.subjects import CASES, FRAME_COUNT, Case, Subject, frames

every_case = pytest.mark.parametrize("case", CASES, ids=str)
ORDERS = ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3))


def patches(case: Case) -> list[tuple[int, int]]:
    """Rows and columns of some patches, none on the diagonal, so that a transposed grid shows."""
    side = len(frames(case).pixels[0]) // PATCH
    return [(0, side - 1), (side - 1, 1), (1, side // 2), (side // 2 + 1, 0)]


def expected_step(layout: TokenLayout, order: tuple[int, ...], frame: int) -> int:
    return layout.time_step_of_frame[order.index(frame)]


@every_case
def test_a_patch_moves_the_token_that_the_layout_names(subject: Subject, case: Case) -> None:
    side = len(frames(case).pixels[0]) // PATCH
    with without_mixing(subject.model):
        for order, (frame, (row, column)) in itertools.product(ORDERS, zip((0, 4, 3, 1), patches(case), strict=True)):
            layout = subject.encode(case, order).layout
            cell = (row * layout.rows // side, column * layout.columns // side)
            moved = changed_cells(subject, case, order, frame, row, column)
            assert moved == {(expected_step(layout, order, frame), *cell)}, (order, frame, row, column)


@every_case
def test_frames_see_one_another_within_their_time_step_only(subject: Subject, case: Case) -> None:
    for order, frame in itertools.product(ORDERS, (0, 3, 4)):
        layout = subject.encode(case, order).layout
        step = expected_step(layout, order, frame)
        whole = {(step, row, column) for row in range(layout.rows) for column in range(layout.columns)}
        assert changed_cells(subject, case, order, frame, 1, 0) == whole


@every_case
def test_reversed_view(subject: Subject, case: Case) -> None:
    clip = subject.encode(case)
    view = subject.session.augment_frames(frames(case), clip, case.settings)
    assert view.frame_order == tuple(reversed(range(FRAME_COUNT)))
    assert view.layout == clip.layout
    tokens, margin = reversal_difference(subject, case)
    assert tokens < 4e-6
    assert margin < 3e-5


@every_case
def test_flipping_is_exact_where_a_token_covers_one_frame_alone(subject: Subject, case: Case) -> None:
    difference = flip_difference(subject, case, 4)
    if case.settings.family.get("temporal_merge") == "merge":
        assert difference > 0.3
    else:
        assert difference < 1e-6
