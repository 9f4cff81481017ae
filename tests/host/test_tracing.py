"""What a trace tells of hook calls: shapes and types, in bounded harmless lines, and nothing of the values."""

import dataclasses
import gc
import json
import re
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.devtools.demos import DemoCase
from stvg_core.errors import PluginError
from stvg_core.host.session import REQUIRED_HOOKS, Session, open_backend
from stvg_core.host.tracing import LONGEST_LINE, HookCall, describe, format_call
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip
from stvg_core.plugin.hookspecs import hookimpl
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, TokenLayout
from tests.support.command_line import MODEL, QUERY, Run
from tests.support.scripted import ScriptedAdapter, ScriptedBackend, found_backend


def traced(calls: list[HookCall], backend: ScriptedBackend | None = None) -> Session:
    backend = backend or ScriptedBackend(ScriptedAdapter())
    return open_backend(backend, found_backend(), ModelReference("scripted"), LoadOptions(), trace=calls.append)


def test_a_call_is_told_with_shapes(frames: Frames) -> None:
    calls: list[HookCall] = []
    session = traced(calls)
    clip = session.adapter.encode(frames, InputSettings(), tuple(range(10)))
    session.augment_frames(frames, clip, InputSettings())
    session.capture_attention(AttentionRequest(clip, ("Is it walking?", "Describe."), None, (1, 2, 3)))
    created, augmented, captured = calls
    assert created.hook == "stvg_create_adapter"
    assert created.answer == "ScriptedAdapter"
    assert dict(augmented.arguments) == {
        "adapter": "ScriptedAdapter",
        "frames": "Frames(info=VideoInfo(frame_seconds=float64[100]), indices=int64[10], pixels=uint8[10, 40, 80, 3])",
        "clip": "EncodedClip(10 x 4 x 4 of 10 frames, float32[160, 3])",
        "settings": "InputSettings",
    }
    assert augmented.answer == "EncodedClip(10 x 4 x 4 of 10 frames, float32[160, 3])"
    assert augmented.plugins == ("scripted",)
    assert captured.answer == "tuple[2 x QuestionAttention(tokens=tuple[4 x PromptToken], rows=float32[4, 160])]"
    assert "questions=tuple[2 x str], layers=tuple[3 x int]" in dict(captured.arguments)["request"]


def test_time_is_the_call_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.25])
    monkeypatch.setattr("stvg_core.host.tracing.time.perf_counter", lambda: next(clock))
    calls: list[HookCall] = []
    traced(calls)
    assert [call.milliseconds for call in calls] == [250.0]


def test_a_failed_call_is_told_and_still_fails() -> None:
    class Failing(ScriptedBackend):
        @hookimpl
        def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> ScriptedAdapter:
            raise LookupError("the secret is 42")

    calls: list[HookCall] = []
    with pytest.raises(LookupError, match="42"):
        traced(calls, Failing(ScriptedAdapter()))
    assert [call.answer for call in calls] == ["raised LookupError"]
    assert "42" not in format_call(calls[0])


def test_a_session_without_trace_tells_nothing(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert session.adapter is not None
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_trace_keeps_no_tensor_alive(frames: Frames) -> None:
    calls: list[HookCall] = []
    session = traced(calls)
    clip = session.adapter.encode(frames, InputSettings(), tuple(range(10)))
    alive = weakref.ref(session.augment_frames(frames, clip, InputSettings()))
    gc.collect()
    assert alive() is None
    assert len(calls) == 2


def test_threads_do_not_take_each_other_s_calls(frames: Frames) -> None:
    """The call that begins first ends first, while the other one is still at work."""
    few = Frames(frames.info, frames.indices[:5], frames.pixels[:5])
    inside = {len(each): threading.Event() for each in (frames, few)}
    leave = {len(each): threading.Event() for each in (frames, few)}

    class Waiting(ScriptedBackend):
        @hookimpl
        def stvg_augment_frames(
            self, adapter: ScriptedAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
        ) -> EncodedClip:
            inside[len(frames)].set()
            leave[len(frames)].wait(20)
            return clip

    calls: list[HookCall] = []
    session = traced(calls, Waiting(ScriptedAdapter()))
    clips, threads = {}, {}
    for each in (frames, few):
        count = len(each)
        clips[count] = session.adapter.encode(each, InputSettings(), tuple(range(count)))
        threads[count] = threading.Thread(target=session.augment_frames, args=(each, clips[count], InputSettings()))
        threads[count].start()
        assert inside[count].wait(20)
    for count, thread in threads.items():
        leave[count].set()
        thread.join()
    told = [(dict(call.arguments)["clip"], call.answer) for call in calls[1:]]
    assert told == [(describe(clips[count]), describe(clips[count])) for count in (10, 5)]


SMALL_CLIP = EncodedClip(torch.ones(6, 2), TokenLayout(1, 2, 3, (0,)), (0,))


@dataclasses.dataclass
class Nested:
    inner: object
    secret: str = "password"


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (torch.zeros(4, 36), "float32[4, 36]"),
        (torch.zeros((), dtype=torch.bfloat16), "bfloat16[]"),
        (torch.zeros(2, device="meta"), "float32[2] on meta"),
        (np.zeros((2, 3), np.uint8), "uint8[2, 3]"),
        ("words", "str"),
        (7, "int"),
        (None, "None"),
        ((), "tuple[0]"),
        ([1, "a", 2], "list[2 x int, 1 x str]"),
        (tuple(range(100)), "tuple[64 x int, 36 more]"),
        ({"a": 1}, "dict[1]"),
        (Nested(torch.ones(3)), "Nested"),
        (AnswerLogits(torch.ones(3), torch.ones(3)), "AnswerLogits(yes=float32[3], no=float32[3])"),
        (ModelReference("secret"), "ModelReference"),
        (SMALL_CLIP, "EncodedClip(1 x 2 x 3 of 1 frames, float32[6, 2])"),
    ],
)  # fmt: skip
def test_descriptions(value: object, described: str) -> None:
    assert describe(value) == described


def test_what_holds_itself_is_described() -> None:
    own: list[object] = []
    own.append(own)
    assert describe(own) == "list[1 x list[1 x list[1 x list]]]"


plain = st.none() | st.text() | st.binary() | st.floats() | st.integers()
nested = st.recursive(
    plain, lambda held: st.lists(held) | st.tuples(held, held) | st.dictionaries(st.text(), held) | held.map(Nested)
)


@given(nested, st.text(max_size=3000), st.text(max_size=50))
def test_every_line_is_bounded_and_harmless_and_holds_no_value(value: object, odd: str, name: str) -> None:
    odd_type = type(odd.replace("\x00", "") or "T", (), {}) if odd.isascii() else Nested
    described = describe(value)
    line = format_call(
        HookCall(f"stvg_{name}", (name, "backend"), (("value", described), (name, odd_type.__name__)), odd, 0.5)
    )
    assert len(line) <= LONGEST_LINE
    assert line.isprintable()
    assert described.isprintable()
    assert re.fullmatch(r"(None|str|bytes|float|int|list|tuple|dict|Nested|more|inner|x|\d+|[\[\](),= .])*", described)


def test_a_line_keeps_answer_and_time_where_arguments_are_long() -> None:
    arguments = tuple((f"argument_{number}", "float32[1000, 1000]") for number in range(100))
    line = format_call(HookCall("stvg_x", ("backend",), arguments, "tuple[2 x int]", 3.456))
    assert line.endswith("...) -> tuple[2 x int], 3.46 ms (backend)")
    assert len(line) <= LONGEST_LINE


def test_the_command_line_writes_the_trace_to_stderr_alone(
    stvg: Run, easy: DemoCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("--set", "prompt.steps=1", "--set", "augment.enabled=true")
    arguments = ("ground", easy.video, QUERY, "--model", MODEL, *settings, "--json")
    plain = stvg(*arguments)
    assert (plain.code, plain.error) == (0, "")
    monkeypatch.setenv("STVG_TRACE_HOOKS", "1")
    by_variable = stvg(*arguments)
    assert stvg(*arguments, "--no-trace-hooks").error == ""
    monkeypatch.delenv("STVG_TRACE_HOOKS")
    by_option = stvg(*arguments, "--trace-hooks")
    for ran in (by_variable, by_option):
        assert ran.code == 0
        assert json.loads(ran.out)["tube"] == json.loads(plain.out)["tube"]
        lines = ran.error.splitlines()
        assert {line.split("(")[0] for line in lines} == set(REQUIRED_HOOKS)
        assert all(re.search(r" -> \S.*, \d+\.\d\d ms \(qwen2-vl\)$", line) for line in lines)
        assert "circle" not in ran.error


def test_a_trace_variable_that_is_no_switch_is_wrong_usage(stvg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STVG_TRACE_HOOKS", "loudly")
    ran = stvg("ground", "clip.mp4", QUERY, "--model", MODEL)
    assert ran.code == 2
    assert "STVG_TRACE_HOOKS" in ran.error


def test_an_extension_s_failure_is_not_hidden_by_the_trace() -> None:
    class Wrong(ScriptedBackend):
        @hookimpl
        def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> object:
            return object()

    calls: list[HookCall] = []
    with pytest.raises(PluginError, match="without"):
        traced(calls, Wrong(ScriptedAdapter()))
    assert [call.answer for call in calls] == ["raised PluginError"]
