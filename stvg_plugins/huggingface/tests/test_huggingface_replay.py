"""Recorded passes give what unrecorded ones give; on the CPU a recording runs the pass again on its own tensors."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stvg_core.host.session import Session
from stvg_core.method.pipeline import EncodedViews, Pipeline
from stvg_core.plugin.adapter import AttentionRequest, EncodedClip
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import InputSettings, load_settings
from stvg_core.values import Frames, SubQueries, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.gated_mlp import is_gated
from stvg_huggingface.norms import FusedNorm, fuse_norms
from stvg_huggingface.passes import PassKind, QuestionTensors
from stvg_huggingface.recompute import LEVELS, kept_bytes
from stvg_huggingface.replay import RecordedPass, Replays, RunPass, recording_bytes, rotary_waits
from stvg_huggingface.testing import TINY_FAMILIES
from stvg_huggingface.testing.sessions import _published, published_sizes, random_session

FAMILIES = sorted(TINY_FAMILIES)
QUESTIONS = ("Is there a man in red in this video?", "please describe this video")
RECORD_AT = 2
OTHERS = ("Is there the car in this video?", "please describe this video")


class AgainOnTheSameTensors:
    """Records nothing: runs the pass again on the tensors it was given, and returns it in the same storage."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, run: RunPass, shown: Tensor, tensors: QuestionTensors, kind: PassKind) -> RecordedPass:
        self.recorded += 1
        return _Again(run, shown, tensors, kind)

    def forget(self) -> None:
        self.recorded = 0


class _Again:
    def __init__(self, run: RunPass, shown: Tensor, tensors: QuestionTensors, kind: PassKind) -> None:
        self.given = run, shown, tensors, kind
        self.graph = self.run()
        self.output, self.slope = self.graph.detach().clone(), torch.zeros_like(shown)

    def run(self) -> Tensor:
        run, shown, tensors, kind = self.given
        with torch.set_grad_enabled(shown.requires_grad):
            return run(shown, tensors, kind)

    def forward(self) -> Tensor:
        self.graph = self.run()
        return self.output.copy_(self.graph.detach())

    def backward(self, gradient: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(self.graph, self.given[1], gradient, retain_graph=True)
        return self.slope.copy_(slope)


class Refuses:
    def record(self, run: RunPass, shown: Tensor, tensors: QuestionTensors, kind: PassKind) -> RecordedPass:
        raise RuntimeError("operation not permitted when stream is capturing")

    def forget(self) -> None:
        """There is nothing."""


def opened(family: str) -> Session:
    return random_session(family, LoadOptions("cpu"), device=torch.device("cpu"), dtype=torch.float32, layers=3)


plain = cache(opened)


def replaying(family: str, recorder: object) -> tuple[Session, HuggingFaceAdapter]:
    session = opened(family)
    adapter = session.adapter
    assert isinstance(adapter, HuggingFaceAdapter)
    adapter._replays = Replays(adapter._pass, recorder, lambda *_: 1, 100, RECORD_AT)  # type: ignore[arg-type]
    return session, adapter


def noise(seed: int = 3, count: int = 4) -> Frames:
    info = VideoInfo("clip.mp4", 32, 32, 10.0, count / 10, np.arange(count) / 10)
    pixels = np.random.default_rng(seed).integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)
    return Frames(info, np.arange(count), pixels)


def clip_of(session: Session, seed: int = 3, count: int = 4) -> EncodedClip:
    return session.adapter.encode(noise(seed, count), InputSettings(), tuple(range(count)))


def answers(session: Session, clip: EncodedClip, questions: tuple[str, ...]) -> tuple[Tensor, list[Tensor]]:
    """Return margins, and the gradients of two losses of one pass, as the first prompt step takes them."""
    prompt = torch.full_like(clip.visual_tokens, 0.01, requires_grad=True)
    margins = session.adapter.answer_logits(clip, questions, prompt).margins
    slopes = [torch.autograd.grad(margins[0], prompt, retain_graph=True)[0], torch.autograd.grad(margins[1], prompt)[0]]
    return margins.detach(), slopes


def close(found: Tensor, expected: Tensor) -> None:
    # Filled-up sequences are multiplied in other blocks, which rounds otherwise.
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_answers_gradients_and_rows_equal_plain_ones(family: str) -> None:
    recorder = AgainOnTheSameTensors()
    session, _ = replaying(family, recorder)
    plainly = plain(family)
    for turn in range(RECORD_AT + 2):
        # Other questions of other lengths, and another clip, under the recording of the first.
        questions = OTHERS if turn % 2 else QUESTIONS
        clip, expected_clip = clip_of(session, seed=turn), clip_of(plainly, seed=turn)
        margins, slopes = answers(session, clip, questions)
        expected, expected_slopes = answers(plainly, expected_clip, questions)
        close(margins, expected)
        for slope, expected_slope in zip(slopes, expected_slopes, strict=True):
            close(slope, expected_slope)
        rows, expected_rows = (
            each.adapter.attention_rows(AttentionRequest(shown, questions, None, (0, 2)))
            for each, shown in ((session, clip), (plainly, expected_clip))
        )
        for own, other in zip(rows, expected_rows, strict=True):
            assert own.tokens == other.tokens
            close(own.rows, other.rows)
    assert recorder.recorded == 2, "one recording of the answers, one of the rows: lengths are filled up to be alike"


def test_a_whole_method_under_recordings_equals_the_plain_one() -> None:
    recorder = AgainOnTheSameTensors()
    session, _ = replaying("qwen2-vl", recorder)
    settings = load_settings("released", overrides={"prompt.step_size": 0.01})
    query = SubQueries("the man walks to the car", "the man", "the man walks to the car", "rules")
    for each in range(3):
        found, expected = (
            Pipeline(one, settings).compute_maps(
                EncodedViews(noise(each), clip_of(one, each), clip_of(one, each + 9)), (query,)
            )[0]
            for one in (session, plain("qwen2-vl"))
        )
        np.testing.assert_allclose(found.spatial.values, expected.spatial.values, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(found.temporal.values, expected.temporal.values, rtol=1e-4, atol=1e-7)
        assert found.margins == pytest.approx(expected.margins, rel=1e-4, abs=1e-5)
    assert recorder.recorded >= 2


def test_an_older_gradient_is_refused_and_never_wrong() -> None:
    session, _ = replaying("internvl", AgainOnTheSameTensors())
    clip = clip_of(session)
    for _ in range(RECORD_AT):
        answers(session, clip, QUESTIONS)
    prompt = torch.zeros_like(clip.visual_tokens, requires_grad=True)
    first, _second = (session.adapter.answer_logits(clip, QUESTIONS, prompt).margins for _ in range(2))
    with pytest.raises(RuntimeError, match="take gradients before the next pass"):
        torch.autograd.grad(first[0], prompt)


def test_a_pass_that_cannot_be_recorded_runs_as_before(caplog: pytest.LogCaptureFixture) -> None:
    session, _ = replaying("llava-next-video", Refuses())
    expected = answers(plain("llava-next-video"), clip_of(plain("llava-next-video")), QUESTIONS)[0]
    for _ in range(RECORD_AT + 2):
        close(answers(session, clip_of(session), QUESTIONS)[0], expected)
    assert len(caplog.messages) == 1, "told once, not at every pass"
    assert "not permitted" in caplog.text


def double(shown: Tensor, _tensors: QuestionTensors, _kind: PassKind) -> Tensor:
    return shown * 2


def ask(replays: Replays, cells: int) -> Tensor:
    shown, place = torch.full((cells, 2), float(cells)), torch.zeros(1, dtype=torch.long)
    tensors = QuestionTensors(
        place, place, torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, 1, 1, dtype=torch.bool), *[place] * 3
    )
    return replays.run(shown, tensors, PassKind(1, "none", exact=False))


def test_what_needs_much_memory_is_not_recorded() -> None:
    recorder = AgainOnTheSameTensors()
    replays = Replays(double, recorder, lambda tensors, _kind, graded: 40 + graded, 100, RECORD_AT)
    for cells in (1, 2, 3):
        for _ in range(RECORD_AT + 1):
            assert torch.equal(ask(replays, cells), torch.full((cells, 2), 2.0 * cells))
    assert recorder.recorded == replays.count == 2, "a third of 40 bytes is more than a hundred"


def test_a_recording_needs_what_its_gradient_does_and_a_layer_at_work() -> None:
    config = plain("llava-next-video").adapter.checkpoint.text_config  # type: ignore[attr-defined]
    kinds = {level: PassKind(1, level, exact=False) for level in LEVELS}
    needs = {level: recording_bytes(config, torch.float32, 100, kind, graded=True) for level, kind in kinds.items()}
    bare = recording_bytes(config, torch.float32, 100, kinds["none"], graded=False)
    assert needs["none"] > needs["mlp"] > needs["layer"] > bare
    kept = kept_bytes(config, torch.float32, 100)
    assert needs == {level: bare + kept[level] for level in LEVELS}
    assert recording_bytes(config, torch.bfloat16, 200, kinds["none"], graded=True) == needs["none"]


@pytest.mark.parametrize("name", published_sizes())
def test_what_waits_for_the_device_is_not_recorded(name: str) -> None:
    """InternVL 3 stretches its positions by a comparison in transformers; the others do not."""
    config, _ = _published(name, layers=1)
    assert rotary_waits(config.get_text_config()) == name.startswith("internvl3")


def test_recordings_are_kept_in_bounds_and_can_be_dropped() -> None:
    recorder = AgainOnTheSameTensors()
    replays = Replays(double, recorder, lambda *_: 1, 100, RECORD_AT)
    for cells in (*range(1, 30), *range(20, 30)):
        for _ in range(RECORD_AT):
            assert torch.equal(ask(replays, cells), torch.full((cells, 2), 2.0 * cells))
    assert recorder.recorded == 29, "the newest stay, so that asking again records nothing"
    assert replays.count == 16
    replays.forget()
    assert replays.count == 0
    assert recorder.recorded == 0, "the recorder is told, since its memory goes with them"


def test_nothing_is_recorded_or_filled_up_on_the_cpu() -> None:
    adapter = plain("qwen2-vl").adapter
    assert isinstance(adapter, HuggingFaceAdapter)
    assert adapter.replays is None
    assert adapter._prepare(clip_of(plain("qwen2-vl")), QUESTIONS).packed.filler_length == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_norms_change_nothing_but_rounding(family: str) -> None:
    session = opened(family)
    expected, slopes = answers(session, clip_of(session), QUESTIONS)
    adapter = session.adapter
    assert isinstance(adapter, HuggingFaceAdapter)
    decoder = adapter.checkpoint.language_model
    assert fuse_norms(adapter.checkpoint.model) >= 2 * 3 + 1
    assert all(is_gated(layer) for layer in decoder.layers)  # type: ignore[union-attr]
    assert fuse_norms(adapter.checkpoint.model) == 0, "a norm is fused once"
    found, found_slopes = answers(session, clip_of(session), QUESTIONS)
    close(found, expected)
    for own, other in zip(found_slopes, slopes, strict=True):
        close(own, other)


class _Shifted(nn.Module):
    """Gemma's kind: multiplied by one plus its weight."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((8,), 0.5), requires_grad=False)
        self.variance_epsilon, self.shift = 1e-6, shift

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.rms_norm(hidden, (8,), self.weight + self.shift, self.variance_epsilon)


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    own, other = _Shifted(0.0), _Shifted(1.0)
    assert fuse_norms(nn.ModuleList([own, other])) == 1
    assert isinstance(own.forward, FusedNorm)
    assert not isinstance(other.forward, FusedNorm)
