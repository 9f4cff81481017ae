"""Prompts against transformers' own processors, token by token, on published vocabularies.

The processors' pixels need torchvision; their text does not. So pixels are taken by a stand-in that tells
the shapes which square frames have, and the rest of each processor runs as it is.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    InternVLProcessor,
    LlavaNextVideoProcessor,
    LlavaOnevisionProcessor,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    Qwen2_5_VLProcessor,
    Qwen2VLProcessor,
)

from stvg_core.plugin import candidate_tokens
from stvg_core.plugin.adapter import QuestionAttention
from stvg_core.settings import InputSettings, TokenSettings
from stvg_huggingface.answers import answer_tokens
from stvg_huggingface.chat import render_frame
from stvg_huggingface.files import read_chat_template
from stvg_huggingface.questions import tokenize_question

QUESTIONS = ("Is there a man in a red shirt who walks to the car in this video?", "please describe this video")
FRAMES = (1, 2, 3, 8)
ASSISTANT = ["<|im_end|>", "Ċ", "<|im_start|>", "assistant", "Ċ"]
VICUNA = ["▁A", "SS", "IST", "ANT", ":"]


@dataclass(frozen=True)
class Case:
    """A checkpoint, transformers' processor for it, and the grounding tokens that the paper names.

    Attributes:
        tail: candidates behind the question, its final punctuation is one more; None where the vocabulary that
            would name them was not found.
        options: what the checkpoint's processor_config.json says.
        settings: with which our tokens are as many as the processor's.
    """

    name: str
    processor: type[ProcessorMixin]
    tail: list[str] | None
    options: dict[str, Any]
    settings: InputSettings


TRAINED_POOLING = InputSettings(pooling_stride=2)
MERGED = InputSettings(temporal_merge="merge")
LLAVA = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
ONEVISION = {"num_image_tokens": 729, "vision_feature_select_strategy": "full"}
CASES = (
    Case("Qwen/Qwen2-VL-7B-Instruct", Qwen2VLProcessor, ASSISTANT, {}, MERGED),
    Case("Qwen/Qwen2.5-VL-7B-Instruct", Qwen2_5_VLProcessor, ASSISTANT, {}, MERGED),
    Case("Qwen/Qwen2-VL-7B-Instruct", Qwen2VLProcessor, ASSISTANT, {}, InputSettings()),
    Case("llava-hf/LLaVA-NeXT-Video-7B-hf", LlavaNextVideoProcessor, VICUNA, LLAVA, TRAINED_POOLING),
    Case("llava-hf/LLaVA-NeXT-Video-34B-hf", LlavaNextVideoProcessor, None, LLAVA, TRAINED_POOLING),
    Case("OpenGVLab/InternVL2_5-2B-MPO-hf", InternVLProcessor, None, {}, InputSettings()),
    Case("OpenGVLab/InternVL3-8B-hf", InternVLProcessor, ASSISTANT, {}, InputSettings()),
    Case("OpenGVLab/InternVL3_5-8B-HF", InternVLProcessor, ASSISTANT, {}, InputSettings()),
    Case("llava-hf/llava-onevision-qwen2-7b-ov-hf", LlavaOnevisionProcessor, ASSISTANT, ONEVISION, TRAINED_POOLING),
)


class Squares:
    """Stands for a video processor that was given frames of the right size: it tells their shapes."""

    merge_size = temporal_patch_size = 2
    model_input_names = ("pixel_values_videos",)

    def __init__(self, patch_pixels: int) -> None:
        self._patch_pixels = patch_pixels

    def __call__(self, videos: list[np.ndarray], **_: object) -> dict[str, Any]:
        count, height, width, channels = videos[0].shape
        grid = [-(-count // 2), height // self._patch_pixels, width // self._patch_pixels]
        pixels = torch.zeros(1).expand(1, count, channels, height, width)
        timing = [SimpleNamespace(fps=24.0, sampled_fps=24.0)]
        return {"pixel_values_videos": pixels, "video_grid_thw": torch.tensor([grid]), "video_metadata": timing}


def processed(
    case: Case, tokenizer: PreTrainedTokenizerBase, template: str, config: Any, frames: int, size: int, question: str
) -> list[int]:
    """Return the ids that transformers' processor makes of a clip and a question."""
    patch = config.vision_config.patch_size
    squares = Squares(patch if isinstance(patch, int) else patch[0])
    processor: Any = case.processor(
        image_processor=squares,
        tokenizer=tokenizer,
        video_processor=squares,
        chat_template=template,
        **case.options,
    )
    turn = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    doubled = frames * (2 if case.processor is Qwen2VLProcessor and case.settings.temporal_merge == "duplicate" else 1)
    clip = np.zeros((doubled, size, size, 3), np.uint8)
    found: list[int] = torch.as_tensor(processor(text=[text], videos=[clip])["input_ids"])[0].tolist()
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.settings.temporal_merge}")
def test_a_prompt_is_transformers_own(case: Case, published: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda *_: None)
    facts = published.facts(case.name)
    config = AutoConfig.for_model(**published.config(case.name))
    family = published.family(config.architectures[0])
    tokenizer, folder = published.tokenizer(facts["tokenizer"]), published.folder(facts["tokenizer"])
    template = read_chat_template(folder)
    frame = render_frame(tokenizer, template, video=True, content_type=family.content_type)
    size = family.frame_size_pixels(config, None)
    for frames in FRAMES:
        layout = family.layout(config, frames, size, case.settings)
        shown = frame.with_clip(family.placeholder(config, tokenizer), family.clip_text(config, tokenizer, layout))
        for question in QUESTIONS:
            prompt = tokenize_question(tokenizer, shown, question)
            expected = processed(case, tokenizer, template or tokenizer.chat_template, config, frames, size, question)
            assert list(prompt.ids) == expected
            rows = torch.zeros(len(prompt.tokens), layout.cell_count)
            candidates = candidate_tokens(QuestionAttention(question, prompt.tokens, rows), TokenSettings())
            found = [prompt.tokens[place].text for place in candidates]
            assert case.tail is None or found == (["?"] if question.endswith("?") else []) + case.tail


@pytest.mark.parametrize(
    ("kind", "bare", "initial", "lower"),
    [
        ("qwen2-vl", (9693, 2152), (9454, 2753), (9693, 2152)),
        ("internvl3", (9693, 2152), (9454, 2753), (9693, 2152)),
        ("vicuna", (3582, 1217), (3869, 1939), (4874, 694)),
    ],
)
def test_answers_are_the_published_tokens(
    published: Any,
    kind: str,
    bare: tuple[int, int],
    initial: tuple[int, int],
    lower: tuple[int, int],
) -> None:
    """The authors' scripts name the bare ids; behind "ASSISTANT:" LLaMA begins a word with a metaspace."""
    tokenizer = published.tokenizer(kind)
    tail = render_frame(tokenizer, read_chat_template(published.folder(kind)), video=True).tail
    words = {"lowercase": (bare,), "sentence_initial": (initial,), "any_case": (bare, initial, lower)}
    for setting, pairs in words.items():
        answers = answer_tokens(tokenizer, setting, tail)
        assert answers.yes == tuple(dict.fromkeys(yes for yes, _ in pairs))
        assert answers.no == tuple(dict.fromkeys(no for _, no in pairs))
