"""Out of memory, as torch tells it, becomes one line; and the session lives on."""

import gc
import weakref
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from stvg_core._internal.out_of_memory import memory_errors
from stvg_core.errors import DeviceMemoryError
from stvg_core.host.session import Session, open_backend
from stvg_core.method.pipeline import Pipeline
from stvg_core.plugin.adapter import AnswerLogits, EncodedClip
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import Settings
from stvg_core.values import Frames, SubQueries
from tests.support.scripted import ScriptedAdapter, ScriptedBackend, found_backend

CUDA_MESSAGE = "CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a total capacity of 79.11 GiB"
QUERY = SubQueries("the man in blue walks", "the man in blue", "the man walks", "rules")


def test_a_real_allocation_that_cannot_be_met() -> None:
    wanted = r"out of memory in job .*allocat.*; cure"
    with pytest.raises(DeviceMemoryError, match=wanted) as raised, memory_errors("job", "cure"):
        torch.empty(2**60, dtype=torch.uint8)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CUDA_MESSAGE), MemoryError()])
def test_each_way_of_running_out(error: Exception) -> None:
    with pytest.raises(DeviceMemoryError, match=r"out of memory in loading"), memory_errors("loading", "cure"):
        raise error


def test_other_failures_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), memory_errors("job", "cure"):
        raise RuntimeError("shapes differ")
    with pytest.raises(NotImplementedError), memory_errors("job", "cure"):
        raise NotImplementedError("a RuntimeError by birth")


def test_what_the_failed_computation_held_is_let_go() -> None:
    class Held:
        pass

    seen: list[weakref.ref[Held]] = []

    def compute() -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise torch.OutOfMemoryError(CUDA_MESSAGE)

    with pytest.raises(DeviceMemoryError) as raised, memory_errors("job", "cure"):
        compute()
    gc.collect()
    assert seen[0]() is None, "the error must not keep the computation's tensors alive"
    assert raised.value.__cause__ is not None


@dataclass
class HungryAdapter(ScriptedAdapter):
    """Runs out of memory while prompts are learned, until it is asked for less."""

    most_frames: int = 5

    def answer_logits(self, clip: EncodedClip, questions: object, prompt: Tensor | None) -> AnswerLogits:
        if clip.layout.frame_count > self.most_frames:
            raise torch.OutOfMemoryError(CUDA_MESSAGE)
        return super().answer_logits(clip, questions, prompt)  # type: ignore[arg-type]


def open_hungry() -> Session:
    backend = ScriptedBackend(HungryAdapter())
    return open_backend(backend, found_backend(), ModelReference("hungry"), LoadOptions())


def test_the_stage_its_size_and_the_cure_are_named_and_less_still_works(frames: Frames) -> None:
    session = open_hungry()
    wanted = r"stage 'prompts' with 10 frames as 160 visual tokens .*20\.00 GiB.*sampling\.frame_count.*prompt\.steps=0"
    with pytest.raises(DeviceMemoryError, match=wanted):
        Pipeline(session, Settings()).ground(frames, (QUERY,))
    fewer = Frames(frames.info, frames.indices[:5], frames.pixels[:5])
    (grounding,) = Pipeline(session, Settings()).ground(fewer, (QUERY,))
    assert grounding.tube.boxes_xyxy.shape[1] == 4


def test_loading_that_does_not_fit() -> None:
    class TooLarge(ScriptedBackend):
        def __init__(self) -> None:
            super().__init__(ScriptedAdapter())

        from stvg_core.plugin.hookspecs import hookimpl

        @hookimpl
        def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> ScriptedAdapter:
            raise torch.OutOfMemoryError(CUDA_MESSAGE)

    with pytest.raises(DeviceMemoryError, match=r"loading big .*20\.00 GiB.*quantization 8bit"):
        open_backend(TooLarge(), found_backend(), ModelReference("big"), LoadOptions())
