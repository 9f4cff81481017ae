"""The base classes that plugin authors derive from, and the one module that they import."""

import subprocess
import sys

import pytest

import stvg_core.plugin
from stvg_core.errors import PluginError, UsageError
from stvg_core.host.hooks import REQUIRED_HOOKS, hook_manager, implemented_hooks
from stvg_core.plugin import (
    Backend,
    Decomposer,
    EncodedClip,
    LoadOptions,
    MLLMAdapter,
    ModelReference,
    SubQueries,
    Track,
    Tracker,
    TrackRequest,
)
from tests.support.scripted import found_backend


class Smallest(Backend):
    def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> MLLMAdapter | None:
        return None


class Still(Tracker):
    name = "still"

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        return ()


class Whole(Decomposer):
    name = "whole"

    def decompose(self, text: str) -> SubQueries:
        return SubQueries(text, text, text, self.name)


def test_every_name_is_exported_without_torch_until_it_is_used() -> None:
    code = "import sys, stvg_core.plugin as p; sys.exit('torch' in sys.modules); p.HOOK_API"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert all(hasattr(stvg_core.plugin, name) for name in stvg_core.plugin.__all__)
    assert dir(stvg_core.plugin) == sorted(stvg_core.plugin.__all__)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = stvg_core.plugin.absent


def test_only_the_factory_is_abstract() -> None:
    assert Backend.__abstractmethods__ == {"stvg_create_adapter"}
    assert implemented_hooks(hook_manager(Smallest(), found_backend())) == REQUIRED_HOOKS


def test_an_override_needs_no_mark(frames: object) -> None:
    class Mine(Smallest):
        def stvg_augment_frames(self, clip: EncodedClip) -> EncodedClip:  # type: ignore[override]
            return clip

    manager = hook_manager(Mine(), found_backend())
    clip = object()
    assert manager.hook.stvg_augment_frames(adapter=None, frames=frames, clip=clip, settings=None) is clip


def test_a_misspelt_override_is_refused() -> None:
    class Misspelt(Smallest):
        def stvg_augment_frame(self, clip: EncodedClip) -> EncodedClip:
            return clip

    with pytest.raises(PluginError, match="stvg_augment_frame"):
        hook_manager(Misspelt(), found_backend())


def test_a_tracker_has_defaults() -> None:
    tracker = Still.open("")
    assert (tracker.per_video, tracker.shared_seconds, tracker.describe(), tracker.report()) == (False, 0.0, {}, None)
    with pytest.raises(UsageError, match="tracker still takes no settings, got 'size'"):
        Still.open("size=3")
    with pytest.raises(UsageError, match="NAME:setting=value"):
        Still.open("size")


def test_a_decomposer_has_defaults() -> None:
    assert Whole.open("", None, None).decompose("a man").action == "a man"
    with pytest.raises(UsageError, match="decomposer whole takes no argument, got 'x'"):
        Whole.open("x", None, None)
