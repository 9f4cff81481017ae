"""The recipe's schedule, and short runs of the training loop."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stvg_tiny.combinations import TRAINING
from stvg_tiny.sampling import Split
from stvg_tiny.scenes import COLOR_NAMES, EVENTS, SHAPE_NAMES, STILL
from tiny_recipe import train
from tiny_recipe.accuracy import Accuracy
from tiny_recipe.architectures import ARCHITECTURES
from tiny_recipe.batches import Batch, Material, training_batch
from tiny_recipe.checkpoint import export_checkpoint, load_checkpoint
from tiny_recipe.errors import RecipeError
from tiny_recipe.evaluate import evaluate
from tiny_recipe.packing import encode_videos, packed_forward
from tiny_recipe.questions import named_properties
from tiny_recipe.recipe import STAGES, Recipe, Stage
from tiny_recipe.supervision import looking_loss, named_words, reading_loss
from tiny_recipe.training import LOG_NAME, Learner, Run, stage_loss

NAMES = sorted(ARCHITECTURES)


def short_recipe(see: int, ask: int, batch_videos: int) -> Recipe:
    stages = (
        Stage("see", see, 0.9, 2, 1.0, answers=False),
        Stage("ask", ask, 0.5, 3, 1.0, gate={"single": 2.0}),
        Stage("settle", 2, 0.5, 3, 1.0, decays=True),
    )
    return Recipe(stages=stages, ramp_steps=2, batch_videos=batch_videos, evaluate_every=2)


SHORT = short_recipe(see=3, ask=3, batch_videos=1)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiny_recipe.accuracy._DEVELOPMENT_SCENES", 1)
    monkeypatch.setattr("tiny_recipe.accuracy._SCENES_PER_PASS", 1)


@pytest.fixture(scope="module")
def material() -> Material:
    return Learner(ARCHITECTURES["qwen2-vl"], 0).material


def entries(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in entries(folder) if "loss" in entry]


def test_batches_depend_on_seed_stage_and_step_alone(material: Material) -> None:
    stage = SHORT.stages[1]
    first, again, other = (training_batch(SHORT, material, stage, step) for step in (4, 4, 5))
    name = "pixel_values_videos"
    assert torch.equal(first.pixels[name], again.pixels[name])
    assert first.questions == again.questions
    assert not torch.equal(first.pixels[name], other.pixels[name])


def test_no_held_out_combination_is_seen_or_asked_for_in_training(material: Material) -> None:
    names = (COLOR_NAMES, SHAPE_NAMES, EVENTS)
    asked = 0
    for step in range(12):
        batch = training_batch(Recipe(batch_videos=4), material, STAGES[-1], step)
        for question in (item for row in batch.questions for item in row if item.kind != "caption"):
            color, shape, action = (
                None if place is None else family[place]
                for place, family in zip(named_properties(question), names, strict=True)
            )
            if color and shape:
                asked += 1
                assert TRAINING.allows(color, shape, action or STILL), question.text
    assert asked > 100


def test_learning_rate_ramps_holds_and_falls() -> None:
    recipe = Recipe()
    peak, ramp = recipe.peak_learning_rate, recipe.ramp_steps
    for stage in (0, 1):
        assert recipe.learning_rate(stage, 0) == pytest.approx(peak / ramp)
        assert recipe.learning_rate(stage, ramp) == pytest.approx(peak)
    assert recipe.learning_rate(2, 0) == pytest.approx(peak)
    last = len(STAGES) - 1
    rates = [recipe.learning_rate(last, step) for step in range(STAGES[last].most_steps)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(peak)
    assert rates[-1] == pytest.approx(recipe.final_rate_share * peak, rel=0.01)


def test_scenes_get_harder() -> None:
    recipe = Recipe()
    counts = [
        np.mean([len(recipe.scene(recipe.item_generator(0, index), stage).objects) for index in range(200)])
        for stage in STAGES
    ]
    assert counts[0] < 2 < counts[2] < counts[3]


def test_the_tokens_of_a_recipe_alone_are_taught_to_look_and_read(material: Material) -> None:
    stage = SHORT.stages[1]
    learner = Learner(material.architecture, 0)
    batch = training_batch(SHORT, material, stage, 4)
    found = {}
    for places in ((), (-6, -5, -4, -3, -2, -1), (-4,), (-1,)):
        named = stage_loss(learner, batch, stage, replace(SHORT, looking_tokens=places)).parts
        found[places] = (named["looking"], named["reading"])
    assert found[()] == pytest.approx(found[-6, -5, -4, -3, -2, -1])
    visual = encode_videos(material.architecture, learner.model, batch.pixels)
    states = packed_forward(learner.model, visual, batch.packed, learner.head, blind=batch.blind)
    words = named_words(batch.packed, learner.get_buffer("naming_ids"))
    for place in (-4, -1):
        number = 6 + place
        looking = looking_loss(states.role_attention[:, :, :, number : number + 1], batch.cells)
        reading = reading_loss(states.role_reading[:, :, number : number + 1], words)
        assert found[place,] == pytest.approx((looking.item(), reading.item()))
    assert found[-4,] != pytest.approx(found[-1,])


def test_a_run_of_other_tokens_is_not_gone_on_with(tmp_path: Path) -> None:
    Run("qwen2-vl", replace(SHORT, looking_tokens=(-4,)), tmp_path).save()
    (tmp_path / LOG_NAME).touch()
    Run("qwen2-vl", replace(SHORT, looking_tokens=(-4,)), tmp_path).resume()
    for other in ((), (-3,)):
        with pytest.raises(RecipeError, match="looking_tokens"):
            Run("qwen2-vl", replace(SHORT, looking_tokens=other), tmp_path).resume()


def test_a_missing_state_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing to resume"):
        Run("qwen2-vl", SHORT, tmp_path).resume()


def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    run = Run("qwen2-vl", SHORT, tmp_path)
    (tmp_path / LOG_NAME).touch()
    run.save()
    with pytest.raises(RecipeError, match="belongs to the run"):
        Run("llava-next", SHORT, tmp_path).resume()


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize(("reached", "ends"), [(0.95, 5), (0.5, 6)])
def test_a_stage_ends_at_its_gate_or_after_its_most_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: float, ends: int
) -> None:
    def looked(self: Run) -> tuple[Accuracy, dict[str, float]]:
        return {"single": reached, "action": 1.0}, {}

    monkeypatch.setattr(Run, "_look", looked)
    stages = (
        Stage("see", 3, 0.9, 2, 1.0, answers=False),
        Stage("ask", 3, 0.5, 3, 1.0, gate={"single": 0.9, "action": 0.9}),
    )
    Run("qwen2-vl", Recipe(stages=stages, batch_videos=1, evaluate_every=2), tmp_path).train()
    steps = [entry["step"] for entry in entries(tmp_path) if "loss" in entry]
    assert steps == list(range(ends))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_bit_equal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run(name, SHORT, tmp_path / "whole").train()
    with monkeypatch.context() as patch:
        take_step = Run._step

        def killed_late(self: Run, step: int, batch: Batch) -> dict[str, object]:
            if step == 6:
                raise KeyboardInterrupt
            return take_step(self, step, batch)

        patch.setattr(Run, "_step", killed_late)
        with pytest.raises(KeyboardInterrupt):
            Run(name, SHORT, tmp_path / "parts").train()
    assert len(losses(tmp_path / "parts")) == 6
    with (tmp_path / "parts" / LOG_NAME).open("a") as log:
        log.write(json.dumps({"step": 6, "loss": 0.0}) + "\n")
    resumed = Run(name, SHORT, tmp_path / "parts")
    resumed.resume()
    assert (resumed.next_step, resumed.stage_number, resumed.stage_start) == (6, 2, 6)
    resumed.train()
    assert entries(tmp_path / "whole") == entries(tmp_path / "parts")
    assert len(losses(tmp_path / "whole")) == 8


@pytest.mark.slow
@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("name", NAMES)
def test_some_steps_lower_the_losses_and_the_checkpoint_opens(name: str, tmp_path: Path) -> None:
    run = Run(name, short_recipe(see=30, ask=12, batch_videos=4), tmp_path)
    run.train()
    values = losses(tmp_path)
    assert np.mean(values[20:30]) < 0.8 * np.mean(values[:5])
    parts = [entry["losses"] for entry in entries(tmp_path) if entry.get("stage") == "ask"]
    for part in ("looking", "reading", "middle_color"):
        assert np.mean([some[part] for some in parts[-3:]]) < np.mean([some[part] for some in parts[:3]])
    folder = tmp_path / "checkpoint"
    material = run.learner.material
    export_checkpoint(material.architecture, run.learner.model, material.tokenizer, folder)
    saved = load_checkpoint(folder).model.state_dict()
    trained = run.learner.model.state_dict()
    assert saved.keys() == trained.keys()
    assert all(torch.equal(value, trained[key].half().float()) for key, value in saved.items())
    result = evaluate(folder, Split.DEVELOPMENT, "hard", scenes=1)
    assert result["questions"]["combined"] == 2


def test_a_batch_moves_whole(material: Material) -> None:
    batch = training_batch(SHORT, material, SHORT.stages[1], 0)
    moved = batch.to(torch.device("meta"))
    tensors = [*moved.pixels.values(), moved.dense, moved.owners, moved.blind, moved.cells]
    tensors += [getattr(moved.packed, field.name) for field in fields(moved.packed)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.questions == batch.questions


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["qwen2-vl", "--out", str(tmp_path / "run"), "--device", "warp"]) == 1
    assert "cannot train on 'warp'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("name", NAMES)
def test_a_run_on_cuda_starts_as_on_the_cpu(name: str, tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        Run(name, SHORT, tmp_path / device, torch.device(device)).train()
    on_cpu, on_cuda = losses(tmp_path / "cpu"), losses(tmp_path / "cuda")
    # Rounding differs between the devices and grows with every step.
    assert on_cuda[:4] == pytest.approx(on_cpu[:4], rel=1e-3)
