"""Wrappers around hooks: they see everything, answer for nobody, and are named where they fail."""

from collections.abc import Callable, Generator
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import pluggy
import pytest
import torch

from stvg_core._internal.out_of_memory import memory_errors
from stvg_core.errors import DeviceMemoryError, ModelError, PluginError, UsageError
from stvg_core.host.extensions import HookExtension, open_hook_extensions
from stvg_core.host.session import Session, open_backend
from stvg_core.plugin import hookspecs
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, PromptToken, QuestionAttention
from stvg_core.plugin.hookspecs import hookimpl
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings, PromptSettings, TokenSettings
from stvg_core.values import Frames, TokenLayout
from tests.support.scripted import ScriptedAdapter, ScriptedBackend, found_backend

REFERENCE = ModelReference("scripted")
Body = Callable[..., Generator[None, Any, Any]]


def extension(name: str = "timer", **hooks: Callable[..., object]) -> HookExtension:
    marked = {hook: hookimpl(wrapper=True)(function) for hook, function in hooks.items()}
    return HookExtension(name, f"their-{name}", "2.0", SimpleNamespace(**marked))


def opened(*extensions: HookExtension, backend: object | None = None) -> Session:
    plugin = backend or ScriptedBackend(ScriptedAdapter())
    return open_backend(plugin, found_backend(), REFERENCE, LoadOptions(), extensions=extensions)


def a_clip(frame_count: int = 10) -> EncodedClip:
    layout = TokenLayout(frame_count, 4, 4, tuple(range(frame_count)))
    return EncodedClip(torch.linspace(0, 1, 48 * frame_count).reshape(-1, 3), layout, tuple(range(frame_count)))


def logits() -> AnswerLogits:
    yes = torch.tensor([1.0, 0.5], requires_grad=True)
    return AnswerLogits(yes=yes, no=torch.zeros(2))


def test_a_wrapper_sees_arguments_and_answer_and_the_first_is_outermost() -> None:
    told: list[str] = []

    def wrapper(name: str) -> Body:
        def stvg_regularize_logits(settings: PromptSettings) -> Generator[None, Any, Any]:
            told.append(f"{name} before {settings.objective}")
            answer = yield
            told.append(f"{name} after {float(answer.detach()):.2f}")
            return answer

        return stvg_regularize_logits

    extensions = [extension(name, stvg_regularize_logits=wrapper(name)) for name in ("outer", "inner")]
    plain = opened().regularize_logits(logits(), PromptSettings())
    session = opened(*extensions)
    answer = session.regularize_logits(logits(), PromptSettings())
    assert torch.equal(answer, plain)
    objective = PromptSettings().objective
    order = [" ".join(line.split()[:2]) for line in told]
    assert order == ["outer before", "inner before", "inner after", "outer after"]
    assert told[0].endswith(objective)
    assert told[2].endswith(f"{float(plain.detach()):.2f}")
    assert session.extensions == tuple(extensions)
    assert session.extensions[0].hooks == ("stvg_regularize_logits",)


def test_a_wrapper_may_change_an_answer_within_its_type(frames: Frames) -> None:
    def stvg_select_grounding_tokens(attention: QuestionAttention) -> Generator[None, Any, Any]:
        yield
        return (len(attention.tokens) - 1,)

    session = opened(extension(stvg_select_grounding_tokens=stvg_select_grounding_tokens))
    rows = session.capture_attention(AttentionRequest(a_clip(), ("a",), None, (0,)))[0]
    assert session.select_grounding_tokens(rows, rows.rows, TokenSettings()) == (3,)


def test_a_wrapper_may_stand_in_where_the_backend_fails() -> None:
    class Failing(ScriptedBackend):
        @hookimpl
        def stvg_regularize_logits(self, logits: AnswerLogits) -> torch.Tensor:
            raise LookupError("no loss")

    def stvg_regularize_logits(logits: AnswerLogits) -> Generator[None, Any, Any]:
        try:
            return (yield)
        except LookupError:
            return logits.yes.sum()

    backend = Failing(ScriptedAdapter())
    for extensions in ((), (extension(stvg_regularize_logits=passing_on(body)),)):
        with pytest.raises(LookupError, match="no loss"):
            opened(*extensions, backend=backend).regularize_logits(logits(), PromptSettings())
    session = opened(extension(stvg_regularize_logits=stvg_regularize_logits), backend=backend)
    assert float(session.regularize_logits(logits(), PromptSettings()).detach()) == 1.5


# Every way in which an answer can be wrong, by hook.
CALLS: dict[str, Callable[[Session, Frames], object]] = {
    "stvg_create_adapter": lambda session, frames: None,
    "stvg_capture_attention": lambda session, frames: session.capture_attention(
        AttentionRequest(a_clip(), ("a", "b"), None, (0,))
    ),
    "stvg_select_grounding_tokens": lambda session, frames: session.select_grounding_tokens(
        QuestionAttention("a", (PromptToken("?", "punctuation"),) * 3, torch.ones(3, 160)),
        torch.ones(3, 160),
        TokenSettings(),
    ),
    "stvg_regularize_logits": lambda session, frames: session.regularize_logits(logits(), PromptSettings()),
    "stvg_augment_frames": lambda session, frames: session.augment_frames(frames, a_clip(), InputSettings()),
}
ROWS = QuestionAttention("a", (PromptToken("?", "punctuation"),), torch.ones(1, 160))
NARROW = QuestionAttention("a", (PromptToken("?", "punctuation"),), torch.ones(1, 12))
WRONG = [
    ("stvg_create_adapter", object(), "object without description, encode, answer_logits"),
    ("stvg_capture_attention", None, "None to stvg_capture_attention, expected a tuple of QuestionAttention"),
    ("stvg_capture_attention", [ROWS, ROWS], "list to"),
    ("stvg_capture_attention", (ROWS, "rows"), "tuple of QuestionAttention, str to"),
    ("stvg_capture_attention", (ROWS,), "attention for 1 questions to .* expected 2"),
    ("stvg_capture_attention", (ROWS, NARROW), "rows over 12 visual tokens to .* expected 160"),
    ("stvg_select_grounding_tokens", None, "None to .* expected a tuple of int"),
    ("stvg_select_grounding_tokens", (3,), r"\(3,\) to .* expected positions within 3 tokens"),
    ("stvg_select_grounding_tokens", (-1,), r"\(-1,\) to .* expected positions within 3 tokens"),
    ("stvg_select_grounding_tokens", (), r"\(\) to .* expected positions"),
    ("stvg_select_grounding_tokens", (True,), "tuple of bool to .* expected a tuple of int"),
    ("stvg_select_grounding_tokens", 0, "int to .* expected a tuple of int"),
    ("stvg_regularize_logits", None, "None to .* expected a floating scalar"),
    ("stvg_regularize_logits", 0.5, "float to .* expected a floating scalar"),
    ("stvg_regularize_logits", torch.ones(1, requires_grad=True), r"torch.float32 of shape \(1,\) to"),
    ("stvg_regularize_logits", torch.tensor(1), r"torch.int64 of shape \(\) to"),
    ("stvg_regularize_logits", torch.tensor(1.0), "a scalar without gradient to"),
    ("stvg_augment_frames", None, "None to .* expected an EncodedClip"),
    ("stvg_augment_frames", "clip", "str to .* expected an EncodedClip"),
    ("stvg_augment_frames", a_clip(9), "a clip of 9 frames to .* expected 10 frames"),
]


@pytest.mark.parametrize(("hook", "wrong", "message"), WRONG)
def test_a_wrong_answer_is_told_with_the_name_of_who_gave_it(
    hook: str, wrong: object, message: str, frames: Frames
) -> None:
    def replacing(*_: object) -> Generator[None, Any, Any]:
        yield
        return wrong

    def passing(*_: object) -> Generator[None, Any, Any]:
        return (yield)

    def answering(self: object) -> object:
        return wrong

    around = [extension(name, **{hook: passing_on(passing)}) for name in ("before", "after")]
    wrapped = (around[0], extension("guilty", **{hook: passing_on(replacing)}), around[1])
    with pytest.raises(PluginError, match=rf"^extension 'guilty' of their-guilty 2.0 answered {message}"):
        CALLS[hook](opened(*wrapped), frames)

    plugin = type("Guilty", (ScriptedBackend,), {hook: hookimpl(answering)})(ScriptedAdapter())
    for extensions in ((), tuple(around)):
        with pytest.raises(PluginError, match=rf"^backend 'scripted' \(stvg-scripted\) answered {message}"):
            CALLS[hook](opened(*extensions, backend=plugin), frames)


def passing_on(body: Body) -> Body:
    def wrapper() -> Generator[None, Any, Any]:
        return (yield from body())

    return wrapper


def test_none_for_a_model_stays_the_backend_s_word_alone() -> None:
    class Refusing(ScriptedBackend):
        @hookimpl
        def stvg_create_adapter(self, reference: ModelReference) -> None:
            """Not mine."""

    def passing() -> Generator[None, Any, Any]:
        return (yield)

    def swallowing() -> Generator[None, Any, Any]:
        yield

    with pytest.raises(ModelError, match="does not take 'scripted'"):
        opened(extension(stvg_create_adapter=passing), backend=Refusing(ScriptedAdapter()))
    with pytest.raises(PluginError, match=r"'timer' of their-timer 2\.0 answered None to stvg_create_adapter"):
        opened(extension(stvg_create_adapter=swallowing))


def test_a_wrapper_s_own_failure_names_it_and_the_others_stay_clean(frames: Frames) -> None:
    closed: list[str] = []

    def before() -> Generator[None, Any, Any]:
        raise KeyError("early")
        yield

    def after() -> Generator[None, Any, Any]:
        yield
        raise KeyError("late\x1b[31m")

    def twice() -> Generator[None, Any, Any]:
        yield
        try:
            yield
        finally:
            closed.append("twice")

    def never() -> Generator[None, Any, Any]:
        if closed is None:
            yield
        return 3

    def outer() -> Generator[None, Any, Any]:
        try:
            return (yield)
        finally:
            closed.append("outer")

    for body, message in (
        (before, r"failed in stvg_augment_frames: KeyError: 'early'"),
        (after, r"failed in stvg_augment_frames: KeyError: 'late\\x1b\[31m'"),
        (twice, "yielded twice in stvg_augment_frames"),
        (never, "did not yield in stvg_augment_frames"),
    ):
        closed.clear()
        session = opened(extension("outer", stvg_augment_frames=outer), extension("ill", stvg_augment_frames=body))
        with pytest.raises(PluginError, match=rf"^extension 'ill' of their-ill 2.0 {message}"):
            session.augment_frames(frames, a_clip(), InputSettings())
        assert closed == (["twice", "outer"] if body is twice else ["outer"])


def test_our_errors_and_memory_pass_through_a_wrapper(frames: Frames) -> None:
    def telling() -> Generator[None, Any, Any]:
        yield
        raise UsageError("as I say")

    def hungry() -> Generator[None, Any, Any]:
        yield
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UsageError, match=r"^as I say$"):
        opened(extension(stvg_augment_frames=telling)).augment_frames(frames, a_clip(), InputSettings())
    session = opened(extension(stvg_augment_frames=hungry))
    with pytest.raises(DeviceMemoryError, match="CUDA out of memory"), memory_errors("a job", "less"):
        session.augment_frames(frames, a_clip(), InputSettings())


def body() -> Generator[None, Any, Any]:
    return (yield)


def foreign(video: object) -> Generator[None, Any, Any]:
    return (yield)


def defaulted(clip: object = None) -> Generator[None, Any, Any]:
    return (yield)


def keyword_only(*, clip: object) -> Generator[None, Any, Any]:
    return (yield)


def no_generator() -> int:
    return 3


@pytest.mark.parametrize(
    ("hook", "function", "marks", "message"),
    [
        ("stvg_augment_frame", body, {"wrapper": True}, "unknown hook 'stvg_augment_frame'"),
        ("stvg_augment_frames", foreign, {"wrapper": True}, "video"),
        ("stvg_augment_frames", no_generator, {"wrapper": True}, "generator function"),
        ("stvg_augment_frames", no_generator, {}, "stvg_augment_frames without wrapper=True and would answer"),
        ("stvg_augment_frames", body, {"hookwrapper": True}, "without wrapper=True"),
        ("stvg_augment_frames", defaulted, {"wrapper": True}, "without defaults, got clip"),
        ("stvg_augment_frames", keyword_only, {"wrapper": True}, "without defaults, got clip"),
        ("stvg_augment_frames", body, None, "wraps no hook"),
        ("augment_frames", body, None, "wraps no hook"),
        ("augment_frames", body, {"wrapper": True}, "unknown hook 'augment_frames'"),
    ],
)  # fmt: skip
def test_what_does_not_only_wrap_is_refused(
    hook: str, function: Callable[..., object], marks: dict[str, bool] | None, message: str
) -> None:
    # A copy: the mark is an attribute of the function, and the functions stand for several cases.
    assert isinstance(function, FunctionType)
    copy = FunctionType(function.__code__, globals(), hook, function.__defaults__)
    marked = copy if marks is None else hookimpl(**marks)(copy)
    with pytest.raises(PluginError, match=rf"extension 'x' of their-x 1.0 .*{message}"):
        HookExtension("x", "their-x", "1.0", SimpleNamespace(**{hook: marked}))


def test_a_hook_of_another_version_may_be_optional() -> None:
    class Later:
        @hookimpl(wrapper=True, optionalhook=True)
        def stvg_of_tomorrow(self) -> Generator[None, Any, Any]:
            return (yield)

        @hookimpl(wrapper=True, specname="stvg_augment_frames")
        def around_frames(self, clip: EncodedClip) -> Generator[None, Any, Any]:
            return (yield)

    assert HookExtension("x", "their-x", "1.0", Later()).hooks == ("stvg_augment_frames",)


def test_an_extension_s_hooks_do_not_stand_in_for_the_backend_s(frames: Frames) -> None:
    whole = ScriptedBackend(ScriptedAdapter())
    partial = SimpleNamespace(
        **{name: getattr(whole, name) for name in dir(whole) if name.startswith("stvg_") and "augment" not in name}
    )
    with pytest.raises(PluginError, match="lacks stvg_augment_frames"):
        opened(extension(stvg_augment_frames=passing_on(body)), backend=partial)


# The entry points, as pip would write them.
SOURCE = """
from stvg_core.plugin.hookspecs import hookimpl


class Extension:
    @hookimpl(wrapper=True)
    def stvg_augment_frames(self, clip):
        return (yield)
"""


def install(folder: Path, name: str, *, distribution: str = "", source: str = SOURCE) -> None:
    distribution = distribution or f"their-{name}"
    package = distribution.replace("-", "_")
    (folder / f"{package}.py").write_text(source, encoding="utf-8")
    info = folder / f"{package}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[stvg.extensions]\n{name} = {package}:Extension\n", encoding="utf-8")


def test_an_extension_is_opened_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "watcher")
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = open_hook_extensions(["watcher"])
    assert (found.name, found.distribution, found.version) == ("watcher", "their-watcher", "1.5")
    assert open_hook_extensions([found]) == (found,)
    with pytest.raises(UsageError, match="'watcher' 2 times"):
        open_hook_extensions([found, "watcher"])
    with pytest.raises(UsageError, match="did you mean watcher"):
        open_hook_extensions(["watchr"])


def test_no_extension_runs_that_was_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    install(tmp_path, "explosive", source="raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert opened().extensions == ()
    with pytest.raises(PluginError, match=r"explosive.*their-explosive.*imported"):
        open_hook_extensions(["explosive"])


def test_two_claims_to_an_extension_s_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "watcher")
    install(tmp_path, "watcher", distribution="other-watcher")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match="other-watcher and their-watcher"):
        open_hook_extensions(["watcher"])


def test_the_hooks_are_those_of_this_pluggy() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    assert manager.hook.stvg_augment_frames.spec.argnames == ("adapter", "frames", "clip", "settings")
