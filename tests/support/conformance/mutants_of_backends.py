"""Backends with one bug each: hooks, masks inside the model, what is installed."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stvg_core.devtools.testing.context import ConformanceContext
from stvg_core.plugin import (
    AnswerLogits,
    AttentionRequest,
    EncodedClip,
    Frames,
    InputSettings,
    LoadOptions,
    MLLMAdapter,
    ModelReference,
    PromptSettings,
    QuestionAttention,
    TokenSettings,
    reverse_by_encoding,
    reverse_by_flipping,
)
from stvg_huggingface import adapter as adapter_module
from stvg_huggingface.hooks import HuggingFaceBackend

from .planting import MUTANTS, Bent, Mutant, planted


@planted("reversed view without its frame_order", "reversed-view", "internvl")
class NotInverted(HuggingFaceBackend):
    def stvg_augment_frames(
        self, adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
    ) -> EncodedClip:
        return replace(reverse_by_flipping(clip), frame_order=clip.frame_order)


@planted("tokens flipped where each covers two frames", "reversed-view")
class Flipped(HuggingFaceBackend):
    def stvg_augment_frames(
        self, adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
    ) -> EncodedClip:
        tokens = clip.visual_tokens.reshape(*clip.layout.shape, -1).flip(0).reshape(clip.visual_tokens.shape)
        return replace(clip, visual_tokens=tokens, frame_order=tuple(reversed(clip.frame_order)))


@planted("reversed view that is the forward clip", "reversed-view")
class NotReversed(HuggingFaceBackend):
    def stvg_augment_frames(
        self, adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
    ) -> EncodedClip:
        return replace(clip, frame_order=tuple(reversed(clip.frame_order)))


@planted("reversed view flipped in place", "untouched-inputs", "llava-next")
class FlippedInPlace(HuggingFaceBackend):
    def stvg_augment_frames(
        self, adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
    ) -> EncodedClip:
        view = reverse_by_encoding(adapter, frames, clip, settings)
        clip.visual_tokens.copy_(view.visual_tokens)
        return replace(view, visual_tokens=clip.visual_tokens)


@planted("grounding token drawn at random", "token-selection")
class RandomSelection(HuggingFaceBackend):
    def stvg_select_grounding_tokens(
        self, adapter: MLLMAdapter, attention: QuestionAttention, relative: Tensor, settings: TokenSettings
    ) -> tuple[int, ...]:
        return (random.randrange(len(attention.tokens)),)


@planted("words chosen where template tokens are the candidates", "token-selection")
class WordsSelected(HuggingFaceBackend):
    def stvg_select_grounding_tokens(
        self, adapter: MLLMAdapter, attention: QuestionAttention, relative: Tensor, settings: TokenSettings
    ) -> tuple[int, ...]:
        chosen: tuple[int, ...] = super().stvg_select_grounding_tokens(
            adapter, attention, relative, settings.model_copy(update={"candidates": "question"})
        )
        return (0,) if settings.rule == "mean" else chosen


@planted("fixed_position counted from the wrong end", "token-selection")
class WrongEnd(HuggingFaceBackend):
    def stvg_select_grounding_tokens(
        self, adapter: MLLMAdapter, attention: QuestionAttention, relative: Tensor, settings: TokenSettings
    ) -> tuple[int, ...]:
        if settings.rule == "fixed" and settings.fixed_position is not None:
            return (-settings.fixed_position,)
        return super().stvg_select_grounding_tokens(adapter, attention, relative, settings)


@planted("relative attention normalised in place", "token-selection")
class SelectionInPlace(HuggingFaceBackend):
    def stvg_select_grounding_tokens(
        self, adapter: MLLMAdapter, attention: QuestionAttention, relative: Tensor, settings: TokenSettings
    ) -> tuple[int, ...]:
        relative /= 2 * relative.max()
        return super().stvg_select_grounding_tokens(adapter, attention, relative, settings)


@planted("loss that rises with yes", "loss")
class WrongSign(HuggingFaceBackend):
    def stvg_regularize_logits(self, adapter: MLLMAdapter, logits: AnswerLogits, settings: PromptSettings) -> Tensor:
        return -super().stvg_regularize_logits(adapter, logits, settings)


@planted("neutral question's margin forgotten", "loss")
class NoContrast(HuggingFaceBackend):
    def stvg_regularize_logits(self, adapter: MLLMAdapter, logits: AnswerLogits, settings: PromptSettings) -> Tensor:
        return super().stvg_regularize_logits(adapter, logits, settings.model_copy(update={"contrast_neutral": False}))


@planted("loss without gradients", "loss")
class LossDetached(HuggingFaceBackend):
    def stvg_regularize_logits(self, adapter: MLLMAdapter, logits: AnswerLogits, settings: PromptSettings) -> Tensor:
        return super().stvg_regularize_logits(adapter, logits, settings).detach()


@planted("whole attention maps inside the kernel", "memory")
class WholeMaps(HuggingFaceBackend):
    def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> Any:
        return super().stvg_create_adapter(reference, replace(options, attn_implementation="eager"))


@planted("a hook that is no method", "hooks")
class HookMissing(HuggingFaceBackend):
    stvg_augment_frames = None  # type: ignore[assignment]  # pluggy drops it silently


@planted("a hook with an argument of its own", "hooks")
class HookArgument(HuggingFaceBackend):
    def stvg_regularize_logits(
        self, adapter: MLLMAdapter, logits: AnswerLogits, settings: PromptSettings, strength: float
    ) -> Tensor:
        return strength * super().stvg_regularize_logits(adapter, logits, settings)


class _OtherMask(Bent):
    """Runs the model under another mask than the packed questions'."""

    def bend(self, mask: Tensor, prefix: int, lengths: list[int]) -> Tensor:
        raise NotImplementedError

    @contextmanager
    def bent(self) -> Iterator[None]:
        healthy: Callable[..., Tensor] = adapter_module.suffix_mask

        def bent(prefix: int, lengths: list[int], device: Any) -> Tensor:
            return self.bend(healthy(prefix, lengths, device), prefix, lengths)

        adapter_module.suffix_mask = bent  # type: ignore[assignment]
        try:
            yield
        finally:
            adapter_module.suffix_mask = healthy

    def answer_logits(self, clip: EncodedClip, questions: Any, prompt: Tensor | None) -> AnswerLogits:
        with self.bent():
            return super().answer_logits(clip, questions, prompt)

    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        with self.bent():
            return super().attention_rows(request)


@planted("no causal mask among a question's tokens", "causality")
class NotCausal(_OtherMask):
    def bend(self, mask: Tensor, prefix: int, lengths: list[int]) -> Tensor:
        own = mask[..., prefix:]
        return torch.cat([mask[..., :prefix], own | own.transpose(2, 3)], dim=3)


@planted("questions of one call see each other (mask ignored, as where it is not registered)", "batch")
class SeeEachOther(_OtherMask):
    def bend(self, mask: Tensor, prefix: int, lengths: list[int]) -> Tensor:
        count = mask.shape[2]
        causal = torch.ones(count, count, dtype=torch.bool).tril()[None, None]
        return torch.cat([mask[..., :prefix], causal], dim=3)


def _not_installed(context: ConformanceContext) -> ConformanceContext:
    return replace(context, found=replace(context.found, name="elsewhere"))


def _another_name(context: ConformanceContext) -> ConformanceContext:
    entry = context.found.entry_point
    return replace(context, found=replace(context.found, entry_point=type(entry)("other", entry.value, entry.group)))


def _another_architecture(context: ConformanceContext) -> ConformanceContext:
    folder = context.checkpoint.with_name(f"{context.checkpoint.name}-renamed")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["SomeOtherModel"]}', encoding="utf-8")
    return replace(context, checkpoint=folder)


MUTANTS += [
    Mutant("entry point that is not installed", "discovery", _not_installed),
    Mutant("manifest of another name than the entry point's", "manifest", _another_name),
    Mutant("checkpoint of an architecture that the manifest lacks", "manifest", _another_architecture),
]
