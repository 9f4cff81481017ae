"""Tiny random models with published vocabularies, grounded as users ground."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, PreTrainedConfig, Qwen3Config

from stvg_core.cli import main
from stvg_core.devtools.demos import find_demos
from stvg_core.devtools.testing import run_conformance
from stvg_core.plugin import select_tokens
from stvg_core.plugin.adapter import QuestionAttention
from stvg_core.settings import TokenSettings
from stvg_huggingface.chat import render_frame
from stvg_huggingface.questions import tokenize_question
from stvg_huggingface.testing import INTERNVL_TEMPLATE, tiny_internvl
from stvg_huggingface.testing.models import ModelSize

INTERNVL = "InternVLForConditionalGeneration"
INTERNVL3_ROWS = 151674
CHECKS = ["prompt-tokens", "answer-logits", "prompted-logits", "attention-rows", "gradient", "token-selection"]
QWEN3_ENDING = (
    "{% if enable_thinking is defined and enable_thinking is false %}{{'<think>\n\n</think>\n\n'}}{% endif %}"
)
THINKING_ENDING = "{{'<think>\n'}}"

Ground = Callable[[Path], tuple[int, str, str]]


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ground:
    """Return what runs `stvg ground` with a model on a shipped clip and returns exit code, output and error."""
    clip = pytest.importorskip("stvg_tiny") and next(case for case in find_demos() if case.name == "easy")

    def run(model: Path) -> tuple[int, str, str]:
        words = (
            "stvg",
            "ground",
            clip.video,
            clip.query,
            "--model",
            model,
            "--json",
            "--set",
            "sampling.frame_count=4",
        )
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        said = capsys.readouterr()
        return int(exit_.value.code or 0), said.out, said.err

    return run


def save(folder: Path, published: Any, kind: str, token: int, rows: int, template: str = INTERNVL_TEMPLATE) -> Path:
    """Write a tiny InternVL with a published vocabulary, perhaps with another template."""
    pytest.importorskip("stvg_internvl")
    model, _ = tiny_internvl(layers=2, size=ModelSize(vocabulary_size=rows))
    model.config.image_token_id = token
    model.save_pretrained(folder)
    for path in published.folder(kind).iterdir():
        shutil.copy(path, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def thinking(ending: str) -> str:
    """Return InternVL's template with something behind the answer's header."""
    header = "<|im_start|>assistant\n{% endif %}"
    assert INTERNVL_TEMPLATE.endswith(header)
    return f"{INTERNVL_TEMPLATE.removesuffix('{% endif %}')}{ending}{{% endif %}}"


def test_a_placeholder_beyond_the_embedding_is_no_reason_to_refuse(
    tmp_path: Path, published: Any, ground: Ground
) -> None:
    """InternVL 3 as published: `<video>` is 151674, and the embedding has as many rows."""
    folder = save(tmp_path, published, "internvl3", 151667, INTERNVL3_ROWS)
    assert published.tokenizer("internvl3").convert_tokens_to_ids("<video>") == INTERNVL3_ROWS
    code, out, error = ground(folder)
    assert code == 0, error
    assert json.loads(out)["tube"]


def test_a_tokenizer_of_another_model_is_refused_with_id_and_token(
    tmp_path: Path, published: Any, ground: Ground
) -> None:
    """And the cure is not the one that would bring the same files again."""
    code, _, error = ground(save(tmp_path, published, "internvl3", 32, 32064))
    assert code == 1
    assert "expected token ids below 32064" in error
    assert "got 151642 ('â½Ĺ')" in error
    assert "download" not in error


def test_an_empty_think_block_is_passed_over(tmp_path: Path, published: Any, ground: Ground) -> None:
    """With Qwen3's ending on the vocabulary of InternVL 3.5, where `<think>` is a token."""
    code, out, error = ground(save(tmp_path, published, "internvl3.5", 151671, 151936, thinking(QWEN3_ENDING)))
    assert code == 0, error
    assert json.loads(out)["tube"]
    tokenizer = published.tokenizer("internvl3.5")
    frame = render_frame(tokenizer, thinking(QWEN3_ENDING), video=True)
    tokens = tokenize_question(tokenizer, frame, "Is there a man?").tokens
    assert [(token.text, token.kind) for token in tokens[-10:]] == [
        ("?", "punctuation"), ("<|im_end|>", "role"), ("Ċ", "role"), ("<|im_start|>", "role"), ("assistant", "role"),
        ("Ċ", "role"), ("<think>", "thinking"), ("ĊĊ", "thinking"), ("</think>", "thinking"), ("ĊĊ", "thinking"),
    ]  # fmt: skip
    attention = QuestionAttention("", tokens, torch.zeros(len(tokens), 1))
    fixed = select_tokens(
        attention, attention.rows, TokenSettings(rule="fixed"), published.family(INTERNVL).token_position
    )
    assert tokens[fixed[0]].text == "<|im_start|>"


@pytest.mark.parametrize("decoder", [LlamaConfig, Qwen3Config])
def test_other_decoders_of_internvl_conform(decoder: type[PreTrainedConfig], tmp_path: Path, published: Any) -> None:
    """InternLM2 (2.5) and Qwen3 (3.5), whose heads have norms and a width of their own; here with a think block."""
    published.family(INTERNVL)
    model, tokenizer = tiny_internvl(layers=2, decoder=decoder)
    tokenizer.chat_template = thinking(QWEN3_ENDING)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    report = run_conformance("internvl", checkpoint=tmp_path, only=CHECKS)
    assert {check.name: (check.outcome, check.message) for check in report.checks} == dict.fromkeys(
        CHECKS, ("passed", "")
    )


def test_a_checkpoint_that_thinks_first_is_refused(tmp_path: Path, published: Any, ground: Ground) -> None:
    code, _, error = ground(save(tmp_path, published, "internvl3.5", 151671, 151936, thinking(THINKING_ENDING)))
    assert code == 1
    assert "lets the model think first (it ends in '<think>\\n'); use the checkpoint's Instruct version" in error
    assert error.count("\n") == 1
