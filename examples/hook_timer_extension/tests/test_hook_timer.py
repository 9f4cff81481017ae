"""The extension against a stand-in for a backend; no model is needed to test one."""

from collections.abc import Callable
from types import SimpleNamespace

import pluggy
import pytest
import torch
from stvg_hook_timer import HookTimer

from stvg_core.host.extensions import HookExtension
from stvg_core.plugin import hookimpl, hookspecs


def managed(timer: HookTimer, **hooks: Callable[..., object]) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()}))
    manager.register(timer)
    return manager


def test_it_is_an_extension_that_only_wraps() -> None:
    wrapped = HookExtension("hook-timer", "stvg-hook-timer", "0.1.0", HookTimer()).hooks
    assert wrapped == ("stvg_capture_attention", "stvg_regularize_logits")


def test_calls_are_counted_and_answers_pass_through(capsys: pytest.CaptureFixture[str]) -> None:
    timer, answer = HookTimer(), torch.tensor(3.0)
    hook = managed(timer, stvg_regularize_logits=lambda logits: answer).hook
    for _ in range(4):
        assert hook.stvg_regularize_logits(adapter=None, logits=None, settings=None) is answer
    timer.report()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("stvg_regularize_logits: 4 calls, ")


def test_a_failed_call_counts_too() -> None:
    def failing(request: object) -> None:
        raise LookupError("no attention")

    timer = HookTimer()
    with pytest.raises(LookupError):
        managed(timer, stvg_capture_attention=failing).hook.stvg_capture_attention(adapter=None, request=None)
    assert [len(each) for each in timer.milliseconds.values()] == [1]
