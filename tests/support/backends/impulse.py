"""Which visual tokens move when a patch of a frame does, with a vision tower that mixes patches or does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stvg_core.values import Frames

from .plain import PATCH
from .subjects import Case, Subject, frames


def changed_cells(
    subject: Subject, case: Case, frame_order: tuple[int, ...], frame: int, row: int, column: int
) -> set[tuple[int, int, int]]:
    """Return the cells (time step, row, column) whose token moves when one patch of one frame does."""
    clip = frames(case)
    pixels = clip.pixels.copy()
    patch = pixels[frame, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
    patch[:] = 255 - patch
    before, after = (
        subject.session.adapter.encode(shown, case.settings, frame_order)
        for shown in (clip, Frames(clip.info, clip.indices, pixels))
    )
    moved = (after.visual_tokens - before.visual_tokens).abs().amax(1) > 1e-5 * before.visual_tokens.abs().max()
    return {tuple(cell) for cell in moved.reshape(before.layout.shape).nonzero().tolist()}


@contextmanager
def without_mixing(model: Any) -> Iterator[None]:
    """Let no patch see another: the vision tower's attention writes nothing while inside."""
    tower = getattr(model.model, "vision_tower", None) or model.model.visual
    projections = [
        module
        for name, module in tower.named_modules()
        if name.endswith(("self_attn.out_proj", "attn.proj", "attention.projection_layer"))
    ]
    if not projections:
        raise AssertionError("found no attention in the vision tower")
    kept = [{name: value.clone() for name, value in module.state_dict().items()} for module in projections]
    try:
        for module in projections:
            for weight in module.parameters():
                weight.data.zero_()
        yield
    finally:
        for module, state in zip(projections, kept, strict=True):
            module.load_state_dict(state)
