"""Settings that share a memo: each distinct step runs once, and the maps are those of a plain pipeline."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from torch import Tensor

from stvg_core._internal.memo import Memo
from stvg_core.evaluation.ablation.memoized_pipeline import MemoizedPipeline
from stvg_core.host.session import Session, open_backend
from stvg_core.method.pipeline import Pipeline
from stvg_core.plugin.adapter import AnswerLogits, EncodedClip
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import Settings, load_settings
from stvg_core.values import Frames, SubQueries
from tests.conftest import ScriptedAdapter, ScriptedBackend, found_backend
from tests.evaluation.ablation.support import SensitiveAdapter

QUERY = SubQueries("The tall man walks.", "the tall man", "the man walks", "test")


def settings_with(**overrides: object) -> Settings:
    names = {name.replace("__", "."): value for name, value in overrides.items()}
    return load_settings("paper", overrides={"prompt.step_size": 1e-3, "prompt.objective": "linear"} | names)


@pytest.fixture
def calls(adapter: ScriptedAdapter, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many passes of each kind the model ran."""
    counted: Counter[str] = Counter()
    encode, answer, rows = adapter.encode, adapter.answer_logits, adapter.attention_rows

    def answer_logits(clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        counted["gradient" if prompt is not None and prompt.requires_grad else "answer"] += 1
        return answer(clip, questions, prompt)

    monkeypatch.setattr(adapter, "encode", lambda *given: (counted.update(["encode"]), encode(*given))[1])
    monkeypatch.setattr(adapter, "answer_logits", answer_logits)
    monkeypatch.setattr(adapter, "attention_rows", lambda *given: (counted.update(["rows"]), rows(*given))[1])
    return counted


def test_each_distinct_step_runs_once(frames: Frames, session: Session, calls: Counter[str]) -> None:
    memo = Memo()

    def passes(settings: Settings) -> dict[str, int]:
        before = calls.copy()
        pipeline = MemoizedPipeline(session, settings, memo=memo)
        pipeline.compute_maps(pipeline.encode(frames), (QUERY,))
        return {name: calls[name] - before[name] for name in ("encode", "gradient", "rows")}

    base = settings_with()
    assert passes(base) == {"encode": 1, "gradient": 3, "rows": 3}, "two branches forward, one in the reversed view"
    nothing = {"encode": 0, "gradient": 0, "rows": 0}
    assert passes(base) == nothing
    assert passes(settings_with(spatial__tokens__rule="mean", joint__boundary="contiguous")) == nothing
    assert passes(settings_with(augment__enabled=False)) == nothing
    assert passes(settings_with(prompt__step_size=0.5)) == nothing | {"rows": 3}, "the first gradient is shared"
    assert passes(settings_with(prompt__steps=2)) == nothing | {"gradient": 3, "rows": 3}
    assert passes(settings_with(spatial__layers__stop=0.5)) == nothing | {"rows": 2}
    assert passes(settings_with(prompt__objective="exponential"))["gradient"] == 3


@pytest.mark.parametrize(
    "overrides",
    [{}, {"prompt__steps": 3, "prompt__momentum": 0.5}, {"prompt__steps": 0}, {"augment__prompts": "flipped"}],
)
def test_maps_are_those_of_a_plain_pipeline(frames: Frames, overrides: dict[str, object]) -> None:
    backend = ScriptedBackend(SensitiveAdapter())
    session, memo = open_backend(backend, found_backend(), ModelReference("scripted"), LoadOptions()), Memo()
    for settings in (settings_with(prompt__step_size=0.1), settings_with(**overrides)):
        memoized, plain = MemoizedPipeline(session, settings, memo=memo), Pipeline(session, settings)
        (maps,) = memoized.compute_maps(memoized.encode(frames), (QUERY,))
        (expected,) = plain.compute_maps(plain.encode(frames), (QUERY,))
        np.testing.assert_allclose(maps.spatial.values, expected.spatial.values, rtol=1e-5)
        np.testing.assert_allclose(maps.temporal.values, expected.temporal.values, rtol=1e-5)
        assert maps.margins == pytest.approx(expected.margins, rel=1e-5)


def test_other_frames_are_encoded_again(frames: Frames, session: Session, calls: Counter[str]) -> None:
    memo = Memo()
    for shown in (frames, Frames(frames.info, frames.indices[:5], frames.pixels[:5]), frames):
        MemoizedPipeline(session, settings_with(), memo=memo).encode(shown)
    assert calls["encode"] == 2


def test_looked_up_results_count_their_seconds_again() -> None:
    memo = Memo()
    memo("key", lambda: sum(range(200_000)))
    once = memo.seconds
    memo("key", lambda: 0)
    assert once > 0
    assert memo.seconds == pytest.approx(2 * once)
    assert len(memo) == 1
