"""Dense labels of the visual tokens, and the throw-away heads that read them.

During training, small linear heads predict from each visual token which colour, shape and action
lies there. They teach the model to see; no attention map and no box is ever supervised, and the
heads are not part of the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from stvg_tiny.architectures import VideoGrid
from stvg_tiny.scenes import COLOR_NAMES, EVENTS, SHAPE_NAMES, Scene, SceneObject, Times

IGNORED: Final = -1
PROPERTY_CLASSES: Final = (len(COLOR_NAMES) + 1, len(SHAPE_NAMES) + 1, len(EVENTS) + 1)
"""Classes per property (colour, shape, action); class 0 is background, or no action."""

_COVERED: Final = 0.22
_TOUCHED: Final = 0.06
_BACKGROUND_WEIGHT: Final = 0.3


def dense_labels(scene: Scene, times: Times, grid: VideoGrid) -> Int[np.ndarray, "property=3 visual_token"]:
    """Return the colour, shape and action class of each visual token.

    A token belongs to the object whose box covers most of it. Tokens that are barely touched, and
    those of an object that is hidden just then, are `IGNORED`.
    """
    shape = (grid.steps, grid.cells, grid.cells)
    labels = np.zeros((3, *shape), np.int64)
    best_cover = np.zeros(shape)
    for item in scene.objects:
        cover = _cover(item, times, grid)
        owned = cover > best_cover
        best_cover = np.maximum(best_cover, cover)
        per_token = (grid.steps, grid.token_frames)
        active = item.span.contains(times).reshape(per_token).any(axis=1) & item.is_event
        hidden = ~item.visible(times).reshape(per_token).any(axis=1)
        event = EVENTS.index(item.action) + 1 if item.is_event else 0
        classes = np.stack(
            [
                np.full(grid.steps, COLOR_NAMES.index(item.color) + 1),
                np.full(grid.steps, SHAPE_NAMES.index(item.shape) + 1),
                np.where(active, event, 0),
            ]
        )
        classes[:, hidden] = IGNORED
        labels = np.where(owned, classes[:, :, None, None], labels)
    labels[:, best_cover < _COVERED] = IGNORED
    labels[:, best_cover < _TOUCHED] = 0
    return labels.reshape(3, grid.visual_tokens)


def _cover(item: SceneObject, times: Times, grid: VideoGrid) -> Float[np.ndarray, "step row column"]:
    """Return which share of each token's cell lies in the object's (mean) box."""
    boxes = item.boxes(times, grid.cells).reshape(grid.steps, grid.token_frames, 4).mean(axis=1)
    edges = np.arange(grid.cells)
    left, top, right, bottom = boxes.T[:, :, None]
    width = np.clip(np.minimum(right, edges + 1) - np.maximum(left, edges), 0.0, None)
    height = np.clip(np.minimum(bottom, edges + 1) - np.maximum(top, edges), 0.0, None)
    return np.asarray(height[:, :, None] * width[:, None, :])


@dataclass(frozen=True)
class PropertyLosses:
    """Cross-entropy of the three properties, in nats."""

    color: Float[Tensor, ""]
    shape: Float[Tensor, ""]
    action: Float[Tensor, ""]

    def total(self) -> Float[Tensor, ""]:
        """Return their sum."""
        return self.color + self.shape + self.action


class PropertyHead(nn.Module):
    """Reads colour, shape and action from each visual token."""

    def __init__(self, hidden_size: int, *, normalize: bool = False) -> None:
        """Make the head; `normalize` is for states that no final norm has seen."""
        super().__init__()
        self.norm: nn.Module = nn.LayerNorm(hidden_size, elementwise_affine=False) if normalize else nn.Identity()
        self.linear = nn.Linear(hidden_size, sum(PROPERTY_CLASSES))

    def forward(
        self,
        states: Float[Tensor, "video visual_token hidden"],
        labels: Int[Tensor, "video property=3 visual_token"],
    ) -> PropertyLosses:
        """Return the losses against the dense labels."""
        scores = self.linear(self.norm(states)).split(PROPERTY_CLASSES, dim=-1)
        losses = []
        for score, label in zip(scores, labels.unbind(1), strict=True):
            weight = torch.ones(score.shape[-1])
            weight[0] = _BACKGROUND_WEIGHT
            losses.append(
                functional.cross_entropy(score.flatten(0, 1), label.flatten(), weight=weight, ignore_index=IGNORED)
            )
        return PropertyLosses(*losses)
