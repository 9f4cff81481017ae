"""What supervises training besides the answers: dense labels of the visual tokens, and attention.

Small linear heads predict from each visual token which colour, shape and action lies there; they
are thrown away afterwards. And attention is supervised: in the first layer the role tokens behind
a question read its words that name something, in the others they look at the visual tokens that
have what is named. Where a visual token is of one frame, and so shows no movement itself, it also
tells its place (read by one more such head), and half of the first layer's heads follow an object to
where it was a frame earlier. That a finished model's role tokens point at objects is by
construction, not a finding. No box is ever an output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from stvg_tiny.scenes import COLOR_NAMES, EVENTS, SHAPE_NAMES, Scene, SceneObject, Times
from tiny_recipe.grid import VideoGrid
from tiny_recipe.packing import NO_LABEL, PackedQuestions
from tiny_recipe.questions import Kind, Question, named_properties

IGNORED: Final = -1
PROPERTY_CLASSES: Final = (len(COLOR_NAMES) + 1, len(SHAPE_NAMES) + 1, len(EVENTS) + 1)
"""Classes per property (colour, shape, action); class 0 is background, or no action."""

_COVERED: Final = 0.22
_TOUCHED: Final = 0.06
_BACKGROUND_WEIGHT: Final = 0.3
_LOOKING_KINDS: Final[tuple[Kind, ...]] = (
    "attribute",
    "single",
    "action",
    "subject_action",
    "what",
    "does",
    "when",
)
_EMPTY_WEIGHT: Final = 0.1
_LAYER_WEIGHT: Final = 0.5
_LEAST_SHARE: Final = 1e-6


def dense_labels(scene: Scene, times: Times, grid: VideoGrid) -> Int[np.ndarray, "property=3 visual_token"]:
    """Return the colour, shape and action class of each visual token.

    A token belongs to the object whose box covers most of it. Tokens that are barely touched, and
    those of an object that is hidden just then, are `IGNORED`.
    """
    shape = (grid.steps, grid.cells, grid.cells)
    labels = np.zeros((3, *shape), np.int64)
    best_cover = np.zeros(shape)
    for item in scene.objects:
        cover = cell_cover(item, times, grid)
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


def token_owners(scene: Scene, times: Times, grid: VideoGrid) -> Int[np.ndarray, " visual_token"]:
    """Return the number of the object whose box covers most of each visual token; -1 where none is shown."""
    covers = np.stack([cell_cover(item, times, grid) for item in scene.objects])
    per_token = (grid.steps, grid.token_frames)
    shown = np.stack([item.visible(times).reshape(per_token).any(axis=1) for item in scene.objects])
    owners = covers.argmax(axis=0)
    steps = np.arange(grid.steps)[:, None, None]
    owned = (covers.max(axis=0) >= _COVERED) & shown[owners, steps]
    return np.where(owned, owners, IGNORED).reshape(grid.visual_tokens)


def cell_cover(item: SceneObject, times: Times, grid: VideoGrid) -> Float[np.ndarray, "time_step row column"]:
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
            weight = score.new_ones(score.shape[-1])
            weight[0] = _BACKGROUND_WEIGHT
            losses.append(
                functional.cross_entropy(score.flatten(0, 1), label.flatten(), weight=weight, ignore_index=IGNORED)
            )
        return PropertyLosses(*losses)


class PlaceHead(nn.Module):
    """Reads from each visual token in which row and column of the frame it lies."""

    def __init__(self, hidden_size: int, grid: VideoGrid) -> None:
        """Make the head."""
        super().__init__()
        self.linear = nn.Linear(hidden_size, 2 * grid.cells)
        rows, columns = torch.meshgrid(torch.arange(grid.cells), torch.arange(grid.cells), indexing="ij")
        for name, axis in (("rows", rows), ("columns", columns)):
            self.register_buffer(name, axis.flatten().repeat(grid.steps), persistent=False)

    def forward(
        self, states: Float[Tensor, "video visual_token hidden"], owners: Int[Tensor, "video visual_token"]
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy of row and column, in nats; tokens without an object count less."""
        weights = torch.where(owners != IGNORED, 1.0, _EMPTY_WEIGHT)
        row_scores, column_scores = self.linear(states).chunk(2, dim=-1)
        losses = [
            functional.cross_entropy(scores.transpose(1, 2), places.expand_as(owners), reduction="none")
            for scores, places in (
                (row_scores, self.get_buffer("rows")),
                (column_scores, self.get_buffer("columns")),
            )
        ]
        return ((losses[0] + losses[1]) * weights).sum() / weights.sum()


def asked_cells(
    questions: Sequence[Sequence[Question]], labels: Int[Tensor, "video property=3 visual_token"]
) -> Bool[Tensor, "video question visual_token"]:
    """Return which visual tokens have every property that a question names.

    None, for questions that name nothing, that are true of nothing in the video, and for
    `combined` ones: where a whole sentence makes the model look is its own affair.
    """
    cells = torch.zeros(len(labels), max(map(len, questions)), labels.shape[2], dtype=torch.bool)
    for video, scene_questions in enumerate(questions):
        for number, question in enumerate(scene_questions):
            classes = torch.tensor([-1 if place is None else place + 1 for place in named_properties(question)])
            named = classes >= 0
            if question.kind in _LOOKING_KINDS and named.any():
                cells[video, number] = (labels[video, named] == classes[named, None]).all(dim=0)
    return cells


def looking_loss(
    attention: Float[Tensor, "layer video question role visual_token"],
    cells: Bool[Tensor, "video question visual_token"],
) -> Float[Tensor, ""]:
    """Return how far role tokens look past the asked cells, in nats; zero where no question has such cells.

    That is the mean of -log(share of a token's visual attention that lies in the cells), for the
    attention's mean over all layers, plus half of the same for each layer alone but the first,
    which can only read words.
    """
    answerable = cells.any(dim=-1)
    if not answerable.any():
        return attention.new_zeros(())

    def surprise(weights: Tensor) -> Tensor:
        inside = (weights * cells[:, :, None]).sum(dim=-1) / weights.sum(dim=-1).clamp_min(_LEAST_SHARE)
        return -inside[..., answerable, :].clamp_min(_LEAST_SHARE).log().mean()

    return surprise(attention.mean(dim=0)) + _LAYER_WEIGHT * surprise(attention[1:])


def named_words(packed: PackedQuestions, word_ids: Int[Tensor, " word"]) -> Bool[Tensor, "video question token"]:
    """Return which packed tokens are a question's own words of a colour, a shape or an action."""
    numbers = torch.arange(1, packed.role_places.shape[1] + 1, device=packed.segments.device)
    in_question = packed.segments[:, None, :] == numbers[:, None]
    naming = torch.isin(packed.token_ids, word_ids) & (packed.labels == NO_LABEL)
    return in_question & naming[:, None]


def reading_loss(
    reading: Float[Tensor, "video question role token"], words: Bool[Tensor, "video question token"]
) -> Float[Tensor, ""]:
    """Return the mean of -log(attention of a role token to a named word of its question), in nats."""
    named = words[:, :, None].expand_as(reading)
    if not named.any():
        return reading.new_zeros(())
    return -reading[named].clamp_min(_LEAST_SHARE).log().mean()


def following_loss(
    following: Float[Tensor, "video visual_token visual_token"],
    owners: Int[Tensor, "video visual_token"],
    grid: VideoGrid,
) -> Float[Tensor, ""]:
    """Return how far visual tokens of an object look past the same object one step earlier, in nats.

    That is the mean of -log(share of a token's visual attention that lies there), over the tokens of
    objects that were shown a step earlier; zero where there are none.
    """
    steps = torch.arange(grid.visual_tokens, device=owners.device) // grid.cells**2
    before = steps[None, :] == steps[:, None] - 1
    same = (owners[:, :, None] == owners[:, None, :]) & (owners[:, :, None] != IGNORED)
    earlier = same & before
    followed = earlier.any(dim=-1)
    if not followed.any():
        return following.new_zeros(())
    inside = (following * earlier).sum(dim=-1) / following.sum(dim=-1).clamp_min(_LEAST_SHARE)
    return -inside[followed].clamp_min(_LEAST_SHARE).log().mean()
