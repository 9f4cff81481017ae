"""Samples of a scripted model, whose right answer is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stvg_core.api.grounder import Grounder
from stvg_core.evaluation.ablation import AblationSample
from stvg_core.evaluation.runs.tasks import Task
from stvg_core.host.session import Session
from stvg_core.inputs.tracks.cached import VideoCache
from stvg_core.metrics import Protocol, Rules, SampleTruth, SampleTube
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, QuestionAttention
from stvg_core.plugin.tracker import TrackRequest
from stvg_core.settings import SamplingSettings, Settings, load_settings
from stvg_core.values import Frames, Track
from tests.support.scripted import ScriptedAdapter

EXACT = Protocol("exact", Rules(video_union="union"), "the tests", "nothing")
COLUMNS = tuple(
    Track(np.array([0, 99]), np.tile([20.0 * column, 0, 20.0 * column + 20, 40], (2, 1))) for column in range(4)
)
TRUTH = SampleTruth(SampleTube(30, 58, np.arange(30, 59), np.tile([40.0, 0, 60, 40], (29, 1))), 100, "declarative")
"""Column 2, where the scripted model looks; its best frames are 33, 44 and 55."""


class SensitiveAdapter(ScriptedAdapter):
    """A scripted model whose attention depends on the prompt and the layers, and whose margin bends."""

    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        cells = request.clip.layout.cell_count
        change = 1 + 0.1 * sum(request.layers) / len(request.layers) * torch.linspace(0, 1, cells)
        if request.prompt is not None:
            change = change * (1 + request.prompt.double().mean(dim=1).abs().float())
        return tuple(
            replace(found, rows=found.rows * change / float(change.max())) for found in super().attention_rows(request)
        )

    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        shown = clip.visual_tokens if prompt is None else clip.visual_tokens + prompt
        weights = torch.sin(torch.arange(shown.numel(), dtype=shown.dtype)).reshape(shown.shape)
        yes = torch.stack([(torch.tanh(shown) * weights).sum() + len(question) / 9 for question in questions])
        return AnswerLogits(yes=yes, no=torch.zeros_like(yes))


@dataclass
class ColumnTracker:
    """One track per column of the scripted grid, 20 pixels wide; counts how often it is asked."""

    asked: int = 0
    name: str = "columns"
    per_video: bool = True

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        self.asked += 1
        return COLUMNS


@dataclass(frozen=True)
class ScriptedSource:
    """Samples that all show the same."""

    frames: Frames
    count: int = 3
    protocol: Protocol = EXACT
    knows_true_tracks: bool = True
    read: list[SamplingSettings] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {"dataset": "scripted"}

    def samples(self) -> Iterator[AblationSample]:
        def read(sampling: SamplingSettings) -> Frames:
            self.read.append(sampling)
            places = (
                np.linspace(0, len(self.frames) - 1, min(sampling.frame_count, len(self.frames))).round().astype(int)
            )
            return Frames(self.frames.info, self.frames.indices[places], self.frames.pixels[places])

        for number in range(self.count):
            task = Task(f"sample-{number}", "clip.mp4", "The tall man walks.", frame_count=100)
            group = "even" if number % 2 == 0 else "odd"
            yield AblationSample(task, TRUTH, read, (group,), COLUMNS if self.knows_true_tracks else ())


def settings(**overrides: Any) -> Settings:
    base = {"sampling.frame_count": 10, "joint.span_frame_count": 3, "prompt.step_size": 1e-6}
    return load_settings("paper", overrides=base | overrides)


def grounder(session: Session, **overrides: Any) -> Grounder:
    return Grounder(session, settings(**overrides), VideoCache(ColumnTracker()), "rules")
