"""How memory grows with the number of visual tokens."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stvg_core.devtools.testing.check import Findings, check
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext
from stvg_core.devtools.testing.subject import ShownClip
from stvg_core.settings import PromptSettings

_VISUAL_TOKENS: Final = (120, 260, 400)
_MOST_SQUARE_MAPS: Final = 0.1
_FLOAT32_BYTES: Final = 4


@check(
    "memory",
    "memory grows no faster than the number of visual tokens: no square attention map is ever made",
    needs_tiny=True,
)
def memory(context: ConformanceContext, findings: Findings) -> None:
    """Measure the bytes alive at once for clips of three lengths; the quadratic part must be nothing."""
    per_frame = max(1, context.clip(2).encoded.layout.cell_count // 2)
    clips = [context.clip(-(-wanted // per_frame)) for wanted in _VISUAL_TOKENS]
    calls: dict[str, Callable[[ShownClip], object]] = {
        "answer_logits with a gradient": lambda clip: _gradient(context, clip),
        "stvg_capture_attention": lambda clip: context.rows(clip, QUESTIONS),
    }
    for name, call in calls.items():
        sizes = [clip.encoded.layout.cell_count for clip in clips]
        watched = [_watch(call, clip) for clip in clips]
        peaks = [one.peak for one in watched]
        parts = [_quadratic_part(sizes, peaks)]
        # Where the same operations ran for every length, each is looked at by itself: the peak may hide one.
        if len({len(one.made) for one in watched}) == 1:
            parts += [_quadratic_part(sizes, made) for made in zip(*(one.made for one in watched), strict=True)]
        findings.at_most(
            f"square maps in {name}",
            max(abs(part) for part in parts) / _FLOAT32_BYTES,
            _MOST_SQUARE_MAPS,
            f"memory of {name} grows with the square of the number of visual tokens (at most {peaks} bytes at {sizes} "
            "tokens): compute the wanted rows alone, and let no kernel fall back to whole attention maps",
        )


def _watch(call: Callable[[ShownClip], object], clip: ShownClip) -> "LiveBytes":
    watched = LiveBytes()
    with watched:
        call(clip)
    return watched


def _gradient(context: ConformanceContext, clip: ShownClip) -> None:
    prompt = torch.zeros_like(clip.encoded.visual_tokens, dtype=torch.float32).requires_grad_()
    logits = context.adapter.answer_logits(clip.encoded, QUESTIONS[:2], prompt)
    torch.autograd.grad(context.session.regularize_logits(logits, PromptSettings(objective="linear")), prompt)


def _quadratic_part(sizes: Sequence[int], values: Sequence[int]) -> float:
    """Return c of the parabola a + b n + c n^2 through three points.

    >>> _quadratic_part([1, 2, 4], [1 + 2 + 3, 1 + 4 + 12, 1 + 8 + 48])
    3.0
    """
    first = (values[1] - values[0]) / (sizes[1] - sizes[0])
    second = (values[2] - values[1]) / (sizes[2] - sizes[1])
    return (second - first) / (sizes[2] - sizes[0])


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are alive at once, of those that are made while inside.

    Attributes:
        alive: bytes alive now.
        peak: the most that were alive at once.
        made: bytes that each operation made.
    """

    def __init__(self) -> None:
        """Count nothing yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive, self.peak = 0, 0
        self.made: list[int] = []
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run an operation, and count the storages that it made."""
        before = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = func(*args, **(kwargs or {}))
        self.made.append(
            sum(
                self._count(leaf)
                for leaf in tree_leaves(made)
                if isinstance(leaf, Tensor) and _storage(leaf) not in before
            )
        )
        return made

    def _count(self, tensor: Tensor) -> int:
        """Count a storage that is not known yet, and return its bytes."""
        storage = tensor.untyped_storage()
        number, size = storage._cdata, storage.nbytes()
        if number in self._known:
            return 0
        self._known[number] = weakref.ref(storage, lambda _gone: self._free(number, size))
        self.alive += size
        self.peak = max(self.peak, self.alive)
        return size

    def _free(self, number: int, size: int) -> None:
        del self._known[number]
        self.alive -= size


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
