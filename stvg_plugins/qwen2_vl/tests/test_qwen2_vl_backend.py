"""The plugin as the core finds it: manifest, entry point, hooks, and the reversed clip."""

import importlib.metadata
import importlib.resources
import tomllib
from pathlib import Path

import pluggy
import pytest
import torch

from stvg_core import hookspecs
from stvg_core.backend import AnswerLogits, AttentionRequest, EncodedClip, MLLMAdapter
from stvg_core.config import InputSettings, PromptSettings, TokenSettings
from stvg_core.errors import QueryError, SettingsError, TokenLayoutError, UsageError
from stvg_core.identity import HOOK_API, LoadOptions, ModelReference
from stvg_core.values import Frames
from stvg_huggingface.testing import save_tiny_qwen2_vl
from stvg_qwen2_vl.family import Qwen2VLFamily
from stvg_qwen2_vl.hooks import Qwen2VLBackend

from .conftest import SIZE, Subject, open_adapter

SETTINGS = InputSettings(frame_size_pixels=SIZE)
HOOKS = (
    "stvg_create_adapter",
    "stvg_capture_attention",
    "stvg_select_grounding_tokens",
    "stvg_regularize_logits",
    "stvg_augment_frames",
)


def test_manifest_says_what_the_plugin_does() -> None:
    manifest = tomllib.loads(
        importlib.resources.files("stvg_qwen2_vl").joinpath("stvg-backend.toml").read_text(encoding="utf-8")
    )
    assert manifest["name"] == "qwen2-vl"
    assert manifest["hook_api"] == HOOK_API
    assert tuple(manifest["architectures"]) == Qwen2VLFamily().architectures


def test_entry_point_gives_a_plugin_with_every_hook() -> None:
    (entry,) = importlib.metadata.entry_points(group="stvg.backends", name="qwen2-vl")
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(entry.load()())
    manager.check_pending()
    for name in HOOKS:
        assert len(getattr(manager.hook, name).get_hookimpls()) == 1, name


def test_hooks_through_pluggy(subject: Subject, frames: Frames) -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(Qwen2VLBackend())
    hook = manager.hook
    adapter = hook.stvg_create_adapter(
        reference=ModelReference("tiny", subject.folder), options=LoadOptions(device="cpu")
    )
    assert isinstance(adapter, MLLMAdapter)
    assert adapter.description.checkpoint == subject.folder
    clip = adapter.encode(frames, SETTINGS, (0, 1, 2, 3, 4))
    (attention,) = hook.stvg_capture_attention(
        adapter=adapter, request=AttentionRequest(clip, ("Is there a man?",), None, (1,))
    )
    chosen = hook.stvg_select_grounding_tokens(
        adapter=adapter, attention=attention, relative=attention.rows, settings=TokenSettings()
    )
    assert chosen
    assert all(0 <= token < len(attention.tokens) for token in chosen)
    logits = AnswerLogits(torch.tensor([1.0]), torch.tensor([2.0]))
    loss = hook.stvg_regularize_logits(adapter=adapter, logits=logits, settings=PromptSettings())
    assert loss.shape == ()


@pytest.mark.parametrize("merge", ["duplicate", "merge"])
def test_reversed_clip_is_encoded_again(subject: Subject, frames: Frames, merge: str) -> None:
    settings = InputSettings(frame_size_pixels=SIZE, temporal_merge=merge)
    clip = subject.adapter.encode(frames, settings, (0, 1, 2, 3, 4))
    reverse = subject.backend.stvg_augment_frames(subject.adapter, frames, clip, settings)
    assert reverse is not None
    assert reverse.frame_order == (4, 3, 2, 1, 0)
    assert reverse.layout == clip.layout
    turned = Frames(frames.info, frames.indices, frames.pixels[::-1])
    expected = subject.adapter.encode(turned, settings, (0, 1, 2, 3, 4))
    torch.testing.assert_close(reverse.visual_tokens, expected.visual_tokens)
    flipped = clip.visual_tokens.unflatten(0, clip.layout.shape).flip(0).flatten(0, 2)
    if merge == "merge":
        assert (flipped - reverse.visual_tokens).norm() > 0.3 * flipped.norm()
    assert not torch.equal(clip.visual_tokens, reverse.visual_tokens)


def test_layouts_of_both_merges(subject: Subject, frames: Frames) -> None:
    order = (0, 1, 2, 3, 4)
    assert subject.adapter.encode(frames, SETTINGS, order).layout.time_step_of_frame == (0, 1, 2, 3, 4)
    merged = InputSettings(frame_size_pixels=SIZE, temporal_merge="merge")
    layout = subject.adapter.encode(frames, merged, order).layout
    assert layout.time_step_of_frame == (0, 0, 1, 1, 2)
    assert layout.shape == (3, 3, 3)


def test_default_size_is_the_familys(subject: Subject, frames: Frames) -> None:
    one = Frames(frames.info, frames.indices[:1], frames.pixels[:1])
    assert subject.adapter.encode(one, InputSettings(), (0,)).layout.shape == (1, 28, 28)


def test_template_beside_the_tokenizer(tmp_path: Path, subject: Subject, frames: Frames) -> None:
    folder = save_tiny_qwen2_vl(tmp_path, subject.version, template_file="chat_template.json")
    adapter = open_adapter(folder)
    results = [
        one.answer_logits(one.encode(frames, SETTINGS, (0, 1, 2, 3, 4)), ["Is there a man?"], None).margins
        for one in (adapter, subject.adapter)
    ]
    torch.testing.assert_close(*results)


@pytest.fixture
def clip(subject: Subject, frames: Frames) -> EncodedClip:
    return subject.adapter.encode(frames, SETTINGS, (0, 1, 2, 3, 4))


def test_misuse_is_told_in_one_line(subject: Subject, frames: Frames, clip: EncodedClip) -> None:
    adapter = subject.adapter
    with pytest.raises(UsageError, match="at least one question"):
        adapter.answer_logits(clip, [], None)
    with pytest.raises(QueryError, match="got nothing"):
        adapter.answer_logits(clip, ["  "], None)
    for marker in ("<|video_pad|>", "<|im_end|>"):
        with pytest.raises(QueryError, match="marker"):
            adapter.answer_logits(clip, [f"Is there {marker} a man?"], None)
    with pytest.raises(TokenLayoutError, match="prompt of shape"):
        adapter.answer_logits(clip, ["a man?"], torch.zeros(3, 3))
    with pytest.raises(SettingsError, match="layers within"):
        adapter.attention_rows(AttentionRequest(clip, ("a man?",), None, (99,)))
    with pytest.raises(UsageError, match="frame_order"):
        adapter.encode(frames, SETTINGS, (0, 0, 1, 2, 3))
    stranger = EncodedClip(clip.visual_tokens, clip.layout, clip.frame_order)
    with pytest.raises(UsageError, match="another backend"):
        adapter.answer_logits(stranger, ["a man?"], None)
    with pytest.raises(UsageError, match="maximum_tokens"):
        adapter.generate_text("describe", 0)
