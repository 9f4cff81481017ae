"""What an author hands the conformance kit: a tiny random model, and the plainest computation with it.

Entry-point group `stvg.conformance`. An entry point's name is the backend's, or BACKEND/MODEL for a
further model of the same backend; its value is a callable without arguments that returns a
`ConformanceSubject`. See docs/conformance.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from stvg_core.errors import TokenLayoutError
from stvg_core.host.loading import open_plugin, plugin_names
from stvg_core.plugin.adapter import EncodedClip, MLLMAdapter
from stvg_core.settings import InputSettings
from stvg_core.values import Frames

CONFORMANCE_GROUP: Final = "stvg.conformance"


@dataclass(frozen=True, eq=False)
class ShownClip:
    """A clip as the kit showed it to the adapter, and what the adapter made of it.

    Attributes:
        frames: in source order; not square, and not of the size that the model reads.
        settings: how frames become visual tokens.
        frame_order: which frame stands at each position.
        encoded: the adapter's clip. A plain computation needs nothing of it.
    """

    frames: Frames
    settings: InputSettings
    frame_order: tuple[int, ...]
    encoded: EncodedClip

    @property
    def pictures(self) -> UInt8[np.ndarray, "frame height width 3"]:
        """The frames in the order that the model sees them."""
        shown: UInt8[np.ndarray, "frame height width 3"] = self.frames.pixels[list(self.frame_order)]
        return shown


@dataclass(frozen=True, eq=False)
class PlainAnswer:
    """What a model does with one question about one clip, computed as plainly as can be.

    Attributes:
        yes: logit of "yes" (the lower-case word as first answer token) behind the whole prompt.
        no: logit of "no".
        tokens: texts of the prompt's tokens behind the last visual token, to the prompt's last.
        rows: attention of these tokens to the visual tokens: softmax shares over all that a token
            sees, averaged over heads and the wanted layers.
    """

    yes: float
    no: float
    tokens: tuple[str, ...]
    rows: Float[Tensor, "token cell"]

    def __post_init__(self) -> None:
        """Check that every token has its row."""
        if len(self.tokens) != self.rows.shape[0]:
            raise TokenLayoutError(f"expected {len(self.tokens)} attention rows, got {self.rows.shape[0]}")


@runtime_checkable
class ConformanceSubject(Protocol):
    """A backend's model for the kit; the random weights must make attention uneven.

    Weights as they are initialised (deviation 0.02) give almost the same attention everywhere, and
    a mistake would hardly show: scale the language model's matrices up (by 8, say).
    """

    @property
    def settings(self) -> tuple[InputSettings, ...]:
        """The ways to show a clip that are compared; the first is used where one does."""
        ...

    @property
    def known_gaps(self) -> Mapping[str, str]:
        """Checks that fail and may, each with its reason; a gap that passes is an error."""
        ...

    def save_checkpoint(self, folder: Path) -> None:
        """Write the tiny random model into an empty folder, with config.json as `stvg ground --model` reads it."""
        ...

    def plain(
        self,
        adapter: MLLMAdapter,
        clip: ShownClip,
        question: str,
        prompt: Float[Tensor, "cell width"] | None,
        layers: tuple[int, ...],
    ) -> PlainAnswer:
        """Return what the model does with one question, by its own forward pass over the whole prompt.

        Eager attention, no packing, nothing of the adapter's code but where its checkpoint is
        (`adapter.description.checkpoint`): what the adapter computes is compared with this.

        Args:
            adapter: the opened adapter.
            clip: the frames, and how they are shown.
            question: one question.
            prompt: added to the visual tokens as the language model receives them; None: nothing is.
            layers: 0-based decoder layers whose attention is averaged.
        """
        ...


def subject_names() -> tuple[str, ...]:
    """Return the names of every subject that is installed; imports none of them."""
    return plugin_names(CONFORMANCE_GROUP)


def backend_of(name: str) -> str:
    """Return the backend that a subject is for.

    >>> backend_of("qwen2-vl"), backend_of("qwen2-vl/qwen2.5-vl")
    ('qwen2-vl', 'qwen2-vl')
    """
    return name.partition("/")[0]


def open_subject(name: str) -> ConformanceSubject:
    """Return the subject that an installed distribution registers under a name.

    Raises:
        UsageError: no distribution does.
        PluginError: it cannot be imported, or is no subject.
    """
    # mypy takes a Protocol for abstract here; isinstance does not.
    return open_plugin(
        CONFORMANCE_GROUP,
        "conformance subject",
        ConformanceSubject,  # type: ignore[type-abstract]
        name,
    )
