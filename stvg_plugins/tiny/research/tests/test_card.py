"""What is measured of a checkpoint, its card, and the curves of its training."""

import json
import shutil
from pathlib import Path

import pytest

from tiny_recipe import card, curves, measure
from tiny_recipe.card import write_card
from tiny_recipe.checkpoint import load_checkpoint, parameter_count
from tiny_recipe.errors import CheckpointError, RecipeError
from tiny_recipe.measure import Measured, measure_checkpoint, read_measured

CHECKPOINTS = Path(__file__).parents[2] / "stvg_tiny" / "checkpoints"
MEASURED = Path(__file__).parents[1] / "measured"
SHIPPED = sorted(path.name for path in CHECKPOINTS.iterdir() if path.is_dir())
SCENES = 1


def entry(step: int, stage: str, losses: dict[str, float]) -> str:
    return json.dumps({"step": step, "stage": stage, "losses": losses})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = [entry(step, "see" if step < 30 else "few", {"looking": float(step)}) for step in range(60)]
    lines.insert(40, json.dumps({"step": 39, "accuracy": {"action": 0.5}, "pointing": {"action": 0.7}}))
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(CHECKPOINTS / "qwen2-vl", tmp_path_factory.mktemp("c") / "c"))


@pytest.fixture(scope="module")
def found(checkpoint: Path) -> Measured:
    return measure_checkpoint(checkpoint, "development", SCENES, None)


def test_windows_are_means_of_their_own_steps(log: Path) -> None:
    read = curves.read_log(log)
    places, means = curves.windowed(read, "looking")
    assert places.tolist() == [24.0, 49.0, 59.0]
    assert means.tolist() == [12.0, 37.0, 54.5]
    assert curves.windowed(read, "following")[0].size == 0
    assert read.stages() == {"see": 30, "few": 30}
    assert [look["step"] for look in read.looks] == [39]


def test_curves_are_a_picture_and_the_same_twice(log: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("first.png", "second.png"):
        curves.draw(curves.read_log(log), "a run", tmp_path / name)
    first = (tmp_path / "first.png").read_bytes()
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert first == (tmp_path / "second.png").read_bytes()


@pytest.mark.parametrize("text", ["", "not json\n", "[1]\n", '{"losses": {}}\n'])
def test_what_is_no_log_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(RecipeError, match="expected the log of a training run"):
        curves.read_log(tmp_path / "log.jsonl")


def test_parameters_are_those_of_the_loaded_model(checkpoint: Path) -> None:
    model = load_checkpoint(checkpoint).model
    assert parameter_count(checkpoint) == sum(weight.numel() for weight in model.parameters())


def test_what_is_measured_survives_its_file(found: Measured, tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text(found.model_dump_json())
    assert read_measured(path) == found
    path.write_text(json.dumps({**json.loads(found.model_dump_json()), "more": 1}))
    with pytest.raises(CheckpointError, match=r"expected a file of `python -m tiny_recipe\.measure`"):
        read_measured(path)


def test_a_card_says_what_was_measured(found: Measured, checkpoint: Path, tmp_path: Path) -> None:
    attribute = {"attribute": 0.123, "attribute_yes": 0.1, "attribute_no": 0.146}
    changed = found.model_copy(update={"answers": {**found.answers, "hard": {**found.answers["hard"], **attribute}}})
    text = write_card(checkpoint, changed, "- **A note.** It snowed.", {7: found})
    assert "| attribute      | 0.123     | 0.100     | 0.146    |" in text
    assert "- **A note.** It snowed." in text
    assert "| 7 " in text
    assert f"the first {SCENES} scenes of each level" in text
    assert "## Other seeds" not in write_card(checkpoint, changed, "", {})


def test_the_commands_write_file_and_card(
    found: Measured,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(measure, "measure_checkpoint", lambda *_: found)
    out = tmp_path / "new" / "measured.json"
    assert measure.main([str(checkpoint), "--out", str(out)]) == 0
    assert card.main([str(checkpoint), "--measured", str(out), "--seed", f"3={out}"]) == 0
    assert (checkpoint / "README.md").read_text() == write_card(checkpoint, found, "", {3: found})
    assert card.main([str(checkpoint), "--measured", str(tmp_path / "none.json")]) == 1
    assert measure.main([str(checkpoint), "--out", str(out), "--scenes", "0"]) == 1
    assert capsys.readouterr().err.count("error: ") == 2


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_card_is_made_from_what_was_measured(name: str) -> None:
    folder, kept = CHECKPOINTS / name, MEASURED
    seeds = {int(path.stem.rsplit("-", 1)[1]): read_measured(path) for path in sorted(kept.glob(f"{name}-seed-*.json"))}
    expected = write_card(folder, read_measured(kept / f"{name}.json"), (kept / f"{name}.md").read_text(), seeds)
    assert (folder / "README.md").read_text() == expected
