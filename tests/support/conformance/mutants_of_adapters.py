"""Adapters with one bug each: clips, logits, prompts."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from stvg_core.plugin.adapter import (
    AnswerLogits,
    AttentionRequest,
    EncodedClip,
    ModelDescription,
    QuestionAttention,
)
from stvg_core.settings import InputSettings
from stvg_core.values import Frames

from .planting import Bent, grid, planted, with_layout, with_tokens


@planted("visual tokens shifted by one place", "token-places")
class Shifted(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        return with_tokens(clip, clip.visual_tokens.roll(1, dims=0))


@planted("rows and columns of the grid exchanged", "token-places", "internvl")
class Transposed(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        return with_tokens(clip, grid(clip).transpose(1, 2).reshape(clip.visual_tokens.shape))


@planted("frames off by one", "token-places", "llava-next")
class FrameOffByOne(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        late = Frames(frames.info, frames.indices, np.roll(frames.pixels, 1, axis=0))
        return super().encode(late, settings, frame_order)


@planted("last frame dropped, the one before shown twice", "token-places", "internvl")
class LastFrameDropped(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        pixels = frames.pixels.copy()
        if len(frames) > 1:
            pixels[frame_order[-1]] = pixels[frame_order[-2]]
        return super().encode(Frames(frames.info, frames.indices, pixels), settings, frame_order)


@planted("last column of every frame missing from the layout", "token-layout", "internvl")
class ColumnDropped(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        kept = grid(clip)[:, :, :-1].flatten(0, 2)
        layout = replace(clip.layout, columns=clip.layout.columns - 1)
        return replace(clip, visual_tokens=kept, layout=layout)


@planted("time steps of the layout in reverse", "token-layout")
class TimeStepsReversed(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        return with_layout(clip, time_step_of_frame=clip.layout.time_step_of_frame[::-1])


@planted("visual tokens with gradients", "token-layout")
class TokensWithGradients(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        return with_tokens(clip, clip.visual_tokens.clone().requires_grad_())


@planted("frame_order recorded but not followed", "frame-order")
class OrderIgnored(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        straight = super().encode(frames, settings, tuple(range(len(frames))))
        return replace(straight, frame_order=frame_order)


@planted("frame_order followed but not recorded", "frame-order")
class OrderNotRecorded(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        return replace(super().encode(frames, settings, frame_order), frame_order=tuple(range(len(frames))))


@planted("frame_order inverted (place of a frame for frame at a place)", "frame-order")
class OrderInverted(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        inverse = tuple(int(place) for place in np.argsort(frame_order))
        return replace(super().encode(frames, settings, inverse), frame_order=frame_order)


@planted("noise on visual tokens", "repeatability")
class Noisy(Bent):
    calls = 0

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        self.calls += 1
        clip = super().encode(frames, settings, frame_order)
        return with_tokens(clip, clip.visual_tokens * (1 + 1e-3 * self.calls))


@planted("yes and no swapped", "answer-logits")
class Swapped(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        logits = super().answer_logits(clip, questions, prompt)
        return AnswerLogits(yes=logits.no, no=logits.yes)


class _OtherAnswers(Bent):
    yes = "Yes"

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        (number, *_) = self.inner.checkpoint.tokenizer(self.yes, add_special_tokens=False)["input_ids"]
        ((name, state),) = clip.state.items()
        return replace(clip, state={name: replace(state, answers=replace(state.answers, yes=(number,)))})


@planted("capitalised answer (Yes)", "answer-logits")
class Capitalised(_OtherAnswers):
    pass


@planted("answer with a space before it", "answer-logits")
class Spaced(_OtherAnswers):
    yes = " yes"


@planted("answers beside attention are without the prompt", "prompted-logits")
class AnswersWithoutPrompt(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        rows = super().attention_rows(request)
        bare = super().attention_rows(replace(request, prompt=None))
        return tuple(replace(own, answer=other.answer) for own, other in zip(rows, bare, strict=True))


@planted("answers beside attention are another question's", "answer-logits", "internvl")
class AnswersOfOthers(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        rows = super().attention_rows(request)
        return tuple(replace(own, answer=other.answer) for own, other in zip(rows, rows[::-1], strict=True))


@planted("one id for yes and for no", "hooks")
class OneAnswer(Bent):
    @property
    def description(self) -> ModelDescription:
        return replace(self.inner.description, yes_id=self.inner.description.no_id)


@planted("positions counted as ordinary text, whatever input.family.position_rule says", "answer-logits")
class OrdinaryPositions(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        (name, state), *_ = clip.state.items()

        def counted(visual: Tensor) -> Tensor:
            return torch.arange(visual.numel()).expand(3, -1)

        return replace(clip, state={name: replace(state, positions=counted)})


@planted("position ids kept from the clip that was encoded last", "clips")
class StalePositions(Bent):
    kept: Any = None

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        (self.kept,) = clip.state.values()
        return clip

    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        ((name, state),) = clip.state.items()
        stale = replace(clip, state={name: replace(state, positions=self.kept.positions)})
        return super().answer_logits(stale, questions, prompt)


@planted("visual tokens kept from the clip that was encoded last", "clips", "internvl")
class StaleClip(Bent):
    kept: dict[tuple[int, int, int], Tensor]

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        self.kept = {**getattr(self, "kept", {}), clip.layout.shape: clip.visual_tokens}
        return clip

    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        return super().answer_logits(with_tokens(clip, self.kept[clip.layout.shape]), questions, prompt)


@planted("visual tokens shared by all sessions of a process", "sessions")
class SharedState(Bent):
    latest: ClassVar[Any] = None
    tokens: Tensor

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        SharedState.latest, self.tokens = self, clip.visual_tokens
        return clip

    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        latest = SharedState.latest
        if latest is not self and latest.tokens.shape == clip.visual_tokens.shape:
            clip = with_tokens(clip, latest.tokens)
        return super().answer_logits(clip, questions, prompt)


@planted("numbers that depend on the process", "fresh-process")
class OfThisProcess(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        clip = super().encode(frames, settings, frame_order)
        return with_tokens(clip, clip.visual_tokens * (1 + os.getpid() % 1000 / 1000))


@planted("prompt added twice", "prompted-logits")
class PromptTwice(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        return super().answer_logits(clip, questions, None if prompt is None else 2 * prompt)


@planted("prompt never added to the questions", "prompted-logits")
class PromptForgotten(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        return super().answer_logits(clip, questions, None)


@planted("prompt added in reverse order of frames", "prompted-logits", "internvl")
class PromptReversed(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        if prompt is not None:
            prompt = prompt.reshape(*clip.layout.shape, -1).flip(0).reshape(prompt.shape)
        return super().answer_logits(clip, questions, prompt)


@planted("prompt cast to bfloat16 with the tokens", "zero-prompt", "llava-next")
class PromptNarrow(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        if prompt is not None:
            added = clip.visual_tokens.bfloat16() + prompt.bfloat16()
            clip, prompt = with_tokens(clip, added.to(clip.visual_tokens.dtype)), None
        return super().answer_logits(clip, questions, prompt)


@planted("prompt not added in the describe pass", "prompted-rows")
class PromptNotDescribed(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        under, bare = super().attention_rows(request), super().attention_rows(replace(request, prompt=None))
        return tuple(
            without if "escribe" in added.question else added for added, without in zip(under, bare, strict=True)
        )


@planted("prompt not added while attention is read", "prompted-rows", "llava-next")
class PromptNotRead(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return super().attention_rows(replace(request, prompt=None))


@planted("prompt added in place to the clip", "untouched-inputs")
class InPlace(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        if prompt is not None:
            clip.visual_tokens.add_(prompt.detach())
        return super().answer_logits(clip, questions, None)


@planted("prompt detached", "gradient")
class Detached(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        return super().answer_logits(clip, questions, None if prompt is None else prompt.detach())


@planted("prompt detached at the first frame's tokens", "gradient")
class PartlyDetached(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        if prompt is not None:
            per_step = clip.layout.rows * clip.layout.columns
            prompt = torch.cat([prompt[:per_step].detach(), prompt[per_step:]])
        return super().answer_logits(clip, questions, prompt)


@planted("half of the gradient lost on its way", "gradient", "internvl")
class HalfGradient(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        if prompt is not None:
            prompt = 0.5 * prompt + 0.5 * prompt.detach()
        return super().answer_logits(clip, questions, prompt)
