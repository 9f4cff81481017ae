"""What a gradient step keeps, computes again, or leaves out: the answers are the same, and the memory is not."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import stvg_huggingface.passes
import stvg_huggingface.recompute
from stvg_core.errors import UsageError
from stvg_core.host.session import Session
from stvg_core.method.prompts import learn_prompts
from stvg_core.plugin import margin_loss
from stvg_core.plugin.adapter import AttentionRequest, EncodedClip
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import InputSettings, PromptSettings
from stvg_core.values import Frames, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.gated_mlp import forward_replaced, gated_mlp, is_gated
from stvg_huggingface.recompute import LEVELS, Recompute, choose_recompute, kept_bytes, lean_layers
from stvg_huggingface.testing import TINY_FAMILIES
from stvg_huggingface.testing.sessions import random_session

QUESTIONS = ("Is there a man in red in this video?", "please describe this video", "Is there a car?")
FAMILIES = sorted(TINY_FAMILIES)


def fresh(family: str, recompute: str = "none", layers: int = 3) -> Session:
    options = LoadOptions("cpu", recompute=recompute)
    return random_session(family, options, device=torch.device("cpu"), dtype=torch.float32, layers=layers)


opened = cache(fresh)
"""For tests that leave the model as it is."""


def adapter_of(session: Session) -> HuggingFaceAdapter:
    assert isinstance(session.adapter, HuggingFaceAdapter)
    return session.adapter


def layers_of(session: Session) -> nn.ModuleList:
    layers = adapter_of(session).checkpoint.language_model.layers
    assert isinstance(layers, nn.ModuleList)
    return layers


def clip_of(session: Session, count: int = 4) -> EncodedClip:
    info = VideoInfo("clip.mp4", 32, 32, 10.0, count / 10, np.arange(count) / 10)
    pixels = np.random.default_rng(3).integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)
    return session.adapter.encode(Frames(info, np.arange(count), pixels), InputSettings(), tuple(range(count)))


def answers(session: Session, clip: EncodedClip) -> tuple[Tensor, Tensor]:
    """Return margins, and the gradient of a loss that weighs every question otherwise."""
    prompt = torch.zeros_like(clip.visual_tokens, requires_grad=True)
    margins = session.adapter.answer_logits(clip, QUESTIONS, prompt).margins
    (gradient,) = torch.autograd.grad(margins @ torch.tensor([1.0, -2.0, 0.5]), prompt)
    return margins.detach(), gradient


@contextmanager
def without(name: str) -> Iterator[None]:
    """Run the adapter as if a context of its own did nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stvg_huggingface.passes, name, lambda *_: nullcontext())
        yield


@pytest.mark.parametrize("family", FAMILIES)
def test_all_levels_give_the_same_answers_and_gradients(family: str) -> None:
    session = opened(family)
    clip = clip_of(session)
    with without("lean_layers"), without("last_layer_of_rows"):
        expected, slope = answers(session, clip)
    assert slope.abs().max() > 1e-4
    for level in LEVELS:
        # The same seed, so the same weights.
        other = opened(family, level)
        margins, gradient = answers(other, clip_of(other))
        torch.testing.assert_close(margins, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        torch.testing.assert_close(gradient, slope, rtol=0, atol=1e-5 * float(slope.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_common_layout(family: str) -> None:
    assert all(is_gated(layer) for layer in layers_of(opened(family)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layer_works_for_the_questions_alone(family: str) -> None:
    session = opened(family)
    clip = clip_of(session)
    rows: list[int] = []
    handles = [
        layer.mlp.register_forward_pre_hook(lambda _module, given: rows.append(given[0].shape[1]))
        for layer in layers_of(session)
    ]
    answers(session, clip)
    for handle in handles:
        handle.remove()
    assert rows[:-1] == [rows[0]] * 2
    assert rows[0] > clip.layout.cell_count
    assert rows[-1] == len(QUESTIONS)


def test_a_decoder_that_cannot_be_limited_is_run_in_full() -> None:
    """Its layers take their positions under another name."""
    session = fresh("llava-next-video")
    clip = clip_of(session)
    expected, slope = answers(session, clip)
    last = layers_of(session)[-1]
    original, rows = last.forward, []

    def renamed(_module: nn.Module, given: object, keywords: dict[str, object]) -> tuple[object, dict[str, object]]:
        return given, {("places" if name == "position_embeddings" else name): one for name, one in keywords.items()}

    def run(hidden: Tensor, places: object, **keywords: object) -> object:
        rows.append(hidden.shape[1])
        return original(hidden, position_embeddings=places, **keywords)

    last.register_forward_pre_hook(renamed, with_kwargs=True)
    with forward_replaced(last, run):
        margins, gradient = answers(session, clip)
    assert len(rows) == 1
    assert rows[0] > clip.layout.cell_count
    torch.testing.assert_close(margins, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(gradient, slope, rtol=0, atol=1e-5 * float(slope.abs().max()))


def kept(session: Session, clip: EncodedClip) -> int:
    """Return bytes that one pass keeps for its backward pass, weights aside."""
    weights = {weight.untyped_storage().data_ptr() for weight in adapter_of(session).checkpoint.model.parameters()}
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    prompt = torch.zeros_like(clip.visual_tokens, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        margins = session.adapter.answer_logits(clip, QUESTIONS, prompt).margins
    assert margins.requires_grad
    return sum(found.values())


def test_what_is_kept_is_what_the_estimate_says_and_linear_in_the_frames() -> None:
    sizes: dict[Recompute, list[int]] = {level: [] for level in LEVELS}
    for level in LEVELS:
        session = opened("llava-next-video", level, layers=6)
        tokens = []
        for count in (8, 16):
            clip = clip_of(session, count)
            seen: list[int] = []
            handle = layers_of(session)[0].register_forward_pre_hook(
                lambda _module, given, seen=seen: seen.append(given[0].shape[1])
            )
            sizes[level].append(kept(session, clip))
            handle.remove()
            tokens.append(seen[0])
            text = adapter_of(session).checkpoint.text_config
            expected = kept_bytes(text, torch.float32, seen[0])[level]
            assert 0.85 * sizes[level][-1] < expected < 1.05 * sizes[level][-1]
        assert sizes[level][1] / sizes[level][0] < 1.02 * tokens[1] / tokens[0]
    assert sizes["none"][1] > 1.5 * sizes["mlp"][1] > 3 * sizes["layer"][1]


def test_auto_is_the_first_level_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = adapter_of(opened("qwen2-vl")).checkpoint
    needs = kept_bytes(loaded.text_config, loaded.dtype, 500)
    assert needs["none"] > needs["mlp"] > needs["layer"]
    for free, level in (
        (2 * needs["none"], "none"),
        (2 * needs["none"] - 2, "mlp"),
        (2 * needs["mlp"] - 2, "layer"),
        (0, "layer"),
        (None, "none"),
    ):
        monkeypatch.setattr(stvg_huggingface.recompute, "free_bytes", lambda _device, free=free: free)
        assert choose_recompute("auto", loaded, 500) == level
        assert [choose_recompute(wish, loaded, 500) for wish in LEVELS] == list(LEVELS)


def test_free_memory_of_this_machine_is_told_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    free = stvg_huggingface.recompute.free_bytes(torch.device("cpu"))
    assert free is None or free > 2**20
    monkeypatch.setattr(stvg_huggingface.recompute, "_MEMINFO", stvg_huggingface.recompute._MEMINFO / "absent")
    assert stvg_huggingface.recompute.free_bytes(torch.device("cpu")) is None


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError, match="recompute of auto, none, mlp, layer, got 'some'"):
        LoadOptions(recompute="some")


def test_other_layouts_are_computed_again_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    session = fresh("qwen2.5-vl", "mlp")
    clip = clip_of(session)
    expected, slope = answers(session, clip)
    runs: list[int] = []
    monkeypatch.setattr(stvg_huggingface.recompute, "is_gated", lambda _layer: False)
    for number, layer in enumerate(layers_of(session)):
        layer.self_attn.register_forward_pre_hook(lambda *_, number=number: runs.append(number))
    margins, gradient = answers(session, clip)
    # Forward, the last layer twice for its keys and its rows; backward all but the last once more.
    assert runs == [0, 1, 2, 2, 1, 0]
    torch.testing.assert_close(margins, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(gradient, slope, rtol=0, atol=1e-5 * float(slope.abs().max()))


def test_hooked_and_other_layers_are_not_taken_for_the_common_layout() -> None:
    def layer() -> nn.Module:
        return copy.deepcopy(layers_of(opened("llava-next-video", layers=1))[0])

    assert is_gated(layer())
    changes: list[Callable[[nn.Module], object]] = [
        lambda one: setattr(one.mlp, "act_fn", nn.GELU()),
        lambda one: setattr(one.mlp, "gate_proj", type("Packed", (nn.Linear,), {})(4, 4)),
        lambda one: setattr(one.mlp.up_proj, "forward", one.mlp.up_proj.forward),
        lambda one: setattr(one.post_attention_layernorm, "forward", one.post_attention_layernorm.forward),
        lambda one: one.add_module("post_feedforward_layernorm", nn.Identity()),
        lambda one: one.mlp.add_module("scale", nn.Identity()),
    ]
    for change in changes:
        changed = layer()
        change(changed)
        assert not is_gated(changed)


@pytest.mark.parametrize("keep_factors", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_gated_mlp_equals_autograd(bias: bool, keep_factors: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=8, intermediate_size=24, num_attention_heads=2, mlp_bias=bias)
    layer = LlamaDecoderLayer(config, 0).double().requires_grad_(False)
    monkeypatch.setattr("stvg_huggingface.gated_mlp._BLOCK_ROWS", {"cpu": 3})

    def run(hidden: Tensor) -> Tensor:
        result: Tensor = layer.mlp(layer.post_attention_layernorm(hidden))
        return result

    # A gradient through a transposed tensor: blocks of it are no views.
    hidden = torch.randn(7, 1, 8, dtype=torch.float64).transpose(0, 1).requires_grad_()
    weight = torch.randn(1, 7, 8, dtype=torch.float64)
    expected = run(hidden)
    (slope,) = torch.autograd.grad((expected * weight).sum(), hidden)
    kept: list[Tensor] = []
    with (
        gated_mlp(layer, keep_factors=keep_factors),
        torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one),
    ):
        output = run(hidden)
    assert [one.shape[-1] for one in kept] == ([8, 24, 24] if keep_factors else [8])
    assert "forward" not in {*vars(layer.mlp), *vars(layer.post_attention_layernorm)}
    torch.testing.assert_close(output, expected)
    for _ in range(2):
        # The norm is computed in float32, whatever the dtype.
        (again,) = torch.autograd.grad((output * weight).sum(), hidden, retain_graph=True)
        torch.testing.assert_close(again, slope, rtol=0, atol=1e-6)


def test_layers_are_left_as_they_were_whatever_happens() -> None:
    session = opened("internvl")
    decoder = adapter_of(session).checkpoint.language_model
    for level in LEVELS:
        with pytest.raises(KeyError), lean_layers(decoder, level):
            raise KeyError(level)
    assert not [module for module in decoder.modules() if "forward" in vars(module)]


def test_no_gradient_of_a_weight_is_computed() -> None:
    """The backward pass has one product per frozen matrix; with trainable weights it would have two."""
    session = opened("llava-next-video")
    clip = clip_of(session)
    prompt = torch.zeros_like(clip.visual_tokens, requires_grad=True)
    counter = FlopCounterMode(display=False)
    with counter:
        margins = session.adapter.answer_logits(clip, QUESTIONS, prompt).margins
    forward = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    counter = FlopCounterMode(display=False)
    with counter:
        torch.autograd.grad(margins.sum(), prompt)
    backward = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    assert 0.9 * forward < backward <= forward


class _NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait for a device."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "repeat_interleave", "masked_select", "item", "unique")

    def __torch_dispatch__(
        self, func: object, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        assert callable(func)
        name = str(func).split(".")[1]
        assert not any(name.startswith(one) for one in self.WAITING), f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", LEVELS)
def test_nothing_in_the_loop_waits_for_the_device(family: str, level: str) -> None:
    session = opened(family, level, layers=2)
    clip = clip_of(session)
    session.adapter.answer_logits(clip, QUESTIONS, None)
    prompt = torch.zeros_like(clip.visual_tokens, requires_grad=True)
    with _NoWaiting():
        margins = session.adapter.answer_logits(clip, QUESTIONS, prompt).margins
        torch.autograd.grad(margins.sum(), prompt)
        session.adapter.attention_rows(AttentionRequest(clip, QUESTIONS, prompt.detach(), (0, 1)))


def test_steps_wait_once_at_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened("qwen2-vl", layers=2)
    clip = clip_of(session)
    session.adapter.answer_logits(clip, QUESTIONS[:2], None)
    waits: list[str] = []
    read: list[Tensor] = []
    to_list = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: [read.append(tensor), to_list(tensor)][1])

    class Note(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: object, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
        ) -> object:
            assert callable(func)
            if str(func).split(".")[1] == "_local_scalar_dense":
                waits.append(str(func))
            return func(*args, **(kwargs or {}))

    settings = PromptSettings(objective="linear", contrast_neutral=True, steps=3, step_size=1e-3)
    with Note():
        learn_prompts(
            clip.visual_tokens,
            lambda prompt, _: (session.adapter.answer_logits(clip, QUESTIONS[:2], prompt),),
            lambda logits: margin_loss(logits, settings),
            1,
            settings,
        )
    assert not waits
    assert len(read) == 1, "margins, norms and whether all is finite"
