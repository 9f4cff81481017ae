"""The recipe's schedule, and short runs of the training loop."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stvg_tiny.architectures import ARCHITECTURES
from stvg_tiny.batches import Batch, training_batch
from stvg_tiny.errors import RecipeError
from stvg_tiny.evaluate import evaluate, load_checkpoint
from stvg_tiny.export import export_checkpoint
from stvg_tiny.recipe import CYCLES, STAGES, RateCycle, Recipe, Stage
from stvg_tiny.sampling import Split
from stvg_tiny.tokenizer import build_tokenizer
from stvg_tiny.training import LOG_NAME, Run


def short_recipe(steps: int, vision_steps: int, batch_videos: int) -> Recipe:
    return Recipe(
        steps=steps,
        stages=(Stage(vision_steps, 0.9, 2, None), Stage(steps, 0.5, 3, 1.0)),
        cycles=(RateCycle(0, 2, steps), RateCycle(vision_steps, 2, steps)),
        batch_videos=batch_videos,
        evaluate_every=100,
        save_every=2,
    )


SHORT = short_recipe(steps=6, vision_steps=3, batch_videos=2)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses(folder: Path) -> list[float]:
    entries = [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]


def test_batches_depend_on_seed_and_step_alone() -> None:
    tokenizer, grid = build_tokenizer(), ARCHITECTURES["qwen2-vl"].grid
    first, again, other = (training_batch(SHORT, grid, tokenizer, step) for step in (4, 4, 5))
    assert torch.equal(first.patches, again.patches)
    assert first.questions == again.questions
    assert not torch.equal(first.patches, other.patches)


def test_learning_rate_rises_in_every_cycle_and_falls_to_its_end() -> None:
    recipe = Recipe()
    rates = [recipe.learning_rate(step) for step in range(recipe.steps)]
    assert rates[0] < rates[100] < rates[300] == recipe.peak_learning_rate
    for cycle in CYCLES:
        assert rates[cycle.first_step] == pytest.approx(recipe.peak_learning_rate / cycle.ramp_steps)
        assert rates[cycle.first_step + cycle.ramp_steps] == recipe.peak_learning_rate
    assert max(rates) == recipe.peak_learning_rate
    assert rates[-1] == pytest.approx(recipe.final_rate_share * recipe.peak_learning_rate, rel=0.01)


def test_scenes_get_harder() -> None:
    recipe = Recipe()
    assert [stage.until_step for stage in STAGES] == sorted(stage.until_step for stage in STAGES)
    counts = {
        step: np.mean([len(recipe.scene(recipe.item_generator(step, index), step).objects) for index in range(100)])
        for step in (0, 1200, 2200)
    }
    assert counts[0] < 2 < counts[1200] < counts[2200]


def test_a_missing_state_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing to resume"):
        Run("qwen2-vl", SHORT, tmp_path).resume()


@pytest.mark.slow
def test_a_resumed_run_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run("qwen2-vl", SHORT, tmp_path / "whole").train()
    with monkeypatch.context() as patch:
        take_step = Run._step

        def killed_at_the_last(self: Run, step: int, batch: Batch) -> dict[str, object]:
            if step == 5:
                raise KeyboardInterrupt
            return take_step(self, step, batch)

        patch.setattr(Run, "_step", killed_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            Run("qwen2-vl", SHORT, tmp_path / "parts").train()
    assert len(losses(tmp_path / "parts")) == 5
    resumed = Run("qwen2-vl", SHORT, tmp_path / "parts")
    resumed.resume()
    assert resumed.next_step == 4
    resumed.train()
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


@pytest.mark.slow
def test_some_steps_lower_the_loss_and_the_checkpoint_opens(tmp_path: Path) -> None:
    run = Run("qwen2-vl", short_recipe(steps=40, vision_steps=30, batch_videos=4), tmp_path)
    run.train()
    values = losses(tmp_path)
    assert np.mean(values[20:30]) < 0.8 * np.mean(values[:5])
    folder = tmp_path / "checkpoint"
    export_checkpoint(run.learner.model, run.learner.tokenizer, run.learner.grid, folder)
    model, _ = load_checkpoint(folder)
    trained = run.learner.model.state_dict()
    assert all(torch.equal(value, trained[name].half().float()) for name, value in model.state_dict().items())
    result = evaluate(folder, Split.DEVELOPMENT, "hard", scenes=1)
    assert result["questions"]["combined"] == 2
