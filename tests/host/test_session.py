from types import SimpleNamespace

import pytest

from stvg_core.errors import ModelError, PluginError, UsageError
from stvg_core.host.session import REQUIRED_HOOKS, Session, open_backend
from stvg_core.plugin import Backend
from stvg_core.plugin.hookspecs import hookimpl
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings
from stvg_core.values import Frames
from tests.support.scripted import ScriptedAdapter, ScriptedBackend, found_backend

REFERENCE = ModelReference("scripted")


def test_the_contract_is_one_factory_and_four_hooks() -> None:
    assert set(REQUIRED_HOOKS) == {
        "stvg_create_adapter",
        "stvg_capture_attention",
        "stvg_select_grounding_tokens",
        "stvg_regularize_logits",
        "stvg_augment_frames",
    }
    assert set(REQUIRED_HOOKS) == {name for name in vars(Backend) if name.startswith("stvg_")}


@pytest.mark.parametrize("missing", REQUIRED_HOOKS)
def test_a_missing_hook_is_an_error_at_the_door(missing: str) -> None:
    whole = ScriptedBackend(ScriptedAdapter())
    partial = SimpleNamespace(**{name: getattr(whole, name) for name in REQUIRED_HOOKS if name != missing})
    with pytest.raises(PluginError, match=rf"'scripted' of stvg-scripted lacks {missing}; .*docs/hooks.md"):
        open_backend(partial, found_backend(), REFERENCE, LoadOptions())


def test_an_unknown_hook_is_an_error_at_the_door() -> None:
    class Misspelt(ScriptedBackend):
        @hookimpl
        def stvg_augment_frame(self, adapter: object) -> None:
            """A name that no specification has."""

    with pytest.raises(PluginError, match="stvg_augment_frame"):
        open_backend(Misspelt(ScriptedAdapter()), found_backend(), REFERENCE, LoadOptions())


def test_a_hook_with_foreign_arguments_is_an_error_at_the_door() -> None:
    class Foreign(ScriptedBackend):
        @hookimpl
        def stvg_augment_frames(self, adapter: object, video: object) -> None:
            """Takes an argument that the specification lacks."""

    with pytest.raises(PluginError, match="video"):
        open_backend(Foreign(ScriptedAdapter()), found_backend(), REFERENCE, LoadOptions())


def test_a_backend_may_refuse_a_model() -> None:
    class Refusing(ScriptedBackend):
        @hookimpl
        def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> None:
            """Not mine."""

    with pytest.raises(ModelError, match="does not take 'scripted'"):
        open_backend(Refusing(ScriptedAdapter()), found_backend(), REFERENCE, LoadOptions())


def test_none_from_a_hook_names_hook_and_backend(frames: Frames) -> None:
    class Silent(ScriptedBackend):
        @hookimpl
        def stvg_augment_frames(self, adapter: object) -> None:
            """No answer."""

    opened = open_backend(Silent(ScriptedAdapter()), found_backend(), REFERENCE, LoadOptions())
    settings = InputSettings()
    clip = opened.adapter.encode(frames, settings, tuple(range(10)))
    with pytest.raises(PluginError, match=r"stvg-scripted.*None to stvg_augment_frames"):
        opened.augment_frames(frames, clip, settings)


def test_two_sessions_do_not_answer_for_each_other() -> None:
    first, second = ScriptedAdapter(column=1), ScriptedAdapter(column=3)
    sessions = [
        open_backend(ScriptedBackend(adapter), found_backend(), REFERENCE, LoadOptions()) for adapter in (first, second)
    ]
    assert [opened.adapter for opened in sessions] == [first, second]


def test_leaving_a_session_lets_go_of_the_model(session: Session) -> None:
    with session as opened:
        assert opened.adapter is not None
    assert session.closed
    with pytest.raises(UsageError, match="closed"):
        _ = session.adapter
