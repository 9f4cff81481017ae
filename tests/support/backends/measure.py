"""How far a backend is from plain transformers: largest differences, as numbers.

The tests assert on them; `python -m benchmarks.exactness` prints them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from stvg_core.api.grounder import settings_of
from stvg_core.method.pipeline import Pipeline
from stvg_core.method.prompts import learn_prompts
from stvg_core.method.reversed_view import flip_time
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip
from stvg_core.settings import PromptSettings
from stvg_core.values import SubQueries

from .plain_method import plain_loss, plain_maps, plain_prompt, plain_rows
from .subjects import QUESTIONS, Case, Subject, frames, random_prompt

STEP: Final = 1e-2
"""Of finite differences, as a share of the visual tokens' deviation: the models' norms compute in float32."""


def largest(first: Tensor, second: Tensor) -> float:
    """Return the largest absolute difference."""
    return float((first - second).abs().max())


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference as a share of what was expected."""
    return float((found - expected).norm() / expected.norm())


def visual_token_difference(subject: Subject, case: Case, frame_order: tuple[int, ...] | None = None) -> float:
    """Largest difference of visual tokens, as a share of the largest of them."""
    clip = subject.encode(case, frame_order)
    pictures = frames(case).pixels[list(clip.frame_order)]
    prompt = subject.prompt(case, QUESTIONS[0], pictures)
    expected = prompt.embeddings[list(prompt.places)]
    return largest(clip.visual_tokens, expected) / float(expected.abs().max())


def logit_difference(subject: Subject, case: Case, *, prompted: bool) -> float:
    """Largest difference of yes and no logits over all questions, asked at once and one by one."""
    clip = subject.encode(case)
    added = random_prompt(clip) if prompted else None
    logits = subject.session.adapter.answer_logits(clip, QUESTIONS, added)
    worst = 0.0
    for number, question in enumerate(QUESTIONS):
        plain = subject.plain.forward(subject.prompt(case, question), added).logits[0, -1]
        for answer, own in (("yes", logits.yes), ("no", logits.no)):
            worst = max(worst, abs(float(own[number] - plain[subject.plain.answer_id(answer)])))
    return worst


def row_difference(subject: Subject, case: Case, layers: Sequence[int], *, prompted: bool = True) -> float:
    """Largest difference of attention rows from eager `output_attentions`."""
    clip = subject.encode(case)
    added = random_prompt(clip) if prompted else None
    captured = subject.session.capture_attention(AttentionRequest(clip, QUESTIONS, added, tuple(layers)))
    worst = 0.0
    for attention, question in zip(captured, QUESTIONS, strict=True):
        expected = plain_rows(subject, case, question, layers, added)
        worst = max(worst, largest(attention.rows, expected[-len(attention.tokens) :]))
    return worst


def own_loss(subject: Subject, clip: EncodedClip, settings: PromptSettings, added: Tensor) -> Tensor:
    """Return the backend's loss from one packed pass."""
    logits = subject.session.adapter.answer_logits(clip, QUESTIONS[:2], added)
    return subject.session.regularize_logits(logits, settings)


def gradient_difference(subject: Subject, case: Case, settings: PromptSettings) -> float:
    """Relative difference of the loss's gradient from that of separate eager runs."""
    clip = subject.encode(case)
    own, plain = (random_prompt(clip).requires_grad_() for _ in range(2))
    (found,) = torch.autograd.grad(own_loss(subject, clip, settings, own), own)
    (expected,) = torch.autograd.grad(plain_loss(subject, case, settings, plain), plain)
    return relative(found, expected)


def slope_difference(subject: Subject, case: Case, settings: PromptSettings) -> float:
    """Largest difference of slopes from central differences, along the gradient and three random directions.

    As a share of the gradient's norm; wants a float64 subject.
    """
    clip = subject.encode(case)
    base = random_prompt(clip).requires_grad_()
    (gradient,) = torch.autograd.grad(own_loss(subject, clip, settings, base), base)
    if not (gradient.norm(dim=1) > 0).all():
        raise AssertionError("every visual token must be reached by the gradient")
    step = STEP * float(clip.visual_tokens.std())

    def slope(direction: Tensor, length: float) -> float:
        with torch.no_grad():
            ahead, behind = (
                float(own_loss(subject, clip, settings, base + sign * length * direction)) for sign in (1, -1)
            )
        return (ahead - behind) / (2 * length)

    worst = 0.0
    for direction in (gradient, *(random_prompt(clip, seed) for seed in (2, 3, 4))):
        unit = direction / direction.norm()
        # Four points: steps must be large, so the third derivative is taken out.
        extrapolated = (4 * slope(unit, step) - slope(unit, 2 * step)) / 3
        worst = max(worst, abs(extrapolated - float((gradient * unit).sum())))
    return worst / float(gradient.norm())


def telling_step(subject: Subject, case: Case, settings: PromptSettings) -> PromptSettings:
    """Return settings whose first step is a third of the visual tokens' norm, so that the second one differs."""
    tokens = subject.encode(case).visual_tokens
    start = torch.zeros_like(tokens).requires_grad_()
    (gradient,) = torch.autograd.grad(plain_loss(subject, case, settings, start), start)
    return settings.model_copy(update={"step_size": float(tokens.norm() / gradient.norm()) / 3})


def learned_prompt_difference(subject: Subject, case: Case, settings: PromptSettings) -> float:
    """Relative difference of a learned prompt from a loop of separate runs."""
    clip = subject.encode(case)

    def answer(added: Tensor) -> AnswerLogits:
        return subject.session.adapter.answer_logits(clip, QUESTIONS[:2], added)

    (learned,) = learn_prompts(
        clip.visual_tokens,
        lambda added, _: (answer(added),),
        lambda logits: subject.session.regularize_logits(logits, settings),
        1,
        settings,
    )
    return relative(learned.applied, plain_prompt(subject, case, settings))


def method_difference(subject: Subject, case: Case) -> float:
    """Largest difference of the whole method's maps from plain runs, as a share of the largest attention.

    Settings are preset `released` as the family has it, but for a step that is large enough to tell. What the authors'
    code does is said here once more: LLaVA-NeXT-Video reads the clip backwards as well, Qwen2-VL counts positions as
    of text and asks the whole sentence where it reads the action, and two families have a system turn.
    """
    released = settings_of(subject.session, "released")
    qwen, llava = subject.family.startswith("qwen"), subject.family == "llava-next-video"
    if (released.input.system_prompt is None) != qwen or (released.input.position_rule == "sequential") != qwen:
        raise AssertionError(f"the family's preset is not the authors': {released.input}")
    authors = {name: getattr(released.input, name) for name in ("system_prompt", "position_rule")}
    case = replace(case, settings=case.settings.model_copy(update=authors))
    prompting = PromptSettings(objective="linear", contrast_neutral=True, momentum=0.5, steps=2)
    prompting = telling_step(subject, case, prompting)
    settings = released.model_copy(update={"input": case.settings, "prompt": prompting})
    query = SubQueries("The man in red walks to the car.", "the man in red", "the man walks to the car", "given")
    (found,) = Pipeline(subject.session, settings).ground(frames(case), (query,))
    pictures = frames(case).pixels
    forward, backward = (
        plain_maps(subject, case, prompting, query.attribute, shown) for shown in (pictures, pictures[::-1])
    )
    spatial = forward + backward[::-1] if llava else forward
    whole = "the man in red walks to the car" if qwen else None
    temporal = plain_maps(subject, case, prompting, query.action, pictures, whole)
    return max(
        float(np.abs(own.values - plain).max() / plain.max())
        for own, plain in ((found.spatial_maps, spatial), (found.temporal_maps, temporal))
    )


def packing_difference(subject: Subject, case: Case, questions: Sequence[str]) -> tuple[float, float]:
    """Largest differences of margins and of rows: questions asked at once against one by one."""
    clip, adapter = subject.encode(case), subject.session.adapter
    added = random_prompt(clip)
    together = adapter.answer_logits(clip, questions, added).margins
    rows = adapter.attention_rows(AttentionRequest(clip, tuple(questions), added, subject.layers()))
    margins, shares = 0.0, 0.0
    for number, question in enumerate(questions):
        alone = adapter.answer_logits(clip, [question], added).margins[0]
        (alone_rows,) = adapter.attention_rows(AttentionRequest(clip, (question,), added, subject.layers()))
        margins = max(margins, abs(float(together[number] - alone)))
        shares = max(shares, largest(rows[number].rows, alone_rows.rows))
    return margins, shares


def padding_difference(subject: Subject, case: Case) -> float:
    """Largest difference of logits: a left-padded batch under our attention against plain single runs."""
    pictures = frames(case).pixels
    settings = case.settings.model_copy(update={"position_rule": "transformers"})
    if subject.family == "llava-next-video":
        stride = subject.model.config.spatial_pool_stride
        settings = settings.model_copy(update={"pooling_stride": stride, "pooling_order": "before_projector"})
    singles = [subject.plain.inputs(pictures, question, settings) for question in QUESTIONS[:2]]
    longest = max(single["input_ids"].shape[1] for single in singles)
    batch: dict[str, Tensor] = {}
    for name in singles[0]:
        values = [single[name] for single in singles]
        if name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            filler = subject.plain.tokenizer.pad_token_id if name == "input_ids" else 0
            values = [nn.functional.pad(value, (longest - value.shape[1], 0), value=filler) for value in values]
        batch[name] = torch.cat(values)
    with torch.no_grad():
        together = subject.model(**batch, use_cache=False).logits[:, -1]
        alone = torch.cat([subject.plain.model(**single, use_cache=False).logits[:, -1] for single in singles])
    return largest(together, alone)


def reversal_difference(subject: Subject, case: Case) -> tuple[float, float]:
    """Largest differences of the reversal hook's view from plain transformers on the reversed frames.

    Of visual tokens, as a share of the largest of them; and of the margin of yes over no.
    """
    clip = subject.encode(case)
    view = subject.session.augment_frames(frames(case), clip, case.settings)
    prompt = subject.prompt(case, QUESTIONS[0], frames(case).pixels[::-1])
    expected = prompt.embeddings[list(prompt.places)]
    logits = subject.plain.forward(prompt).logits[0, -1]
    margin = logits[subject.plain.answer_id("yes")] - logits[subject.plain.answer_id("no")]
    found = subject.session.adapter.answer_logits(view, QUESTIONS[:1], None).margins[0]
    return largest(view.visual_tokens, expected) / float(expected.abs().max()), abs(float(found - margin))


def flip_difference(subject: Subject, case: Case, count: int) -> float:
    """Relative difference of flipped tokens from the clip encoded in reverse."""
    clip = frames(case, count)
    order = tuple(range(count))
    ahead = subject.session.adapter.encode(clip, case.settings, order)
    behind = subject.session.adapter.encode(clip, case.settings, order[::-1])
    return relative(flip_time(ahead.visual_tokens, ahead.layout), behind.visual_tokens)
