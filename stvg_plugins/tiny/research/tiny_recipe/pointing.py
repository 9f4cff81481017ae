"""Whether a checkpoint's role tokens look at what is asked for.

For every candidate token behind a question (its final punctuation and the template's), every layer
and the mean over all layers: how often the visual token with the most attention lies on an object
that the question describes. Beside it stands what a random object of the scene would score.
Attention is read as the method reads it, through the framework's adapter, one scene at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from stvg_core.host.session import Session
from stvg_core.plugin.adapter import AttentionRequest, QuestionAttention
from stvg_core.settings import Settings
from stvg_tiny.clips import CLIP_FRAMES, clip_frames
from stvg_tiny.scenes import Scene, SceneObject, Times, frame_times
from tiny_recipe.architectures import Architecture
from tiny_recipe.grid import VideoGrid
from tiny_recipe.supervision import cell_cover

QuestionKind = Literal["attribute", "action", "subject_action", "full"]
QUESTIONS: Final[dict[QuestionKind, tuple[str, Callable[[SceneObject], tuple[str, ...]]]]] = {
    "attribute": ("Is there the {color} {shape} in this video?", lambda item: (item.color, item.shape)),
    "action": ("Is there something that {action} in this video?", lambda item: (item.action,)),
    "subject_action": ("Is there the {shape} {action} in this video?", lambda item: (item.shape, item.action)),
    "full": (
        "Is there the {color} {shape} {action} in this video?",
        lambda item: (item.color, item.shape, item.action),
    ),
}
"""What is asked about a scene's target, and what an object must share with it to be meant.

The method itself asks `attribute` and `subject_action` of a sentence, `action` is without its subject."""

_COVERED: Final = 0.22


@dataclass(frozen=True)
class Pointing:
    """How often role tokens point at what a question asks for.

    Attributes:
        tokens: The candidate tokens, in the prompt's order.
        hits: Share of scenes in which a token points at a described object; the last row is the mean
            over all layers.
        mean_token_hits: The same for the mean over the tokens.
        random_object: Share of a scene's objects that are described, the mean over scenes.
    """

    tokens: tuple[str, ...]
    hits: Float[np.ndarray, "layer_or_mean token"]
    mean_token_hits: Float[np.ndarray, " layer_or_mean"]
    random_object: float


def described_cells(
    scene: Scene, kind: QuestionKind, times: Times, grid: VideoGrid
) -> tuple[Bool[np.ndarray, " visual_token"], float]:
    """Return which visual tokens show an object that a question about the target describes, and its share of objects.

    An object's cells count at every time, not during its action alone.
    """
    _, key = QUESTIONS[kind]
    meant = [item for item in scene.objects if key(item) == key(scene.target)]
    cells = np.any([cell_cover(item, times, grid) >= _COVERED for item in meant], axis=0)
    return cells.reshape(-1), len(meant) / len(scene.objects)


def measure(session: Session, architecture: Architecture, scenes: Sequence[Scene]) -> dict[QuestionKind, Pointing]:
    """Return the pointing accuracy for each kind of question about the scenes' targets."""
    grid = architecture.grid
    settings = Settings.model_validate({"sampling": {"frame_count": grid.frame_count}})
    layers = range(session.adapter.description.layer_count)
    per_scene: dict[QuestionKind, list[Float[np.ndarray, "layer_or_mean token_or_mean"]]] = {
        kind: [] for kind in QUESTIONS
    }
    chances: dict[QuestionKind, list[float]] = {kind: [] for kind in QUESTIONS}
    names: tuple[str, ...] = ()
    for scene in scenes:
        frames = clip_frames(scene, grid.size_pixels, settings.sampling)
        times = frame_times(CLIP_FRAMES)[frames.indices]
        clip = session.adapter.encode(frames, architecture.inputs, tuple(range(len(frames))))
        target = scene.target
        questions = tuple(
            text.format(color=target.color, shape=target.shape, action=target.action) for text, _ in QUESTIONS.values()
        )
        read = [session.capture_attention(AttentionRequest(clip, questions, None, (layer,))) for layer in layers]
        for number, kind in enumerate(QUESTIONS):
            cells, chance = described_cells(scene, kind, times, grid)
            names = tuple(token.text for token in read[0][number].tokens if token.kind != "word")
            rows = torch.stack([role_rows(attention[number]) for attention in read])
            rows = torch.cat([rows, rows.mean(dim=0, keepdim=True)])
            rows = torch.cat([rows, rows.mean(dim=1, keepdim=True)], dim=1)
            per_scene[kind].append(cells[rows.argmax(dim=-1).cpu().numpy()].astype(np.float64))
            chances[kind].append(chance)
    shares = {kind: np.mean(hits, axis=0) for kind, hits in per_scene.items()}
    return {
        kind: Pointing(names, hits[:, :-1], hits[:, -1], float(np.mean(chances[kind]))) for kind, hits in shares.items()
    }


def role_rows(attention: QuestionAttention) -> Float[torch.Tensor, "token cell"]:
    """Return the rows of the candidate tokens: all that are no word of the question."""
    return attention.rows[[place for place, token in enumerate(attention.tokens) if token.kind != "word"]]


def summary(pointing: Pointing) -> dict[str, Any]:
    """Return pointing accuracies as JSON holds them."""
    return {
        "tokens": pointing.tokens,
        "hits": pointing.hits.round(4).tolist(),
        "mean_token_hits": pointing.mean_token_hits.round(4).tolist(),
        "random_object": round(pointing.random_object, 4),
    }
