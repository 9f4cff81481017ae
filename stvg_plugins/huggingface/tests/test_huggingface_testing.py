"""The tiny models are what they say: real architectures in hub layout, told apart by their seed."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

from stvg_core.errors import UsageError
from stvg_core.plugin.model_reference import LoadOptions
from stvg_huggingface.testing import TINY_FAMILIES, save_tiny_model, tiny_llava_tokenizer
from stvg_huggingface.testing.__main__ import main
from stvg_huggingface.testing.sessions import published_sizes, random_session

every_family = pytest.mark.parametrize("family", list(TINY_FAMILIES))


@every_family
def test_a_saved_model_is_the_one_that_was_made(family: str, tmp_path: Path) -> None:
    made, tokenizer = TINY_FAMILIES[family](layers=2, seed=3)
    save_tiny_model(family, tmp_path, layers=2, seed=3)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(loaded) is type(made)
    weights = loaded.state_dict()
    assert made.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in made.state_dict().items())
    read = AutoTokenizer.from_pretrained(tmp_path)
    text = "USER: Is there a naïve man?\nASSISTANT:"
    assert read(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert max(read(text)["input_ids"]) < made.config.get_text_config().vocab_size
    assert read.chat_template == tokenizer.chat_template
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2_000_000


@every_family
def test_seeds_decide_and_leave_torch_alone(family: str) -> None:
    state = torch.random.get_rng_state()
    first, same, other = (TINY_FAMILIES[family](layers=1, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    head = [model.get_output_embeddings().weight for model in (first, same, other)]
    assert torch.equal(head[0], head[1])
    assert not torch.equal(head[0], head[2])


def test_llava_begins_its_text_and_cuts_the_role_as_the_real_one() -> None:
    tokenizer = tiny_llava_tokenizer()
    ids = tokenizer("USER: <video><video>\nIs there a rug? ASSISTANT:")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "<s>", "▁US", "ER", ":", "▁", "<video>", "<video>", "<0x0A>", "Is", "▁there", "▁a", "▁r", "u", "g", "?",
        "▁A", "SS", "IST", "ANT", ":",
    ]  # fmt: skip


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["internvl", str(tmp_path / "model"), "--layers", "1"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'model'}\n"
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert main(["gpt", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told == "expected a family of llava-next-video, qwen2-vl, qwen2.5-vl, internvl, got 'gpt'\n"


def test_unknown_family(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a family of"):
        save_tiny_model("gpt", tmp_path)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected a family .* or a size .*qwen2-vl-7b.*, got 'other'"):
        random_session("other", LoadOptions("cpu"), device=torch.device("cpu"), dtype=torch.float32)


@pytest.mark.parametrize("name", published_sizes())
def test_a_published_size_is_made_with_the_layers_that_are_asked_for(name: str) -> None:
    session = random_session(name, LoadOptions("cpu"), device=torch.device("meta"), dtype=torch.bfloat16, layers=2)
    assert session.adapter.description.layer_count == 2
    assert session.adapter.description.dtype == "bfloat16"
