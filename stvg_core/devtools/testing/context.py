"""What every check works with: the backend under test, its subject, clips of noise, questions.

Clips are noise, so that every patch of every frame is told apart from every other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stvg_core.devtools.testing.subject import ConformanceSubject, PlainAnswer, ShownClip
from stvg_core.host.registry import FoundBackend
from stvg_core.host.session import Session, open_backend
from stvg_core.plugin.adapter import AttentionRequest, MLLMAdapter, QuestionAttention
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, VideoInfo

QUESTIONS: Final = (
    "Is there a man standing by the stairs in this video?",
    "please describe this video",
    "Is there the woman in red in this video?",
)
"""Of several lengths; the second is the neutral one of the method, without a final sign."""
FRAME_COUNT: Final = 5
FRAME_HEIGHT, FRAME_WIDTH = 48, 72
"""Not square: what is squashed to a square, and what is cut off, shows."""
_PROMPT_SHARE: Final = 0.3


@dataclass(frozen=True)
class Tolerances:
    """How far numbers may be from the plain computation; docs/conformance.md gives what was measured.

    Attributes:
        logits: largest absolute difference of a logit.
        rows: largest difference of an attention share, as a share of the largest one.
        tokens: largest difference of visual tokens, as a share of the largest value.
        gradient: of the slope along the gradient from central differences, as a share of it.
        places: share of changed patches whose own visual token must change most.
        effect: what a prompt must change a logit and the rows by at least, or comparing them proves nothing.
    """

    logits: float
    rows: float
    tokens: float
    gradient: float
    places: float
    effect: float


TINY: Final = Tolerances(logits=1e-4, rows=1e-4, tokens=1e-5, gradient=2e-2, places=0.9, effect=1e-3)
"""The tiny random model in float32."""
WIDE: Final = Tolerances(logits=1e-2, rows=1e-2, tokens=1e-3, gradient=5e-2, places=0.7, effect=1e-2)
"""A real checkpoint in float32."""
NARROW: Final = Tolerances(logits=0.5, rows=0.25, tokens=0.05, gradient=0.5, places=0.7, effect=5e-2)
"""bfloat16 and float16: only the order of magnitude can agree."""


@dataclass(eq=False)
class ConformanceContext:
    """One backend on one checkpoint.

    Attributes:
        name: the subject's.
        found: the backend, as the registry tells it.
        make_plugin: returns a new plugin object, as its entry point does.
        subject: the author's model and plain computation.
        checkpoint: folder of the model that is opened.
        options: how it is loaded.
        tiny: whether the checkpoint is the subject's own random model.
        frame_size_pixels: frames are squashed to this square; None: as the subject's settings say.
    """

    name: str
    found: FoundBackend
    make_plugin: Callable[[], object]
    subject: ConformanceSubject
    checkpoint: Path
    options: LoadOptions = field(default_factory=lambda: LoadOptions(device="cpu", dtype="float32"))
    tiny: bool = True
    frame_size_pixels: int | None = None

    def open(self) -> Session:
        """Open another session on the same checkpoint."""
        reference = ModelReference(str(self.checkpoint), self.checkpoint)
        return open_backend(self.make_plugin(), self.found, reference, self.options)

    @cached_property
    def session(self) -> Session:
        """The session that checks share."""
        return self.open()

    @property
    def adapter(self) -> MLLMAdapter:
        """The shared session's adapter."""
        return self.session.adapter

    @property
    def settings(self) -> InputSettings:
        """The first way to show a clip."""
        return self.ways[0]

    @property
    def ways(self) -> tuple[InputSettings, ...]:
        """The subject's ways to show a clip."""
        if self.frame_size_pixels is None:
            return self.subject.settings
        size = {"frame_size_pixels": self.frame_size_pixels}
        changed = [settings.model_copy(update=size) for settings in self.subject.settings]
        return tuple(dict.fromkeys(changed))

    @property
    def layers(self) -> tuple[int, ...]:
        """Every decoder layer."""
        return tuple(range(self.adapter.description.layer_count))

    @cached_property
    def tolerances(self) -> Tolerances:
        """What numbers may differ by, from the precision of the visual tokens."""
        if self.clip().encoded.visual_tokens.dtype not in (torch.float32, torch.float64):
            return NARROW
        return TINY if self.tiny else WIDE

    @staticmethod
    def frames(
        count: int = FRAME_COUNT, *, seed: int = 7, height: int = FRAME_HEIGHT, width: int = FRAME_WIDTH
    ) -> Frames:
        """Return frames of noise, one second apart."""
        info = VideoInfo("noise", width, height, 1.0, float(count), np.arange(count, dtype=np.float64))
        pixels = np.random.default_rng(seed).integers(0, 255, (count, height, width, 3), dtype=np.uint8)
        return Frames(info, np.arange(count), pixels)

    def show(
        self,
        frames: Frames,
        *,
        settings: InputSettings | None = None,
        order: Sequence[int] | None = None,
        session: Session | None = None,
    ) -> ShownClip:
        """Let the adapter encode frames, by default in their own order."""
        chosen = settings or self.settings
        shown = tuple(order) if order is not None else tuple(range(len(frames)))
        encoded = (session or self.session).adapter.encode(frames, chosen, shown)
        return ShownClip(frames, chosen, shown, encoded)

    def clip(self, count: int = FRAME_COUNT, *, settings: InputSettings | None = None, seed: int = 7) -> ShownClip:
        """Return a clip of noise in its own order."""
        return self.show(self.frames(count, seed=seed), settings=settings)

    @staticmethod
    def prompt(clip: ShownClip, seed: int = 1) -> Float[Tensor, "cell width"]:
        """Return a random visual prompt of a third of the visual tokens' deviation."""
        tokens = clip.encoded.visual_tokens
        noise = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return (noise * _PROMPT_SHARE * float(tokens.double().std())).to(tokens.device, torch.float32)

    def plain(
        self,
        clip: ShownClip,
        question: str,
        prompt: Float[Tensor, "cell width"] | None = None,
        layers: tuple[int, ...] | None = None,
    ) -> PlainAnswer:
        """Return the author's plain computation."""
        return self.subject.plain(self.adapter, clip, question, prompt, layers or self.layers)

    def rows(
        self,
        clip: ShownClip,
        questions: Sequence[str],
        prompt: Float[Tensor, "cell width"] | None = None,
        layers: tuple[int, ...] | None = None,
        session: Session | None = None,
        *,
        answers: bool = False,
    ) -> tuple[QuestionAttention, ...]:
        """Return attention rows, and answers on request, through the backend's hook."""
        request = AttentionRequest(clip.encoded, tuple(questions), prompt, layers or self.layers, answers)
        return (session or self.session).capture_attention(request)

    def logits(
        self,
        clip: ShownClip,
        questions: Sequence[str],
        prompt: Float[Tensor, "cell width"] | None = None,
        session: Session | None = None,
    ) -> Float[Tensor, "question answer=2"]:
        """Return yes and no logits side by side, on the CPU, without gradients."""
        with torch.no_grad():
            answers = (session or self.session).adapter.answer_logits(clip.encoded, list(questions), prompt)
        return torch.stack([answers.yes, answers.no], dim=1).double().cpu()


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the largest absolute value expected."""
    own, wanted = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((own - wanted).abs().max() / wanted.abs().max().clamp_min(torch.finfo(torch.float64).tiny))
