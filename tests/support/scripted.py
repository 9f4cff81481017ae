"""A model that answers and attends by script, so that the right tube is known."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stvg_core.host.registry import FoundBackend
from stvg_core.plugin import Backend, reverse_by_flipping
from stvg_core.plugin.adapter import (
    AnswerLogits,
    AttentionRequest,
    EncodedClip,
    ModelDescription,
    PromptToken,
    QuestionAttention,
)
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, TokenLayout

GRID = 4


@dataclass
class ScriptedAdapter:
    """A model that attends where its script says, so that the right tube is known.

    The attribute question attends to column `column` of every frame; the action question
    attends there in frames `first`..`last` only, and a little to a decoy in column 0.
    """

    column: int = 2
    first: int = 3
    last: int = 5
    asked: list[tuple[str, ...]] = field(default_factory=list)
    encoded: list[tuple[int, ...]] = field(default_factory=list)
    prompts: list[Tensor | None] = field(default_factory=list)

    @property
    def description(self) -> ModelDescription:
        return ModelDescription("scripted", layer_count=8, yes_id=1, no_id=0)

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        self.encoded.append(frame_order)
        layout = TokenLayout(len(frames), GRID, GRID, tuple(range(len(frames))))
        numbers = torch.linspace(0.1, 1.0, layout.cell_count * 3).reshape(-1, 3)
        return EncodedClip(numbers, layout, frame_order, {"order": frame_order})

    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        shown = clip.visual_tokens if prompt is None else clip.visual_tokens + prompt
        yes = torch.stack([shown.mean() * (place + 1) for place in range(len(questions))])
        return AnswerLogits(yes=yes, no=torch.zeros_like(yes))

    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        self.asked.append(request.questions)
        self.prompts.append(request.prompt)
        return tuple(self._rows(request.clip, question) for question in request.questions)

    def generate_text(self, instruction: str, maximum_tokens: int) -> str:
        return '{"attribute": "the scripted man", "action": "the man walks"}'

    def _rows(self, clip: EncodedClip, question: str) -> QuestionAttention:
        grid = torch.full((*clip.layout.shape,), 1e-3)
        for position, frame in enumerate(clip.frame_order):
            if "walks" not in question and "escribe" not in question:
                grid[position, :, self.column] = 0.02
            elif "walks" in question:
                grid[position, :, 0] = 0.01
                if self.first <= frame <= self.last:
                    grid[position, :, self.column] = 0.02 + 0.001 * frame
        tokens = (
            PromptToken("video", "word"),
            PromptToken("?", "punctuation"),
            PromptToken("<end>", "role"),
            PromptToken("assistant", "role"),
        )
        rows = torch.stack([torch.zeros(grid.numel()), grid.flatten() / 2, grid.flatten(), grid.flatten() / 3])
        return QuestionAttention(question, tokens, rows)


class ScriptedBackend(Backend):
    """The smallest backend: the reference implementations, and a reversed view by flipping."""

    def __init__(self, adapter: ScriptedAdapter) -> None:
        self.adapter = adapter

    def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> ScriptedAdapter:
        return self.adapter

    def stvg_augment_frames(self, clip: EncodedClip) -> EncodedClip:
        return reverse_by_flipping(clip)


def found_backend(name: str = "scripted", **changes: object) -> FoundBackend:
    entry = importlib.metadata.EntryPoint(name, "scripted:Backend", "stvg.backends")
    values: dict[str, object] = {
        "name": name,
        "distribution": f"stvg-{name}",
        "version": "1.0",
        "status": "ok",
        "reason": "",
        "fix": "",
        "hook_api": 1,
        "architectures": ("ScriptedModel",),
        "entry_point": entry,
    }
    return FoundBackend(**(values | changes))  # type: ignore[arg-type]
