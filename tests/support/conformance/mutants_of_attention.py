"""Adapters with one bug each: rows and their tokens, memory, text, what is left behind."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stvg_core.errors import StvgError
from stvg_core.plugin.adapter import (
    AnswerLogits,
    AttentionRequest,
    EncodedClip,
    PromptToken,
    QuestionAttention,
)
from stvg_core.settings import InputSettings
from stvg_core.values import Frames

from .planting import Bent, planted, with_rows


@planted("attention of the layer after the wanted one", "attention-rows")
class LayerAfter(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        count = self.description.layer_count
        if max(request.layers) >= count:
            return super().attention_rows(request)
        layers = tuple(min(layer + 1, count - 1) for layer in request.layers)
        return super().attention_rows(replace(request, layers=layers))


@planted("attention of all layers, whichever are wanted", "attention-rows", "internvl")
class AllLayers(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        everything = tuple(range(max(self.description.layer_count, 1 + max(request.layers))))
        return super().attention_rows(replace(request, layers=everything))


@planted("rows rounded to float16 on the way", "attention-rows")
class Rounded(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return with_rows(super().attention_rows(request), lambda rows: rows.half().float())


@planted("rows in float16", "row-shares")
class Half(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return with_rows(super().attention_rows(request), torch.Tensor.half)


@planted("rows of the neighbouring token", "attention-rows", "llava-next")
class NeighbourRows(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return with_rows(super().attention_rows(request), lambda rows: rows.roll(1, dims=0))


@planted("columns shifted by one visual token", "attention-rows")
class ShiftedColumns(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return with_rows(super().attention_rows(request), lambda rows: rows.roll(1, dims=1))


@planted("heads added instead of averaged", "row-shares")
class HeadsAdded(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        heads = self.inner.checkpoint.text_config.num_attention_heads
        return with_rows(super().attention_rows(request), lambda rows: rows * heads)


@planted("softmax over the visual columns only", "row-shares")
class VisualSoftmax(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return with_rows(super().attention_rows(request), lambda rows: rows / rows.sum(1, keepdim=True))


@planted("rows averaged over tokens instead of heads", "attention-rows")
class TokensAveraged(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return with_rows(super().attention_rows(request), lambda rows: rows.mean(0, keepdim=True).expand_as(rows))


@planted("rows of the wrong question", "batch")
class WrongQuestion(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return super().attention_rows(request)[::-1]


@planted("logits in the order of the questions' length", "batch")
class SortedByLength(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        return super().answer_logits(clip, sorted(questions, key=len), prompt)


@planted("template token told as the question's punctuation", "prompt-tokens")
class CandidateOffByOne(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return tuple(_with_kinds_shifted(answer) for answer in super().attention_rows(request))


def _with_kinds_shifted(answer: QuestionAttention) -> QuestionAttention:
    kinds = [answer.tokens[0].kind, *(token.kind for token in answer.tokens[:-1])]
    tokens = tuple(PromptToken(token.text, kind) for token, kind in zip(answer.tokens, kinds, strict=True))
    return replace(answer, tokens=tokens)


@planted("prompt's last token left out", "prompt-tokens")
class LastTokenMissing(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return tuple(
            replace(answer, tokens=answer.tokens[:-1], rows=answer.rows[:-1])
            for answer in super().attention_rows(request)
        )


@planted("question's first word left out", "prompt-tokens", "internvl")
class FirstTokenMissing(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        return tuple(
            replace(answer, tokens=answer.tokens[1:], rows=answer.rows[1:])
            for answer in super().attention_rows(request)
        )


@planted("a square attention map on the side", "memory")
class SquareMap(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        tokens = request.clip.visual_tokens
        (tokens @ tokens.T).softmax(-1)
        return super().attention_rows(request)


@planted("layers that do not exist, clamped", "refusals")
class Clamped(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        last = self.description.layer_count - 1
        return super().attention_rows(replace(request, layers=tuple(min(layer, last) for layer in request.layers)))


@planted("the instruction given back with its answer", "text-generation")
class Echo(Bent):
    def generate_text(self, instruction: str, maximum_tokens: int) -> str:
        return f"{instruction} {super().generate_text(instruction, maximum_tokens)}"


@planted("text that goes on from the last conversation", "text-generation")
class Conversation(Bent):
    said = ""

    def generate_text(self, instruction: str, maximum_tokens: int) -> str:
        self.said = super().generate_text(f"{self.said} {instruction}", maximum_tokens)
        return self.said


@planted("a forward hook left in the model", "restoration")
class LeakedHook(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        self.model.get_input_embeddings().register_forward_hook(lambda *_: None)
        return super().attention_rows(request)


@planted("another attention implementation left in the configuration", "restoration", "internvl")
class LeakedAttention(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        answers = super().attention_rows(request)
        self.model.set_attn_implementation({"text_config": "eager"})
        return answers


@planted("state of text generation left in the model", "restoration")
class LeakedState(Bent):
    def generate_text(self, instruction: str, maximum_tokens: int) -> str:
        text = super().generate_text(instruction, maximum_tokens)
        self.model.model.rope_deltas = torch.ones(1, 1)
        return text


@planted("torch's random seed set in passing", "restoration")
class Seeded(Bent):
    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        torch.manual_seed(len(frames))
        return super().encode(frames, settings, frame_order)


@planted("weights changed by reading attention", "capture")
class WeightsChanged(Bent):
    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        answers = super().attention_rows(request)
        with torch.no_grad():
            self.model.get_output_embeddings().weight.mul_(1.01)
        return answers


@planted("training mode put back only where nothing fails", "interruption")
class NoFinally(Bent):
    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        self.model.train(True)
        logits = super().answer_logits(clip, questions, prompt)
        self.model.train(False)
        return logits


@planted("errors swallowed, the rows of the last call given", "interruption")
class Swallowed(Bent):
    kept: tuple[QuestionAttention, ...] = ()

    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        try:
            self.kept = super().attention_rows(request)
        except StvgError:
            raise
        except Exception:  # noqa: BLE001 - this is the bug
            return self.kept
        return self.kept


@planted("weights not frozen", "untouched-inputs", "internvl")
class Unfrozen(Bent):
    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        inner.checkpoint.model.requires_grad_(True)
