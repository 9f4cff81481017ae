"""A family unlike Qwen through the same adapter: text between frames, ordinary positions, flipping.

A tiny random InternVL, read by a table of differences written here, against plain transformers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
)

from stvg_core.backend import AttentionRequest
from stvg_core.config import InputSettings
from stvg_core.identity import LoadOptions, ModelReference
from stvg_core.values import Frames, TokenLayout, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.family import FamilyDifferences, SequentialPositions, VisualInputs
from stvg_huggingface.hooks import HuggingFaceHooks
from stvg_huggingface.interception import intercept_visual_tokens
from stvg_huggingface.loading import load_checkpoint
from stvg_huggingface.testing import tiny_tokenizer

SIDE, PATCH, CELLS = 24, 4, 3
QUESTIONS = ("Is there a man standing by the stairs in this video?", "please describe this video")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}<video>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class InternFamily:
    architectures: tuple[str, ...] = ("InternVLForConditionalGeneration",)
    reversal: Literal["flip", "encode"] = "flip"

    def visual_token_id(self, config: PreTrainedConfig) -> int:
        return int(config.image_token_id)

    def placeholder(self, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "<video>"

    def frame_size_pixels(self, config: PreTrainedConfig, wanted: int | None) -> int:
        return SIDE

    def visual_inputs(
        self,
        config: PreTrainedConfig,
        tokenizer: PreTrainedTokenizerBase,
        pixels: Tensor,
        seconds: np.ndarray,
        settings: InputSettings,
    ) -> VisualInputs:
        count = len(pixels)
        text = "\n".join(f"Frame{n + 1}: <img>{'<|image_pad|>' * CELLS**2}</img>" for n in range(count))
        layout = TokenLayout(count, CELLS, CELLS, tuple(range(count)))
        return VisualInputs({"pixel_values": pixels}, layout, text, SequentialPositions())

    def visual_tokens(self, model: PreTrainedModel, ids: Tensor, inputs: VisualInputs) -> Tensor:
        return intercept_visual_tokens(model, ids, self.visual_token_id(model.config), inputs)


_: FamilyDifferences = InternFamily()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    vision = InternVLVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        image_size=[SIDE, SIDE], patch_size=[PATCH, PATCH],
    )  # fmt: skip
    text = Qwen2Config(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=128, vocab_size=512,
    )  # fmt: skip
    config = InternVLConfig(
        vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        downsample_ratio=0.5, image_seq_length=CELLS**2, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = InternVLForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                weight.mul_(8)
    target = tmp_path_factory.mktemp("intern")
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def adapter(folder: Path) -> HuggingFaceAdapter:
    family = InternFamily()
    checkpoint = load_checkpoint(ModelReference("intern", folder), LoadOptions("cpu"), family.architectures)
    return HuggingFaceAdapter(checkpoint, family)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)


@pytest.fixture(scope="module")
def frames() -> Frames:
    info = VideoInfo("clip.mp4", SIDE, SIDE, 10.0, 1.0, np.arange(10) / 10)
    pixels = np.random.default_rng(1).integers(0, 255, (4, SIDE, SIDE, 3), dtype=np.uint8)
    return Frames(info, np.arange(4), pixels)


def test_equals_plain_transformers(adapter: HuggingFaceAdapter, plain: Any, frames: Frames) -> None:
    clip = adapter.encode(frames, InputSettings(), (0, 1, 2, 3))
    logits = adapter.answer_logits(clip, QUESTIONS, None)
    rows = adapter.attention_rows(AttentionRequest(clip, QUESTIONS, None, (0, 2)))
    statistics = adapter.checkpoint.statistics
    mean, deviation = np.array(statistics.mean), np.array(statistics.deviation)
    pixels = torch.tensor((frames.pixels / 255 - mean) / deviation, dtype=torch.float32).permute(0, 3, 1, 2)
    for number, question in enumerate(QUESTIONS):
        shown = "".join(
            f"Frame{place + 1}: <img>{'<|image_pad|>' * 9}</img>" + "\n" * (place < 3) for place in range(4)
        )
        text = f"<|im_start|>user\n{shown}\n{question}<|im_end|>\n<|im_start|>assistant\n"
        ids = adapter.checkpoint.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            output = plain(input_ids=ids, pixel_values=pixels, output_attentions=True)
        visual = (ids[0] == plain.config.image_token_id).nonzero()[:, 0]
        assert int(visual[-1] - visual[0]) > len(visual), "visual tokens must lie apart"
        answers = output.logits[0, -1]
        assert float(logits.yes[number]) == pytest.approx(float(answers[adapter.description.yes_id]), abs=1e-4)
        assert float(logits.no[number]) == pytest.approx(float(answers[adapter.description.no_id]), abs=1e-4)
        maps = torch.stack([output.attentions[0], output.attentions[2]]).mean((0, 1, 2))
        expected = maps[-len(rows[number].tokens) :, visual]
        torch.testing.assert_close(rows[number].rows, expected, rtol=0, atol=5e-6)


def test_flipped_tokens_are_the_reversed_clip(adapter: HuggingFaceAdapter, frames: Frames) -> None:
    """Questions about the flipped clip find the same state, and answer as if encoded in reverse."""
    clip = adapter.encode(frames, InputSettings(), (0, 1, 2, 3))
    flipped = HuggingFaceHooks(InternFamily()).stvg_augment_frames(adapter, frames, clip, InputSettings())
    assert flipped is not None
    encoded = adapter.encode(frames, InputSettings(), (3, 2, 1, 0))
    assert flipped.frame_order == encoded.frame_order
    torch.testing.assert_close(flipped.visual_tokens, encoded.visual_tokens, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        adapter.answer_logits(flipped, QUESTIONS, None).margins,
        adapter.answer_logits(encoded, QUESTIONS, None).margins,
        rtol=0,
        atol=1e-4,
    )
