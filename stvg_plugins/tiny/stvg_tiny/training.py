"""The training loop: deterministic from its seed, and resumable at any saved step."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration

from stvg_tiny.accuracy import development_accuracy
from stvg_tiny.architectures import ARCHITECTURES, Architecture
from stvg_tiny.batches import Batch, load_batches
from stvg_tiny.errors import RecipeError
from stvg_tiny.packing import NO_LABEL, SharedHead, batched_vision, encode_videos, packed_forward
from stvg_tiny.recipe import KIND_WEIGHTS, Recipe
from stvg_tiny.supervision import PropertyHead, PropertyLosses
from stvg_tiny.tokenizer import TURN_END, build_tokenizer, token_id

logger = logging.getLogger(__name__)

LOG_NAME: Final = "log.jsonl"
STATE_NAME: Final = "state.pt"


class Learner(nn.Module):
    """The model and the throw-away heads that are trained with it."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        """Build everything with random weights."""
        super().__init__()
        self.grid = architecture.grid
        self.tokenizer: PreTrainedTokenizerFast = build_tokenizer()
        self.model: Qwen2VLForConditionalGeneration = architecture.build(self.grid, self.tokenizer, seed)
        self.head = SharedHead.of(self.tokenizer, self.grid)
        hidden_size = self.model.config.get_text_config().hidden_size
        self.visual_head = PropertyHead(hidden_size)
        self.middle_head = PropertyHead(hidden_size, normalize=True)
        self.last_head = PropertyHead(hidden_size)

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


def vision_loss(learner: Learner, batch: Batch) -> StepLoss:
    """Return the loss of the first phase: the dense labels on the encoded visual tokens."""
    losses = learner.visual_head(encode_videos(learner.model, batch.patches, learner.grid), batch.dense)
    return StepLoss(losses.total(), _named("visual", losses))


def joint_loss(learner: Learner, batch: Batch, dense_weight: float, *, middle_looks: bool) -> StepLoss:
    """Return the loss of the second phase: the answers, and the dense labels at three depths."""
    visual_tokens = encode_videos(learner.model, batch.patches, learner.grid)
    states = packed_forward(learner.model, visual_tokens, batch.packed, learner.head)
    visual = learner.visual_head(visual_tokens, batch.dense)
    middle = learner.middle_head(states.visual_middle, batch.dense)
    last = learner.last_head(states.visual, batch.dense)
    middle_loss = middle.total() if middle_looks else middle.action
    dense = 0.5 * visual.total() + middle_loss + 0.5 * last.action + 0.2 * (last.color + last.shape)
    answers, parts = _answer_loss(learner, batch, states.predicting)
    named = {**parts, **_named("visual", visual), **_named("middle", middle), **_named("last", last)}
    return StepLoss(answers + dense_weight * dense, named)


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
    losses = functional.cross_entropy(learner.model.lm_head(predicting[labelled]), targets, reduction="none")
    kinds = [
        batch.questions[video][segment - 1].kind
        for video, segment in zip(
            labelled.nonzero()[:, 0].tolist(),
            batch.packed.segments[labelled].tolist(),
            strict=True,
        )
    ]
    ends = targets.eq(token_id(learner.tokenizer, TURN_END))
    weights = torch.tensor([KIND_WEIGHTS[kind] for kind in kinds])
    weights = torch.where(ends, torch.tensor(Recipe.end_weight), weights)
    by_kind: dict[str, list[float]] = {}
    for kind, loss, end in zip(kinds, losses.tolist(), ends.tolist(), strict=True):
        if not end:
            by_kind.setdefault(kind, []).append(loss)
    means = {kind: float(np.mean(values)) for kind, values in sorted(by_kind.items())}
    return (losses * weights).sum() / weights.sum(), means


class Run:
    """One training run and its folder."""

    def __init__(self, architecture_name: str, recipe: Recipe, folder: Path) -> None:
        """Start a run with random weights; `resume` continues a saved one."""
        self.architecture_name = architecture_name
        self.recipe = recipe
        self.folder = folder
        self.next_step = 0
        torch.manual_seed(recipe.seed)
        self.learner = Learner(ARCHITECTURES[architecture_name], recipe.seed)
        self.optimizer = self.learner.optimizer(recipe)

    def resume(self) -> None:
        """Continue from the saved state, exactly as if the run had never stopped.

        Raises:
            RecipeError: If there is no saved state, or it is of another run.
        """
        path = self.folder / STATE_NAME
        if not path.exists():
            raise RecipeError(f"nothing to resume: {path} does not exist; leave out --resume")
        state: dict[str, Any] = torch.load(path, weights_only=True)
        expected = {"architecture": self.architecture_name, "seed": self.recipe.seed}
        found = {key: state[key] for key in expected}
        if found != expected:
            raise RecipeError(f"{path} belongs to the run {found}, asked for was {expected}")
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.next_step = state["next_step"]
        log = self.folder / LOG_NAME
        kept = [line for line in log.read_text().splitlines() if self._is_done(line)]
        _write_atomically(log, lambda path: path.write_text("".join(f"{line}\n" for line in kept)))

    def _is_done(self, line: str) -> bool:
        return int(json.loads(line)["step"]) < self.next_step

    def train(self) -> None:
        """Train to the recipe's last step, logging every step and saving the state now and then."""
        self.folder.mkdir(parents=True, exist_ok=True)
        batches = load_batches(self.recipe, self.learner.grid, self.learner.tokenizer, self.next_step)
        mode = "a" if self.next_step else "w"
        with (
            (self.folder / LOG_NAME).open(mode, encoding="utf-8") as log,
            batched_vision(self.learner.model),
        ):
            for step, batch in enumerate(batches, start=self.next_step):
                entries = [self._step(step, batch)]
                answers = self.recipe.stage(step).dense_weight is not None
                if answers and self._is_due(step, self.recipe.evaluate_every):
                    accuracy = development_accuracy(
                        self.learner.model, self.learner.tokenizer, self.learner.head, self.learner.grid
                    )
                    logger.info("step %d accuracy %s", step, accuracy)
                    entries.append({"step": step, "accuracy": accuracy})
                log.writelines(json.dumps(entry) + "\n" for entry in entries)
                log.flush()
                self.next_step = step + 1
                if self._is_due(step, self.recipe.save_every):
                    self.save()

    def _is_due(self, step: int, every: int) -> bool:
        return (step + 1) % every == 0 or step + 1 == self.recipe.steps

    def _step(self, step: int, batch: Batch) -> dict[str, Any]:
        """Take one optimiser step; return its log entry."""
        recipe = self.recipe
        rate = recipe.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        stage = recipe.stage(step)
        if stage.dense_weight is None:
            loss = vision_loss(self.learner, batch)
        else:
            loss = joint_loss(self.learner, batch, stage.dense_weight, middle_looks=stage.middle_looks)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss.total)
        norm = nn.utils.clip_grad_norm_(self.learner.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        return {
            "step": step,
            "learning_rate": rate,
            "gradient_norm": norm.item(),
            "loss": loss.total.item(),
            "losses": dict(loss.parts),
        }

    def save(self) -> None:
        """Save the state that `resume` needs; an interrupted save leaves the one before it."""
        state = {
            "architecture": self.architecture_name,
            "seed": self.recipe.seed,
            "next_step": self.next_step,
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        _write_atomically(self.folder / STATE_NAME, lambda path: torch.save(state, path))


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(path.name + ".partial")
    write(partial)
    partial.replace(path)
