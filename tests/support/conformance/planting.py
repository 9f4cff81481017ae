"""How a bug is planted: a healthy adapter with one method bent, in a backend that is otherwise its family's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from stvg_core.devtools.testing.context import ConformanceContext
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, ModelDescription, QuestionAttention
from stvg_core.plugin.hookspecs import hookimpl
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, TokenLayout
from stvg_huggingface.hooks import HuggingFaceBackend

OpenContext = Callable[[str], ConformanceContext]


class Bent:
    """A healthy adapter behind a thin wall; a bug overrides one of these."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def description(self) -> ModelDescription:
        return self.inner.description

    @property
    def model(self) -> Any:
        return self.inner.checkpoint.model

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        return self.inner.encode(frames, settings, frame_order)

    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        return self.inner.answer_logits(clip, questions, prompt)

    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return self.inner.attention_rows(request)

    def generate_text(self, instruction: str, maximum_tokens: int) -> str:
        return self.inner.generate_text(instruction, maximum_tokens)


@dataclass(frozen=True)
class Mutant:
    """One planted bug.

    Attributes:
        name: for people.
        caught_by: the check that is meant for it.
        plant: returns the context with the bug in it.
        family: the subject that it is planted in.
    """

    name: str
    caught_by: str
    plant: Callable[[ConformanceContext], ConformanceContext]
    family: str = "qwen2-vl"


MUTANTS: list[Mutant] = []


def planted(name: str, caught_by: str, family: str = "qwen2-vl") -> Callable[[type], type]:
    """Plant a bent adapter, or a bent backend, in a family."""

    def register(kind: type) -> type:
        def plant(context: ConformanceContext) -> ConformanceContext:
            healthy = context.make_plugin
            if issubclass(kind, Bent):
                return replace(context, make_plugin=lambda: with_adapter(healthy(), kind))
            return replace(context, make_plugin=lambda: kind(healthy().family))  # type: ignore[attr-defined]

        MUTANTS.append(Mutant(name, caught_by, plant, family))
        return kind

    return register


def with_adapter(healthy: Any, kind: type[Bent]) -> HuggingFaceBackend:
    """Return a backend whose adapter is bent; its hooks stay the family's."""

    class Backend(HuggingFaceBackend):
        @hookimpl
        def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> Any:
            return kind(super().stvg_create_adapter(reference, options))

    return Backend(healthy.family)


def with_tokens(clip: EncodedClip, tokens: Tensor) -> EncodedClip:
    return replace(clip, visual_tokens=tokens)


def grid(clip: EncodedClip) -> Tensor:
    """Return visual tokens as [time step, row, column, width]."""
    return clip.visual_tokens.reshape(*clip.layout.shape, -1)


def with_layout(clip: EncodedClip, **changes: Any) -> EncodedClip:
    layout: TokenLayout = replace(clip.layout, **changes)
    return replace(clip, layout=layout)


def with_rows(
    answers: Sequence[QuestionAttention], change: Callable[[Tensor], Tensor]
) -> tuple[QuestionAttention, ...]:
    return tuple(replace(answer, rows=change(answer.rows)) for answer in answers)
