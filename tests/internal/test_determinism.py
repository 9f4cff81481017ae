import pytest
import torch

from stvg_core._internal.determinism import deterministic_algorithms
from stvg_core.host.session import open_backend
from stvg_core.method.pipeline import Pipeline
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import Settings
from stvg_core.values import Frames, SubQueries
from tests.support.scripted import ScriptedAdapter, ScriptedBackend, found_backend

QUERY = SubQueries("the man in blue walks", "the man in blue", "the man walks", "rules")


class WatchingAdapter(ScriptedAdapter):
    """Remembers whether torch was held to deterministic algorithms while it worked."""

    seen: bool | None = None

    def attention_rows(self, request):
        self.seen = torch.are_deterministic_algorithms_enabled()
        return super().attention_rows(request)


@pytest.mark.parametrize("wanted", [False, True])
def test_the_option_reaches_the_model_and_ends_with_the_run(frames: Frames, wanted: bool) -> None:
    adapter = WatchingAdapter()
    options = LoadOptions(deterministic=wanted)
    session = open_backend(ScriptedBackend(adapter), found_backend(), ModelReference("watching"), options)
    Pipeline(session, Settings()).ground(frames, (QUERY,))
    assert adapter.seen is wanted
    assert not torch.are_deterministic_algorithms_enabled()


def fail_deterministically() -> None:
    with deterministic_algorithms(True):
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        raise KeyError


def test_what_a_caller_had_chosen_comes_back_even_after_a_failure() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.raises(KeyError):
            fail_deterministically()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
