"""The training loop: deterministic from its seed, and resumable at any saved step."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from stvg_huggingface.loading import language_model_of
from tiny_recipe.accuracy import Accuracy, development_accuracy
from tiny_recipe.architectures import ARCHITECTURES, Architecture
from tiny_recipe.batches import Batch, Material, load_batches
from tiny_recipe.errors import RecipeError
from tiny_recipe.packing import NO_LABEL, SharedHead, encode_videos, packed_forward
from tiny_recipe.questions import naming_words
from tiny_recipe.recipe import KIND_WEIGHTS, Recipe, Stage
from tiny_recipe.supervision import (
    PlaceHead,
    PropertyHead,
    PropertyLosses,
    following_loss,
    looking_loss,
    named_words,
    reading_loss,
)
from tiny_recipe.tokenizer import build_tokenizer, token_id

logger = logging.getLogger(__name__)

LOG_NAME: Final = "log.jsonl"
STATE_NAME: Final = "state.pt"


class Learner(nn.Module):
    """The model and the throw-away heads that are trained with it."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        """Build everything with random weights."""
        super().__init__()
        tokenizer = build_tokenizer(architecture.chat)
        self.model: PreTrainedModel = architecture.build(architecture.grid, tokenizer, seed)
        language_model_of(self.model)
        if architecture.hasten is not None:
            architecture.hasten(self.model)
        self.material = Material(architecture, self.model.config, tokenizer)
        self.head = SharedHead.of(architecture, tokenizer, self.model.config)
        naming_ids = torch.tensor([token_id(tokenizer, word) for word in naming_words()])
        self.register_buffer("naming_ids", naming_ids, persistent=False)
        hidden_size = self.model.config.get_text_config().hidden_size
        self.visual_head = PropertyHead(hidden_size)
        self.middle_head = PropertyHead(hidden_size, normalize=True)
        self.last_head = PropertyHead(hidden_size)
        per_frame = architecture.grid.token_frames == 1
        self.place_head = PlaceHead(hidden_size, architecture.grid) if per_frame else None

    def optimizer(self, recipe: Recipe) -> torch.optim.AdamW:
        """Return the optimiser; only matrices decay."""
        matrices = [weight for weight in self.parameters() if weight.ndim > 1]
        vectors = [weight for weight in self.parameters() if weight.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=recipe.peak_learning_rate, betas=recipe.betas)


@dataclass(frozen=True)
class StepLoss:
    """The loss of one step, and what it is made of (in nats)."""

    total: Float[Tensor, ""]
    parts: Mapping[str, float]


def stage_loss(learner: Learner, batch: Batch, stage: Stage, recipe: Recipe) -> StepLoss:
    """Return the loss of one step: dense labels, and behind the first stage answers and attention."""
    architecture = learner.material.architecture
    visual_tokens = encode_videos(architecture, learner.model, batch.pixels)
    visual = learner.visual_head(visual_tokens, batch.dense)
    named, motion = _named("visual", visual), visual_tokens.new_zeros(())
    if learner.place_head is not None:
        place = learner.place_head(visual_tokens, batch.owners)
        motion = motion + recipe.place_weight * place
        named["place"] = place.item()
    if not stage.answers:
        return StepLoss(stage.dense_weight * visual.total() + motion, named)
    follow = learner.place_head is not None
    states = packed_forward(learner.model, visual_tokens, batch.packed, learner.head, blind=batch.blind, follow=follow)
    middle = learner.middle_head(states.visual_middle, batch.dense)
    last = learner.last_head(states.visual, batch.dense)
    dense = 0.5 * visual.total() + middle.total() + 0.5 * last.action + 0.2 * (last.color + last.shape)
    answers, parts = _answer_loss(learner, batch, states.predicting)
    taught = list(recipe.looking_tokens) or slice(None)
    looking = looking_loss(states.role_attention[..., taught, :], batch.cells)
    words = named_words(batch.packed, learner.get_buffer("naming_ids"))
    reading = reading_loss(states.role_reading[..., taught, :], words)
    attention = recipe.looking_weight * looking + recipe.reading_weight * reading
    named |= {**parts, **_named("middle", middle), **_named("last", last)}
    named |= {"looking": looking.item(), "reading": reading.item()}
    if follow:
        following = following_loss(states.following, batch.owners, architecture.grid)
        motion = motion + recipe.following_weight * following
        named["following"] = following.item()
    return StepLoss(answers + stage.dense_weight * dense + attention + motion, named)


def _named(prefix: str, losses: PropertyLosses) -> dict[str, float]:
    return {
        f"{prefix}_color": losses.color.item(),
        f"{prefix}_shape": losses.shape.item(),
        f"{prefix}_action": losses.action.item(),
    }


def _answer_loss(
    learner: Learner, batch: Batch, predicting: Float[Tensor, "video token hidden"]
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Return the weighted mean over answer tokens, and the plain mean per kind of question."""
    labelled = batch.packed.labels != NO_LABEL
    targets = batch.packed.labels[labelled]
    lm_head: Any = learner.model.lm_head
    losses = functional.cross_entropy(lm_head(predicting[labelled]), targets, reduction="none")
    kinds = [
        batch.questions[video][segment - 1].kind
        for video, segment in zip(
            labelled.nonzero()[:, 0].tolist(),
            batch.packed.segments[labelled].tolist(),
            strict=True,
        )
    ]
    material = learner.material
    ends = targets.eq(token_id(material.tokenizer, material.architecture.chat.answer_end))
    weights = losses.new_tensor([KIND_WEIGHTS[kind] for kind in kinds])
    weights = weights.masked_fill(ends, Recipe.end_weight)
    by_kind: dict[str, list[float]] = {}
    for kind, loss, end in zip(kinds, losses.tolist(), ends.tolist(), strict=True):
        if not end:
            by_kind.setdefault(kind, []).append(loss)
    means = {kind: float(np.mean(values)) for kind, values in sorted(by_kind.items())}
    return (losses * weights).sum() / weights.sum(), means


class Run:
    """One training run and its folder.

    Attributes:
        next_step: Step that comes next, counted from the run's beginning.
        stage_number: Stage that it belongs to; the number of stages when all are done.
        stage_start: First step of that stage.
    """

    def __init__(
        self, architecture_name: str, recipe: Recipe, folder: Path, device: torch.device | None = None
    ) -> None:
        """Start a run with random weights on a device, the CPU by default; `resume` continues a saved one."""
        self.device = device or torch.device("cpu")
        self.architecture_name = architecture_name
        self.recipe = recipe
        self.folder = folder
        self.next_step = self.stage_number = self.stage_start = 0
        torch.manual_seed(recipe.seed)
        # Weights are drawn on the CPU, so that a seed means the same on every device.
        self.learner = Learner(ARCHITECTURES[architecture_name], recipe.seed).to(self.device)
        self.learner.head = self.learner.head.to(self.device)
        self.optimizer = self.learner.optimizer(recipe)

    def resume(self) -> None:
        """Continue from the saved state, exactly as if the run had never stopped.

        Raises:
            RecipeError: If there is no saved state, or it is of another run.
        """
        path = self.folder / STATE_NAME
        if not path.exists():
            raise RecipeError(f"nothing to resume: {path} does not exist; leave out --resume")
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
        expected = self._identity()
        # Saved before there was a choice of tokens: all of them.
        state.setdefault("looking_tokens", [])
        saved = {key: state[key] for key in expected}
        if saved != expected:
            raise RecipeError(f"{path} belongs to the run {saved}, expected {expected}")
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.next_step, self.stage_number = state["next_step"], state["stage_number"]
        self.stage_start = state["stage_start"]
        log = self.folder / LOG_NAME
        done_lines = [line for line in log.read_text().splitlines() if self._is_done(line)]
        _write_atomically(log, lambda path: path.write_text("".join(f"{line}\n" for line in done_lines)))

    def _identity(self) -> dict[str, Any]:
        recipe = self.recipe
        return {
            "architecture": self.architecture_name,
            "seed": recipe.seed,
            "looking_tokens": list(recipe.looking_tokens),
        }

    def _is_done(self, line: str) -> bool:
        return int(json.loads(line)["step"]) < self.next_step

    def train(self) -> None:
        """Train to the end of the last stage, logging every step and saving the state now and then."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOG_NAME).open("a" if self.next_step else "w", encoding="utf-8") as log:
            while self.stage_number < len(self.recipe.stages):
                self._train_some(log)
                self.save()

    def _train_some(self, log: TextIO) -> None:
        """Train until the next look at the accuracy, and end the stage if it is good enough."""
        recipe, number = self.recipe, self.stage_number
        stage = recipe.stages[number]
        end = self.stage_start + stage.most_steps
        steps = range(self.next_step, min(self.next_step + recipe.evaluate_every, end))
        for step, batch in zip(steps, load_batches(recipe, self.learner.material, stage, steps), strict=True):
            entry = self._step(step, batch)
            log.write(json.dumps(entry) + "\n")
            log.flush()
        self.next_step = steps.stop
        reached = self.next_step == end
        if stage.answers:
            accuracy, pointing = self._look()
            log.write(json.dumps({"step": steps[-1], "accuracy": accuracy, "pointing": pointing}) + "\n")
            reached = reached or passes(stage, accuracy)
        if reached:
            logger.info("stage %s ends after step %d", stage.name, steps[-1])
            self.stage_number, self.stage_start = number + 1, self.next_step

    def _look(self) -> tuple[Accuracy, dict[str, float]]:
        learner = self.learner
        learner.train(False)
        accuracy, pointing = development_accuracy(learner.material, learner.model, learner.head)
        learner.train(True)
        logger.info("step %d accuracy %s pointing %s", self.next_step, accuracy, pointing)
        return accuracy, pointing

    def _step(self, step: int, batch: Batch) -> dict[str, Any]:
        """Take one optimiser step; return its log entry."""
        recipe, stage = self.recipe, self.recipe.stages[self.stage_number]
        rate = recipe.learning_rate(self.stage_number, step - self.stage_start)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = stage_loss(self.learner, batch.to(self.device), stage, recipe)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss.total)
        norm = nn.utils.clip_grad_norm_(self.learner.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        return {
            "step": step,
            "stage": stage.name,
            "learning_rate": rate,
            "gradient_norm": norm.item(),
            "loss": loss.total.item(),
            "losses": dict(loss.parts),
        }

    def save(self) -> None:
        """Save the state that `resume` needs; an interrupted save leaves the one before it."""
        state = {
            **self._identity(),
            "next_step": self.next_step,
            "stage_number": self.stage_number,
            "stage_start": self.stage_start,
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        _write_atomically(self.folder / STATE_NAME, lambda path: torch.save(state, path))


def passes(stage: Stage, accuracy: Accuracy) -> bool:
    """Return whether an accuracy is enough to end a stage before its most steps."""
    return bool(stage.gate) and all(accuracy.get(kind, 0.0) >= least for kind, least in stage.gate.items())


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(path.name + ".partial")
    write(partial)
    partial.replace(path)
