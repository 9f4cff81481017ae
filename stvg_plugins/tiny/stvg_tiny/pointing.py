"""`python -m stvg_tiny.pointing CHECKPOINT`: do a checkpoint's role tokens look at what is asked for?

For every candidate token behind a question (its final punctuation and the template's), every layer
and the mean over all layers: how often the visual token with the most attention lies on an object
that the question describes. Beside it stands what a random object of the scene would score.
Attention is read as the method reads it, through the framework's adapter, one scene at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float

from stvg_core.host.session import Session, open_session
from stvg_core.plugin.adapter import AttentionRequest, QuestionAttention
from stvg_core.settings import Settings
from stvg_tiny.architectures import Architecture, architecture_of
from stvg_tiny.clips import CLIP_FRAMES, clip_frames
from stvg_tiny.errors import TinyError
from stvg_tiny.evaluate import SPLITS
from stvg_tiny.grid import VideoGrid
from stvg_tiny.sampling import held_out_scene
from stvg_tiny.scenes import Difficulty, Scene, SceneObject, Times, frame_times
from stvg_tiny.supervision import cell_cover

Asked = Literal["attribute", "action", "subject_action", "full"]
QUESTIONS: Final[dict[Asked, tuple[str, Callable[[SceneObject], tuple[str, ...]]]]] = {
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
    scene: Scene, asked: Asked, times: Times, grid: VideoGrid
) -> tuple[Bool[np.ndarray, " visual_token"], float]:
    """Return which visual tokens show an object that a question about the target describes, and its share of objects.

    An object's cells count at every time, not during its action alone.
    """
    _, key = QUESTIONS[asked]
    meant = [item for item in scene.objects if key(item) == key(scene.target)]
    cells = np.any([cell_cover(item, times, grid) >= _COVERED for item in meant], axis=0)
    return cells.reshape(-1), len(meant) / len(scene.objects)


def measure(session: Session, architecture: Architecture, scenes: Sequence[Scene]) -> dict[Asked, Pointing]:
    """Return the pointing accuracy for each kind of question about the scenes' targets."""
    grid = architecture.grid
    settings = Settings.model_validate({"sampling": {"frame_count": grid.frame_count}})
    layers = range(session.adapter.description.layer_count)
    found: dict[Asked, list[Float[np.ndarray, "layer_or_mean token_or_mean"]]] = {asked: [] for asked in QUESTIONS}
    chances: dict[Asked, list[float]] = {asked: [] for asked in QUESTIONS}
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
        for number, asked in enumerate(QUESTIONS):
            cells, chance = described_cells(scene, asked, times, grid)
            names = tuple(token.text for token in read[0][number].tokens if token.kind != "word")
            rows = torch.stack([role_rows(attention[number]) for attention in read])
            rows = torch.cat([rows, rows.mean(dim=0, keepdim=True)])
            rows = torch.cat([rows, rows.mean(dim=1, keepdim=True)], dim=1)
            found[asked].append(cells[rows.argmax(dim=-1).cpu().numpy()].astype(np.float64))
            chances[asked].append(chance)
    shares = {asked: np.mean(hits, axis=0) for asked, hits in found.items()}
    return {
        asked: Pointing(names, hits[:, :-1], hits[:, -1], float(np.mean(chances[asked])))
        for asked, hits in shares.items()
    }


def role_rows(attention: QuestionAttention) -> Float[torch.Tensor, "token cell"]:
    """Return the rows of the candidate tokens: all that are no word of the question."""
    return attention.rows[[place for place, token in enumerate(attention.tokens) if token.kind != "word"]]


def _table(asked: str, pointing: Pointing) -> str:
    """Lay one kind of question out as a Markdown table."""
    names = [json.dumps(token) for token in pointing.tokens]
    lines = [f"{asked}: random object {pointing.random_object:.3f}", ""]
    lines += ["| layer | " + " | ".join(names) + " | their mean |", "|---" * (len(names) + 2) + "|"]
    for number, (row, mean) in enumerate(zip(pointing.hits, pointing.mean_token_hits, strict=True)):
        label = "all" if number == len(pointing.hits) - 1 else str(number)
        lines.append(f"| {label} | " + " | ".join(f"{value:.3f}" for value in (*row, mean)) + " |")
    return "\n".join(lines) + "\n\n"


def summary(pointing: Pointing) -> dict[str, Any]:
    """Return pointing accuracies as JSON holds them."""
    return {
        "tokens": pointing.tokens,
        "hits": pointing.hits.round(4).tolist(),
        "mean_token_hits": pointing.mean_token_hits.round(4).tolist(),
        "random_object": round(pointing.random_object, 4),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m stvg_tiny.pointing", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    parser.add_argument("--split", choices=sorted(SPLITS), default="development")
    parser.add_argument("--difficulty", choices=get_args(Difficulty), default="hard")
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scenes = [held_out_scene(SPLITS[options.split], index, options.difficulty) for index in range(options.scenes)]
    try:
        architecture = architecture_of(json.loads((options.checkpoint / "config.json").read_text(encoding="utf-8")))
    except TinyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    with open_session(str(options.checkpoint)) as session:
        measured = measure(session, architecture, scenes)
    if options.json:
        sys.stdout.write(json.dumps({asked: summary(pointing) for asked, pointing in measured.items()}) + "\n")
    else:
        sys.stdout.writelines(_table(asked, pointing) for asked, pointing in measured.items())
    return 0


if __name__ == "__main__":
    sys.exit(main())
