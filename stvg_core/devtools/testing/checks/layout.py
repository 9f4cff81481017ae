"""Which visual token shows which part of which frame."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from jaxtyping import Float64

from stvg_core.devtools.testing.check import Findings, check
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext, difference
from stvg_core.devtools.testing.subject import ShownClip
from stvg_core.errors import StvgError
from stvg_core.values import Frames, TokenLayout

FRAME_COUNTS: Final = (1, 2, 5)
ORDERS: Final = ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3))
_WHITE: Final = 255
_SEEDS: Final = (7, 8)
"""Of clips of noise whose changes are added up."""


@check(
    "token-layout",
    "the layout has a cell for every visual token of the prompt and a time step for every frame, odd or even in number",
)
def token_layout(context: ConformanceContext, findings: Findings) -> None:
    """Encode one frame, two and five; count the visual tokens in the model's own prompt."""
    for settings in context.ways:
        for count in FRAME_COUNTS:
            try:
                clip = context.clip(count, settings=settings)
            except StvgError:
                if count == 1:
                    continue  # a model may need more than one frame, and says so
                raise
            _look_at(context, clip, findings)


def _look_at(context: ConformanceContext, clip: ShownClip, findings: Findings) -> None:
    tokens, layout, count = clip.encoded.visual_tokens, clip.encoded.layout, len(clip.frames)
    what = f"{count} frames as {clip.settings.model_dump(exclude_unset=True)}"
    findings.expect(
        layout.frame_count == count, f"the layout of {what} has {layout.frame_count} frames (time_step_of_frame)"
    )
    findings.expect(
        layout.time_step_of_frame == tuple(sorted(layout.time_step_of_frame)),
        f"time_step_of_frame of {what} runs backwards: {layout.time_step_of_frame}",
    )
    findings.expect(
        tokens.is_floating_point() and bool(torch.isfinite(tokens).all()) and not tokens.requires_grad,
        f"the visual tokens of {what} must be finite numbers without gradients, got {tokens.dtype}",
    )
    findings.expect(
        clip.encoded.frame_order == clip.frame_order,
        f"frame_order of {what} is {clip.encoded.frame_order}, asked was {clip.frame_order}",
    )
    seen = context.plain(clip, QUESTIONS[0]).rows.shape[1]
    findings.expect(
        seen == layout.cell_count,
        f"the model's own prompt for {what} holds {seen} visual tokens, the layout {layout.shape} has "
        f"{layout.cell_count} cells",
    )


@check(
    "frame-order",
    "frames are shown in the order that is asked for, whatever order that is",
)
def frame_order(context: ConformanceContext, findings: Findings) -> None:
    """Compare an order asked of `encode` with the same frames laid in that order."""
    frames = context.frames()
    for settings in context.ways:
        straight = context.show(frames, settings=settings).encoded
        for order in ORDERS[1:]:
            asked = context.show(frames, settings=settings, order=order)
            laid = context.show(
                Frames(frames.info, frames.indices, frames.pixels[list(order)]), settings=settings
            ).encoded
            findings.at_most(
                "difference of visual tokens",
                difference(asked.encoded.visual_tokens, laid.visual_tokens),
                context.tolerances.tokens,
                f"frame_order {order} does not show frame {order[0]} first, frame {order[1]} second, and so on",
            )
            findings.expect(
                asked.encoded.frame_order == order,
                f"the clip's frame_order is {asked.encoded.frame_order}, asked was {order}",
            )
            findings.expect(
                difference(straight.visual_tokens, asked.encoded.visual_tokens) > context.tolerances.tokens,
                "the order of frames makes no difference to the visual tokens",
            )


@check(
    "token-places",
    "a visual token shows the frame and the cell that the layout says: change a patch, and its token changes most",
)
def token_places(context: ConformanceContext, findings: Findings) -> None:
    """Invert one cell's pixels of one frame at a time, and see which token changes most."""
    for settings in context.ways:
        right, wrong, total = 0, "", 0
        for order in ORDERS:
            clips = [context.show(context.frames(seed=seed), settings=settings, order=order) for seed in _SEEDS]
            layout = clips[0].encoded.layout
            for frame, row, column in _places(layout):
                moved = sum(_moved(context, clip, frame, row, column) for clip in clips)
                most = tuple(int(number) for number in np.unravel_index(int(np.argmax(moved)), layout.shape))
                expected = (layout.time_step_of_frame[order.index(frame)], row, column)
                total += 1
                right += most == expected
                if most != expected:
                    wrong = (
                        f"changed: row {row}, column {column} of frame {frame} (shown in order {order}), which the "
                        f"layout puts at (time step, row, column) {expected}; the token of {most} changed most"
                    )
        findings.at_least("share of patches found", right / total, context.tolerances.places, wrong)


def _moved(
    context: ConformanceContext, clip: ShownClip, frame: int, row: int, column: int
) -> Float64[np.ndarray, " cell"]:
    """Return how far each visual token moves when one cell of one frame is inverted."""
    layout = clip.encoded.layout
    changed = context.show(
        _inverted(clip.frames, layout, frame, row, column), settings=clip.settings, order=clip.frame_order
    )
    moved = (changed.encoded.visual_tokens - clip.encoded.visual_tokens).double().norm(dim=1)
    distances: Float64[np.ndarray, " cell"] = moved.cpu().numpy()
    return distances


def _places(layout: TokenLayout) -> Iterator[tuple[int, int, int]]:
    """Give (frame, row, column) of cells in several frames, off the diagonal where the grid has that."""
    rows, columns = layout.rows, layout.columns
    yield 0, 0, columns - 1
    yield 4, rows - 1, min(1, columns - 1)
    yield 3, min(1, rows - 1), columns // 2
    yield 1, rows // 2, 0


def _inverted(frames: Frames, layout: TokenLayout, frame: int, row: int, column: int) -> Frames:
    pixels = frames.pixels.copy()
    _, height, width, _ = pixels.shape
    top, bottom = (round(edge * height / layout.rows) for edge in (row, row + 1))
    left, right = (round(edge * width / layout.columns) for edge in (column, column + 1))
    cell = pixels[frame, top:bottom, left:right]
    cell[:] = _WHITE - cell
    return Frames(frames.info, frames.indices, pixels)
