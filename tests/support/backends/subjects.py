"""What is compared: tiny checkpoints, each opened by its backend and plainly, and the ways to show them a clip."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from stvg_core.host.session import Session, open_session
from stvg_core.plugin.adapter import EncodedClip
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, VideoInfo

from .plain import SECONDS_APART, PlainModel, PlainPrompt, load_plain

QUESTIONS: Final = (
    "Is there a man standing by the stairs in this video?",
    "please describe this video",
    "Is there the woman in red in this video?",
)
FRAME_COUNT: Final = 5


@dataclass(frozen=True)
class Case:
    """A family, and the settings under which a clip is shown to it."""

    family: str
    settings: InputSettings

    def __str__(self) -> str:
        changed = self.settings.model_dump(exclude_unset=True)
        changed |= changed.pop("family", {})
        return "-".join([self.family, *(str(value) for value in changed.values())])


def _cases(family: str, *changes: dict[str, Any]) -> list[Case]:
    return [Case(family, InputSettings.model_validate(change)) for change in changes]


_QWEN: Final = [
    {"frame_size_pixels": 24, "family": {"temporal_merge": merge, "position_rule": rule}}
    for merge in ("duplicate", "merge")
    for rule in ("original", "transformers")
]
_SYSTEM: Final = {"system_prompt": "A man talks to Is there the man."}
_AS_THE_AUTHORS: Final = {"frame_size_pixels": 24, "family": {"position_rule": "sequential"}}
_LLAVA: Final = [
    {"family": {"pooling_stride": stride, "pooling_order": order}}
    for stride in (2, 4)
    for order in ("before_projector", "after_projector")
]
CASES: Final = (
    *_cases("llava-next-video", *_LLAVA, _SYSTEM),
    *_cases("qwen2-vl", *_QWEN, _AS_THE_AUTHORS, {"frame_size_pixels": 24, **_SYSTEM}),
    *_cases("qwen2.5-vl", *_QWEN, _AS_THE_AUTHORS),
    *_cases("internvl", {"frame_size_pixels": 48}, {"frame_size_pixels": 24}, {"frame_size_pixels": 24, **_SYSTEM}),
)
"""Every way to show a clip; InternVL's second size is not the one it has positions for."""
ONE_CASE: Final = (
    *_cases("llava-next-video", {"family": {"pooling_stride": 4}}),
    *_cases("qwen2-vl", {"frame_size_pixels": 24}),
    *_cases("qwen2.5-vl", {"frame_size_pixels": 24}),
    *_cases("internvl", {"frame_size_pixels": 24}),
)
"""One case a family, for what no input setting can change."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One checkpoint, seen through its backend and plainly."""

    family: str
    folder: Path
    session: Session
    plain: PlainModel

    @property
    def model(self) -> Any:
        """The backend's own copy of the model."""
        adapter: Any = self.session.adapter
        return adapter.checkpoint.model

    def encode(self, case: Case, frame_order: tuple[int, ...] | None = None) -> EncodedClip:
        clip = frames(case)
        return self.session.adapter.encode(clip, case.settings, frame_order or tuple(range(len(clip))))

    def prompt(self, case: Case, question: str, pictures: np.ndarray | None = None) -> PlainPrompt:
        return self.plain.prompt(frames(case).pixels if pictures is None else pictures, question, case.settings)

    def layers(self) -> tuple[int, ...]:
        return tuple(range(self.session.adapter.description.layer_count))


OpenSubject = Callable[[str, str], Subject]


def open_subject(family: str, folder: Path, *, dtype: str = "float32", device: str = "cpu") -> Subject:
    """Open a checkpoint both ways."""
    session = open_session(str(folder), LoadOptions(device=device, dtype=dtype))
    return Subject(family, folder, session, load_plain(family, folder, getattr(torch, dtype), device))


def frames(case: Case, count: int = FRAME_COUNT) -> Frames:
    """Return frames of noise, already of the size that the model sees."""
    size = case.settings.frame_size_pixels or 48
    info = VideoInfo("clip.mp4", size, size, 1 / SECONDS_APART, count * SECONDS_APART, np.arange(count) * SECONDS_APART)
    pixels = np.random.default_rng(7).integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    return Frames(info, np.arange(count), pixels)


def random_prompt(clip: EncodedClip, seed: int = 1) -> Tensor:
    """Return a visual prompt of a third of the tokens' deviation."""
    tokens = clip.visual_tokens
    noise = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (noise * 0.3).to(tokens) * tokens.std()
