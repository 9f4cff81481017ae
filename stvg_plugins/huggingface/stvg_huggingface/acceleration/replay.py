"""Passes that recur are recorded once and replayed: on CUDA a graph, launched whole.

A 7B decoder's pass over a short clip is thousands of small launches, and on a fast card the host
cannot keep up. A recorded pass runs again on its own memory: questions and clip are copied
in, results copied out. All recordings share one pool of memory, since only one runs at a time.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedConfig

from stvg_huggingface.acceleration.recompute import kept_bytes
from stvg_huggingface.loading import LoadedCheckpoint
from stvg_huggingface.passes import PassKind, QuestionTensors

_LOG: Final = logging.getLogger(__name__)

RECORD_AT: Final = 4
"""The pass of a kind that is recorded: recording costs about as much as a pass, and a single query has few alike."""
_WAITING: Final = ("dynamic", "longrope")
_SHARE: Final = 0.25
"""Of a device's memory: what all recordings may keep together."""
_NARROW_AT_WORK: Final = 8
_WIDE_AT_WORK: Final = 4
"""Tensors of the hidden and of the MLP's width that stand at one time while a layer runs or is differentiated."""
_KEPT: Final = 16
"""Recordings at most; the one that was longest out of use goes."""
_COUNTED: Final = 1024
"""Kinds whose passes are counted at most, so that a run over videos of many shapes stays small."""

RunPass = Callable[[Float[Tensor, "clip_token width"], QuestionTensors, PassKind], Float[Tensor, "..."]]
RecordingNeed = Callable[[QuestionTensors, PassKind, bool], int]


@runtime_checkable
class RecordedPass(Protocol):
    """A pass that can run again on the tensors that it was recorded with."""

    def forward(self) -> Float[Tensor, "..."]:
        """Run again; return the result, which the next run overwrites."""
        ...

    def backward(self, gradient: Float[Tensor, "..."]) -> Float[Tensor, "clip_token width"]:
        """Return the clip's gradient after a forward run, any number of times; the next call overwrites it."""
        ...


@runtime_checkable
class Recorder(Protocol):
    """Makes recordings."""

    def record(
        self, run: RunPass, shown: Float[Tensor, "clip_token width"], tensors: QuestionTensors, kind: PassKind
    ) -> RecordedPass:
        """Record a pass on tensors that stay where they are.

        Args:
            run: the pass.
            shown: requires grad if backward passes are to be recorded.
            tensors: the questions.
            kind: what the pass does.

        Raises:
            RuntimeError: the pass cannot be recorded.
        """
        ...

    def forget(self) -> None:
        """Release what all recordings shared; called when they are dropped."""
        ...


class _Clock:
    """Counts runs of all recordings: they share memory, so a run ends what an earlier one left for its gradient."""

    def __init__(self) -> None:
        self.run = 0


class _Recording:
    """One recorded pass with its input tensors."""

    def __init__(
        self, shown: Tensor, tensors: QuestionTensors, recorded: RecordedPass, clock: _Clock, need_bytes: int
    ) -> None:
        self.need_bytes = need_bytes
        self._shown, self._tensors, self._recorded, self._clock = shown, tensors, recorded, clock

    @torch.no_grad()
    def forward(self, shown: Tensor, tensors: QuestionTensors) -> Tensor:
        self._shown.copy_(shown)
        self._tensors.copy_(tensors)
        self._clock.run += 1
        return self._recorded.forward().detach().clone()

    def now(self) -> int:
        return self._clock.run

    def backward(self, gradient: Tensor, run: int) -> Tensor:
        if run != self._clock.run:
            raise RuntimeError(
                "expected the gradient of the newest recorded pass, got an older one's, whose tensors are overwritten; "
                "take gradients before the next pass, or load with cuda_graphs='off'"
            )
        return self._recorded.backward(gradient).clone()


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shown: Tensor, tensors: QuestionTensors, recording: _Recording) -> Tensor:  # noqa: ANN401 - torch's own are untyped
        output = recording.forward(shown, tensors)
        ctx.recording, ctx.run = recording, recording.now()
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 - the same
        return ctx.recording.backward(gradient, ctx.run), None, None


class Replays:
    """Runs passes, and records those that recur.

    What is recorded keeps its memory, also while other passes run. So passes that need much of it are not
    recorded: they are long, and keep a device busy as they are.

    Args:
        run: one pass.
        recorder: makes recordings.
        need: bytes that a recording keeps at most, given the questions, the pass, and whether it has gradients.
        budget_bytes: of all recordings together.
        record_at: the pass of a kind that is recorded.
    """

    def __init__(
        self, run: RunPass, recorder: Recorder, need: RecordingNeed, budget_bytes: int, record_at: int = RECORD_AT
    ) -> None:
        """Record nothing yet."""
        self._run, self._recorder, self._need, self._budget_bytes = run, recorder, need, budget_bytes
        self.record_at = record_at
        self._seen: Counter[Hashable] = Counter()
        self._recordings: OrderedDict[Hashable, _Recording] = OrderedDict()
        self._clock = _Clock()
        self._able = True

    @property
    def count(self) -> int:
        """How many passes are recorded."""
        return len(self._recordings)

    def run(
        self, shown: Float[Tensor, "clip_token width"], tensors: QuestionTensors, kind: PassKind
    ) -> Float[Tensor, "..."]:
        """Return a pass's result, with gradients to the clip if it requires them and the pass has any."""
        graded = shown.requires_grad and torch.is_grad_enabled() and kind.layers is None
        key = (kind, graded, shown.dtype, tuple(shown.shape), tensors.shapes())
        recording = self._recording(key, shown, tensors, kind, graded=graded)
        if recording is None:
            return self._run(shown, tensors, kind)
        if graded:
            result: Tensor = _Replay.apply(shown, tensors, recording)  # type: ignore[no-untyped-call]
            return result
        with torch.no_grad():
            return recording.forward(shown, tensors)

    def forget(self) -> None:
        """Drop all recordings, and their memory with them."""
        self._seen.clear()
        self._recordings.clear()
        self._recorder.forget()

    def _recording(
        self,
        key: Hashable,
        shown: Tensor,
        tensors: QuestionTensors,
        kind: PassKind,
        *,
        graded: bool,
    ) -> _Recording | None:
        existing = self._recordings.get(key)
        if existing is not None:
            self._recordings.move_to_end(key)
            return existing
        if len(self._seen) >= _COUNTED:
            self._seen.clear()
        self._seen[key] += 1
        need = self._need(tensors, kind, graded)
        taken = sum(recording.need_bytes for recording in self._recordings.values())
        if not self._able or self._seen[key] < self.record_at or taken + need > self._budget_bytes:
            return None
        static = shown.detach().clone().requires_grad_(graded)
        questions = tensors.clone()
        try:
            recorded = self._recorder.record(self._run, static, questions, kind)
        except RuntimeError as error:
            # Not worth a failure: passes run unrecorded, only slower. Torch does not quite recover from a recording
            # that broke off, so that there is no second try.
            _LOG.warning("passes that recur could not be recorded and run as before (--cuda-graphs off): %s", error)
            self._able = False
            return None
        self._recordings[key] = recording = _Recording(static, questions, recorded, self._clock, need)
        if len(self._recordings) > _KEPT:
            self._recordings.popitem(last=False)
        return recording


class CudaRecorder:
    """Records passes as CUDA graphs that share one memory pool."""

    def __init__(self) -> None:
        """Record nothing yet; the pool is the first recording's."""
        self._pool: Any = None

    def record(
        self, run: RunPass, shown: Float[Tensor, "clip_token width"], tensors: QuestionTensors, kind: PassKind
    ) -> RecordedPass:
        """Record the pass, and its backward pass if the clip requires a gradient.

        Raises:
            RuntimeError: an operation waits for the device, or memory ran out.
        """
        torch.cuda.synchronize(shown.device)
        with torch.cuda.device(shown.device):
            recorded = _CudaPass(run, shown, tensors, kind, self._pool)
        self._pool = recorded.pool
        return recorded

    def forget(self) -> None:
        """Take another pool next time: one whose recordings are all gone is gone with them."""
        self._pool = None


class _CudaPass:
    """A pass and its backward pass as graphs."""

    def __init__(self, run: RunPass, shown: Tensor, tensors: QuestionTensors, kind: PassKind, pool: Any) -> None:  # noqa: ANN401 - opaque
        self._forward = torch.cuda.CUDAGraph()
        with torch.set_grad_enabled(shown.requires_grad), torch.cuda.graph(self._forward, pool=pool):
            output = run(shown, tensors, kind)
        # The graph of autograd must go when this ends: what it keeps lies in the pool that all recordings share.
        self._output = output.detach()
        self.pool = self._forward.pool()
        self._backward: torch.cuda.CUDAGraph | None = None
        if shown.requires_grad:
            self._gradient = torch.zeros_like(self._output)
            self._backward = torch.cuda.CUDAGraph()
            # Retained: several gradients may be taken of one forward run, so that nothing it kept may be overwritten.
            with torch.cuda.graph(self._backward, pool=self.pool):
                (self._slope,) = torch.autograd.grad(output, shown, self._gradient, retain_graph=True)

    def forward(self) -> Tensor:
        self._forward.replay()
        return self._output

    def backward(self, gradient: Tensor) -> Tensor:
        if self._backward is None:
            raise RuntimeError("expected a pass that was recorded with its gradient, got one without")
        self._gradient.copy_(gradient)
        self._backward.replay()
        return self._slope


def can_record(checkpoint: LoadedCheckpoint) -> bool:
    """Return whether a model's passes may be recorded: plain weights on one CUDA device, unless the user says no."""
    options = checkpoint.options
    plain = options.device_map is None and options.quantization is None
    enabled = options.cuda_graphs == "auto" and plain and checkpoint.device.type == "cuda"
    return enabled and not rotary_waits(checkpoint.text_config)


def rotary_waits(config: PreTrainedConfig) -> bool:
    """Return whether a language model's rotary embedding compares positions, which waits for the device.

    A recording breaks off there (InternVL 3: `rope_type: dynamic`).
    """
    rotary = getattr(config, "rope_parameters", None) or {}
    return rotary.get("rope_type") in _WAITING


def cuda_replays(run: RunPass, checkpoint: LoadedCheckpoint) -> Replays | None:
    """Return what records a model's passes, or None where they may not be."""
    if not can_record(checkpoint):
        return None
    total = torch.cuda.get_device_properties(checkpoint.device).total_memory

    def need(tensors: QuestionTensors, kind: PassKind, graded: bool) -> int:
        return recording_bytes(checkpoint.text_config, checkpoint.dtype, tensors.ids.numel(), kind, graded=graded)

    return Replays(run, CudaRecorder(), need, int(_SHARE * total))


def recording_bytes(
    config: PreTrainedConfig, dtype: torch.dtype, token_count: int, kind: PassKind, *, graded: bool
) -> int:
    """Return what a recorded pass keeps: what its gradient needs, and the widest tensors of a layer at work.

    Args:
        config: of the language model.
        dtype: of its activations.
        token_count: tokens of the packed sequence.
        kind: of the pass.
        graded: whether it has a backward pass.
    """
    text: Any = config
    at_work: int = token_count * dtype.itemsize
    at_work *= _NARROW_AT_WORK * text.hidden_size + _WIDE_AT_WORK * text.intermediate_size
    return at_work + (kept_bytes(config, dtype, token_count)[kind.recompute] if graded else 0)
