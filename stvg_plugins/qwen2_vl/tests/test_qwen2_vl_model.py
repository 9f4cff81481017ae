"""The packed, capturing adapter against plain transformers, question by question."""

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface

from stvg_core.backend import AttentionRequest, EncodedClip
from stvg_core.config import InputSettings
from stvg_core.values import Frames
from stvg_huggingface.capture import ATTENTION_NAME
from stvg_huggingface.testing import save_tiny_qwen2_vl

from .conftest import SIZE, Subject, open_adapter

QUESTIONS = (
    "Is there a man standing by the stairs in this video?",
    "please describe this video",
    "Is there the woman in red in this video?",
)
DUPLICATE = InputSettings(frame_size_pixels=SIZE)
STEP = 1e-2
FORWARD = (0, 1, 2, 3, 4)


def encode(subject: Subject, frames: Frames, settings: InputSettings = DUPLICATE) -> EncodedClip:
    return subject.adapter.encode(frames, settings, FORWARD)


def random_prompt(clip: EncodedClip, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(clip.visual_tokens.shape, generator=generator, dtype=clip.visual_tokens.dtype) * 0.3


def language_inputs(subject: Subject, inputs: dict[str, Tensor], **keywords: Tensor) -> dict[str, Tensor]:
    """Return what the plain model hands its language model."""
    caught: dict[str, Tensor] = {}
    decoder = subject.plain.model.model.language_model
    handle = decoder.register_forward_pre_hook(lambda _m, _a, kw: caught.update(kw), with_kwargs=True)
    with torch.no_grad():
        subject.plain.model(**inputs, **keywords, use_cache=False)
    handle.remove()
    return caught


def own_positions(clip: EncodedClip, visual: Tensor, length: int) -> Tensor:
    mask = torch.zeros(length, dtype=torch.bool)
    mask[visual] = True
    return clip.state["huggingface"].positions(mask)[:, None]


def plain_run(
    subject: Subject, clip: EncodedClip, question: str, pictures: np.ndarray, prompt: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return logits and all attentions [layer, head, query, key] of a plain eager run."""
    inputs = subject.plain.inputs(pictures, question)
    visual, length = subject.plain.visual(inputs), inputs["input_ids"].shape[1]
    embeddings = language_inputs(subject, inputs)["inputs_embeds"][0].clone()
    if prompt is not None:
        embeddings[visual] += prompt
    output = subject.plain.model(
        inputs_embeds=embeddings[None],
        position_ids=own_positions(clip, visual, length),
        output_attentions=True,
        use_cache=False,
    )
    return output.logits[0, -1], torch.cat(output.attentions)


def test_visual_tokens_are_what_the_plain_model_makes(subject: Subject, frames: Frames) -> None:
    clip = encode(subject, frames)
    inputs = subject.plain.inputs(np.repeat(frames.pixels, 2, axis=0), QUESTIONS[0])
    expected = language_inputs(subject, inputs)["inputs_embeds"][0, subject.plain.visual(inputs)]
    torch.testing.assert_close(clip.visual_tokens, expected, rtol=0, atol=2e-5)
    assert clip.layout.shape == (5, 3, 3)


@pytest.mark.parametrize("prompted", [False, True])
def test_answers_equal_the_plain_forward(subject: Subject, frames: Frames, prompted: bool) -> None:
    clip = encode(subject, frames)
    prompt = random_prompt(clip) if prompted else None
    logits = subject.adapter.answer_logits(clip, QUESTIONS, prompt)
    ids = subject.adapter.description
    for number, question in enumerate(QUESTIONS):
        plain, _ = plain_run(subject, clip, question, np.repeat(frames.pixels, 2, axis=0), prompt)
        assert logits.yes[number] == pytest.approx(float(plain[ids.yes_id]), abs=1e-4)
        assert logits.no[number] == pytest.approx(float(plain[ids.no_id]), abs=1e-4)


@pytest.mark.parametrize("merge", ["duplicate", "merge"])
def test_transformers_rule_equals_the_untouched_multimodal_forward(
    subject: Subject, frames: Frames, merge: str
) -> None:
    """Nothing of ours on the other side: transformers gets pixels and ids, and finds its own positions."""
    settings = InputSettings(frame_size_pixels=SIZE, position_rule="transformers", temporal_merge=merge)
    clip = encode(subject, frames, settings)
    repeated = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] if merge == "duplicate" else [0, 1, 2, 3, 4, 4]
    timing = {}
    if subject.version == "2.5":
        timing["second_per_grid_ts"] = torch.tensor([1.0 if merge == "duplicate" else 2.0])
    logits = subject.adapter.answer_logits(clip, QUESTIONS, None)
    for number, question in enumerate(QUESTIONS):
        inputs = subject.plain.inputs(frames.pixels[repeated], question)
        with torch.no_grad():
            plain = subject.plain.model(**inputs, **timing).logits[0, -1]
        assert logits.yes[number] == pytest.approx(float(plain[subject.adapter.description.yes_id]), abs=1e-4)
        assert logits.no[number] == pytest.approx(float(plain[subject.adapter.description.no_id]), abs=1e-4)


@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (1, 2)])
def test_attention_equals_eager(subject: Subject, frames: Frames, layers: tuple[int, ...]) -> None:
    clip = encode(subject, frames)
    prompt = random_prompt(clip)
    captured = subject.adapter.attention_rows(AttentionRequest(clip, QUESTIONS, prompt, layers))
    for attention, question in zip(captured, QUESTIONS, strict=True):
        _, maps = plain_run(subject, clip, question, np.repeat(frames.pixels, 2, axis=0), prompt)
        inputs = subject.plain.inputs(np.repeat(frames.pixels, 2, axis=0), question)
        expected = maps[list(layers)].mean((0, 1))[-len(attention.tokens) :, subject.plain.visual(inputs)]
        torch.testing.assert_close(attention.rows, expected, rtol=0, atol=5e-6)
        assert expected.max() > 3 * expected.mean(), "attention must not be uniform, or this proves nothing"


def test_tokens_of_a_question(subject: Subject, frames: Frames) -> None:
    clip = encode(subject, frames)
    asked, told = subject.adapter.attention_rows(AttentionRequest(clip, QUESTIONS[:2], None, (0,)))
    tail = ["<|im_end|>", "Ċ", "<|im_start|>", "assistant", "Ċ"]
    assert [token.text for token in asked.tokens][-6:] == ["?", *tail]
    assert [token.kind for token in asked.tokens] == ["word"] * (len(asked.tokens) - 6) + ["punctuation"] + ["role"] * 5
    assert [token.kind for token in told.tokens] == ["word"] * (len(told.tokens) - 5) + ["role"] * 5
    assert asked.tokens[0].text == "Is"


def test_packed_questions_do_not_see_one_another(subject: Subject, frames: Frames) -> None:
    clip = encode(subject, frames)
    prompt = random_prompt(clip)
    together = subject.adapter.answer_logits(clip, (*QUESTIONS, QUESTIONS[0]), prompt)
    rows = subject.adapter.attention_rows(AttentionRequest(clip, QUESTIONS, prompt, (0, 3)))
    for number, question in enumerate((*QUESTIONS, QUESTIONS[0])):
        alone = subject.adapter.answer_logits(clip, [question], prompt)
        torch.testing.assert_close(together.margins[number], alone.margins[0], rtol=0, atol=2e-5)
    for number, question in enumerate(QUESTIONS):
        (alone_rows,) = subject.adapter.attention_rows(AttentionRequest(clip, (question,), prompt, (0, 3)))
        assert rows[number].tokens == alone_rows.tokens
        torch.testing.assert_close(rows[number].rows, alone_rows.rows, rtol=0, atol=2e-6)


@pytest.mark.parametrize("version", ["2", "2.5"])
def test_gradient_against_central_differences(
    version: str, frames: Frames, tmp_path_factory: pytest.TempPathFactory
) -> None:
    adapter = open_adapter(save_tiny_qwen2_vl(tmp_path_factory.mktemp("double"), version, layers=2), dtype="float64")
    clip = adapter.encode(frames, DUPLICATE, FORWARD)
    assert clip.visual_tokens.dtype == torch.float64

    def objective(prompt: Tensor) -> Tensor:
        margins = adapter.answer_logits(clip, QUESTIONS, prompt).margins
        return margins[0] - 0.5 * margins[1] + margins[2].tanh()

    def difference(base: Tensor, direction: Tensor, step: float) -> float:
        with torch.no_grad():
            return float(objective(base + step * direction) - objective(base - step * direction)) / (2 * step)

    base = random_prompt(clip).requires_grad_()
    (gradient,) = torch.autograd.grad(objective(base), base)
    directions = [gradient / gradient.norm()]
    directions += [one / one.norm() for one in (random_prompt(clip, seed) for seed in (2, 3, 4))]
    for direction in directions:
        # The model's norms compute in float32 even here, so steps must be large: hence four points.
        near, far = (difference(base, direction, step) for step in (STEP, 2 * STEP))
        slope = (4 * near - far) / 3
        assert slope == pytest.approx(float((gradient * direction).sum()), abs=1e-4 * float(gradient.norm()))
    assert gradient.norm() > 1e-3
    assert (gradient.norm(dim=1) > 0).all(), "every visual token must be reached"
    assert all(weight.grad is None and not weight.requires_grad for weight in adapter.checkpoint.model.parameters())


def test_early_exit_leaves_the_model_as_it_was(subject: Subject, frames: Frames) -> None:
    clip = encode(subject, frames)
    before = subject.adapter.answer_logits(clip, QUESTIONS, None).margins
    layers_run: list[int] = []
    handles = [
        layer.register_forward_pre_hook(lambda _m, _a, number=number: layers_run.append(number))
        for number, layer in enumerate(subject.adapter.checkpoint.model.model.language_model.layers)
    ]
    subject.adapter.attention_rows(AttentionRequest(clip, QUESTIONS, None, (0, 1)))
    for handle in handles:
        handle.remove()
    assert layers_run == [0, 1]
    after = subject.adapter.answer_logits(clip, QUESTIONS, None).margins
    assert torch.equal(before, after)
    assert torch.is_grad_enabled()


def test_the_method_never_builds_a_square_mask_nor_calls_plain_attention(
    subject: Subject, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = encode(subject, frames)
    original = AttentionInterface()[ATTENTION_NAME]
    shapes: list[tuple[int, ...]] = []

    def spy(
        module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **keywords: object
    ) -> object:
        shapes.append((attention_mask.shape[-2], query.shape[2]))
        return original(module, query, key, value, attention_mask, **keywords)

    monkeypatch.setitem(AttentionInterface._global_mapping, ATTENTION_NAME, spy)
    subject.adapter.answer_logits(clip, QUESTIONS, None)
    assert shapes
    assert all(rows < length / 2 for rows, length in shapes)


def padded_difference(subject: Subject, frames: Frames) -> float:
    """Largest difference of last-token logits: left-padded pair against each alone."""
    model, tokenizer = subject.adapter.checkpoint.model, subject.adapter.checkpoint.tokenizer
    batch = tokenizer(["the man", "Is there a woman in red in this video?"], return_tensors="pt", padding=True)
    with torch.no_grad():
        together = model(**batch).logits[0, -1]
        alone = model(**tokenizer("the man", return_tensors="pt")).logits[0, -1]
    return float((together - alone).abs().max())


def test_padding_is_masked_because_the_mask_is_registered(
    subject: Subject, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.masking_utils import AttentionMaskInterface

    assert padded_difference(subject, frames) < 1e-3
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, ATTENTION_NAME)
    assert padded_difference(subject, frames) > 1e-2


def test_text_equals_plain_greedy_generation(subject: Subject) -> None:
    instruction = "please describe the man\nin red"
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n"
    )
    inputs = subject.plain.tokenizer(text, return_tensors="pt")
    ids = subject.plain.model.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs.input_ids.shape[1] :]
    expected = subject.plain.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert subject.adapter.generate_text(instruction, 8) == expected


def test_many_questions_of_random_length(subject: Subject, frames: Frames) -> None:
    clip = encode(subject, frames)
    words = ["man", "woman", "red", "car", "door", "walks", "the"]
    chooser = np.random.default_rng(3)
    questions = [" ".join(chooser.choice(words, size=length)) + "?" for length in (1, 2, 5, 9, 3)]
    together = subject.adapter.answer_logits(clip, questions, None).margins
    alone = [subject.adapter.answer_logits(clip, [question], None).margins for question in questions]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=2e-5)
